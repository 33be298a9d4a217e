/**
 * Stores a mirror's copy in the background, in batches: while one update is stored, the next one gathers. The storage
 * rests between two updates.
 *
 * The stored position is either known exactly or not at all. After a failed update it is unknown, so the next update
 * replaces everything. If another program has written to the storage, this one stops, because the other copy is as
 * good.
 */
import type { Entry } from '../entry.ts';
import { type MirrorStorage, StorageConflict } from './storage.ts';

/** Time for which changes are gathered, in milliseconds. */
export const SAVE_EVERY_MS = 250;
/** Time without an attempt after a failure, in milliseconds. */
export const SAVE_AGAIN_MS = 30_000;

/** The copy to store. */
export interface Source {
  readonly position: string | null;
  readonly entries: ReadonlyMap<string, Entry>;
}

export class Saver {
  readonly #storage: MirrorStorage;
  readonly #scope: string;
  readonly #source: () => Source;
  readonly #failed: (error: unknown) => void;
  /** Keys that have changed since the last update. */
  #changed = new Set<string>();
  /** The stored position; null: the stored copy is not usable. */
  #base: string | null;
  #saving: Promise<void> | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isOver = false;

  /** @param base the stored position for this scope; null: nothing usable is stored */
  constructor(
    storage: MirrorStorage,
    scope: string,
    base: string | null,
    source: () => Source,
    failed: (error: unknown) => void,
  ) {
    this.#storage = storage;
    this.#scope = scope;
    this.#base = base;
    this.#source = source;
    this.#failed = failed;
  }

  /** Schedules an update for these keys or, without keys, for the position alone. */
  changed(keys: Iterable<string>): void {
    for (const key of keys) this.#changed.add(key);
    this.#schedule(SAVE_EVERY_MS);
  }

  /** Stores the remaining changes and closes the storage. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#saving;
    if (!this.#isOver) await this.#save();
    this.#isOver = true;
    clearTimeout(this.#timer);
    await this.#storage.close().catch(this.#failed);
  }

  #schedule(ms: number): void {
    if (this.#isOver || this.#timer !== undefined || this.#saving !== null) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#saving = this.#save().finally(() => {
        this.#saving = null;
        if (this.#source().position !== this.#base) this.#schedule(this.#base === null ? SAVE_AGAIN_MS : ms);
      });
    }, ms);
  }

  /** Never rejects. */
  async #save(): Promise<void> {
    const { position, entries } = this.#source();
    if (position === null || position === this.#base) return;
    const [base, changed] = [this.#base, this.#changed];
    this.#changed = new Set();
    this.#base = null;
    try {
      if (base === null) {
        await this.#storage.save({
          kind: 'replace',
          scope: this.#scope,
          position,
          entries: [...entries.values()],
        });
      } else {
        const put: Entry[] = [];
        const remove: string[] = [];
        for (const key of changed) {
          const entry = entries.get(key);
          if (entry === undefined) remove.push(key);
          else put.push(entry);
        }
        await this.#storage.save({ kind: 'patch', base, position, put, remove });
      }
      this.#base = position;
    } catch (error) {
      if (error instanceof StorageConflict) this.#isOver = true;
      this.#failed(error);
    }
  }
}
