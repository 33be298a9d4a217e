/**
 * Caches entries read from a keyspace file: a SQLite lookup with its checksum costs several times as much as a map
 * lookup, and clients read hot keys again and again.
 *
 * The cache is valid as long as the read transaction in which the entries were read: that transaction sees no change.
 * `FileReader` clears the cache with it, so no entry gets stale. The cache has two halves: when the newer half is
 * full, the older one is dropped, with the entries that nobody has asked for since.
 */
import type { Entry } from '../../keyspace/entry.ts';

/** Largest number of entries in each half. */
const MAX_ENTRIES = 4_096;
const MAX_BYTES = 4 * 1024 * 1024;
/** Largest value to cache: reading a larger one is cheap relative to its size. */
const MAX_VALUE_BYTES = 4 * 1024;

/** One read in so many is cached. Hot keys get in soon; cold ones would only push each other out. */
const CHOSEN_ONE_IN = 8;

export class ReadCache {
  #offers = 0;
  #newer = new Map<string, Entry>();
  #newerBytes = 0;
  #older = new Map<string, Entry>();

  get(key: string): Entry | undefined {
    const entry = this.#newer.get(key);
    if (entry !== undefined) return entry;
    const old = this.#older.get(key);
    if (old !== undefined) this.#add(key, old);
    return old;
  }

  /** Offers an entry that was read from the file; the cache keeps one in `CHOSEN_ONE_IN`. */
  offer(key: string, entry: Entry): void {
    this.#offers += 1;
    if (this.#offers % CHOSEN_ONE_IN === 0 && entry.value.length <= MAX_VALUE_BYTES) this.#add(key, entry);
  }

  clear(): void {
    if (this.#newer.size > 0) this.#newer = new Map();
    if (this.#older.size > 0) this.#older = new Map();
    this.#newerBytes = 0;
  }

  #add(key: string, entry: Entry): void {
    this.#newer.set(key, entry);
    this.#newerBytes += key.length + entry.value.length;
    if (this.#newer.size < MAX_ENTRIES && this.#newerBytes < MAX_BYTES) return;
    this.#older = this.#newer;
    this.#newer = new Map();
    this.#newerBytes = 0;
  }
}
