/**
 * Entries that were read from a keyspace file a moment ago: a lookup in SQLite and its checksum cost several times what a
 * map does, and what is hot is read again and again.
 *
 * It is right as long as the read transaction is open that the entries were read in: nothing changes for that one. So it is
 * emptied with it, and nobody has to look for what has become stale. In two halves: when the newer one is full the older one
 * goes, so what was not asked for since then is forgotten.
 */
import type { Entry } from '../../keyspace/entry.ts';

/** Of each half. */
const MAX_ENTRIES = 4_096;
const MAX_BYTES = 4 * 1024 * 1024;
/** Larger values are cheap to read, for what they are. */
const MAX_VALUE_BYTES = 4 * 1024;

/** What is hot is soon among them; what is cold would only be carried in and out again. */
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

  /** An entry was read from the file: it is kept, if it is one of the chosen. */
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
