/**
 * Brings what a mirror holds into its storage, in the background and in batches: while one update is stored the next
 * one gathers. Between two of them the storage rests.
 *
 * Where the storage stands is known exactly or not at all. After a failed update it is not, so that the next update
 * replaces everything; and when somebody else has written, this one stops: what the other one stores is as good.
 */
import type { Entry } from './entry.ts';
import { type MirrorStorage, StorageConflict } from './storage.ts';

/** How long changes are gathered, in milliseconds. */
export const SAVE_EVERY_MS = 250;
/** How long the storage is left alone after a failure, in milliseconds. */
export const SAVE_AGAIN_MS = 30_000;

/** What there is to store. */
export interface Source {
  readonly position: string | null;
  readonly entries: ReadonlyMap<string, Entry>;
}

export class Saver {
  readonly #storage: MirrorStorage;
  readonly #scope: string;
  readonly #source: () => Source;
  readonly #failed: (error: unknown) => void;
  /** Which keys have changed since the last update. */
  #changed = new Set<string>();
  /** The position that is stored; null: what is stored is not what it should be. */
  #base: string | null;
  #saving: Promise<void> | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isOver = false;

  /** @param base the position that the storage has, of this scope; null: it has nothing that is of use */
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

  /** These keys have changed, or, without any, only the position; to be stored some time soon. */
  changed(keys: Iterable<string>): void {
    for (const key of keys) this.#changed.add(key);
    this.#schedule(SAVE_EVERY_MS);
  }

  /** Stores what is left, and lets the storage go. */
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
