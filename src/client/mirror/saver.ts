/**
 * Stores a mirror's copy in the background, in batches: while one update is stored, the next one gathers. The storage
 * rests between two updates, and gets one call at a time.
 *
 * The saver knows the stored position and all keys that have changed since, or knows that it does not: after a failed
 * update, or when too many keys have changed. Then the next update replaces everything.
 */
import { within } from '../within.ts';
import { type Entry, given } from './entry.ts';
import { type MirrorStorage, STORAGE, StorageConflict, type StorageUpdate } from './storage.ts';

/** Time for which changes are gathered, in milliseconds. */
export const SAVE_EVERY_MS = 250;
/** Time without an attempt after a failure, in milliseconds; it doubles with each further failure. */
export const SAVE_AGAIN_MS = 30_000;
export const MAX_SAVE_AGAIN_MS = 1_800_000;
/** Number of changed keys, beyond the number of entries, from which the next update replaces everything. */
export const MAX_MORE_KEYS = 1_000;

/** The copy to store, as it is at any time. */
export interface Source {
  readonly position: string | null;
  readonly entries: ReadonlyMap<string, Entry>;
}

export interface SaverOptions {
  readonly storage: MirrorStorage;
  readonly scope: string;
  /** The stored position for this scope; null: nothing usable is stored. */
  readonly base: string | null;
  /** Most time that a call of the storage may take, in milliseconds. */
  readonly callMs: number;
  readonly source: Source;
  readonly failed: (error: unknown) => void;
}

export class Saver {
  readonly #options: SaverOptions;
  /** What is stored, or is being stored, and the keys that have changed since; null: unknown. */
  #stored: { readonly position: string; readonly changed: Set<string> } | null;
  #mayWrite = false;
  readonly #closing = new AbortController();
  /** Resolves when the last update is stored, has failed, or has taken too long. */
  #saved: Promise<void> = Promise.resolve();
  /** Whether the storage still owes an answer to the last update. */
  #isBusy = false;
  #failures = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isOver = false;

  constructor(options: SaverOptions) {
    const { base, failed } = options;
    this.#options = options;
    this.#stored = base ? { position: base, changed: new Set() } : null;
    this.#lock().catch((error) => this.#isOver || failed(error));
  }

  /** Schedules an update for these keys or, without changes, for the position alone. */
  changed(changes: Iterable<{ readonly key: string }>): void {
    const changed = this.#stored?.changed;
    if (changed) {
      for (const { key } of changes) changed.add(key);
      if (changed.size > this.#options.source.entries.size + MAX_MORE_KEYS) this.#stored = null;
    }
    this.#schedule();
  }

  /** Stores the remaining changes and closes the storage, in the time of three calls at most. Never rejects. */
  async close(): Promise<void> {
    const isOver = this.#isOver;
    this.#isOver = true;
    clearTimeout(this.#timer);
    await this.#saved;
    if (!isOver && this.#mayWrite && !this.#isBusy) await this.#save();
    const { storage, callMs, failed } = this.#options;
    this.#closing.abort();
    await within(callMs, STORAGE, async () => storage.close()).catch(failed);
  }

  async #lock(): Promise<void> {
    const { storage } = this.#options;
    if (storage.lock) await storage.lock(this.#closing.signal);
    this.#mayWrite = true;
    this.#schedule();
  }

  #schedule(): void {
    if (this.#isOver || this.#isBusy || !this.#mayWrite || this.#timer) return;
    if (this.#options.source.position === this.#stored?.position) return;
    const failures = this.#failures;
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        this.#saved = this.#save();
      },
      failures ? Math.min(SAVE_AGAIN_MS * 2 ** (failures - 1), MAX_SAVE_AGAIN_MS) : SAVE_EVERY_MS,
    );
  }

  /** Never rejects. */
  async #save(): Promise<void> {
    const { storage, callMs, failed } = this.#options;
    const update = this.#nextUpdate();
    if (!update) return;
    const call = (async () => storage.save(update))();
    this.#isBusy = true;
    try {
      await within(callMs, STORAGE, () => call);
      this.#failures = 0;
    } catch (error) {
      this.#stored = null;
      const isConflict = error instanceof StorageConflict;
      // Other mirrors may have the storage too, and only the one with its lock writes.
      const isShared = Boolean(storage.lock);
      // Somebody has deleted the data, or another mirror has written before this one could.
      if (isConflict && update.kind === 'patch' && (error.isEmpty || isShared)) return this.#save();
      this.#failures += 1;
      if (isConflict && !isShared) this.#isOver = true;
      failed(error);
    }
    const answered = (): void => {
      this.#isBusy = false;
      this.#schedule();
    };
    call.then(answered, answered);
  }

  /** @returns null: the copy is stored */
  #nextUpdate(): StorageUpdate | null {
    const { scope, source } = this.#options;
    const { position, entries } = source;
    const stored = this.#stored;
    if (!position || position === stored?.position) return null;
    this.#stored = { position, changed: new Set() };
    if (!stored) return { kind: 'replace', scope, position, entries: [...entries.values()].map(given) };
    const put: Entry[] = [];
    const remove: string[] = [];
    for (const key of stored.changed) {
      const entry = entries.get(key);
      if (entry) put.push(given(entry));
      else remove.push(key);
    }
    return { kind: 'patch', scope, base: stored.position, position, put, remove };
  }
}
