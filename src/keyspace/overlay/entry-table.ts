/**
 * The newest state of keys: records in shared memory, and an index that belongs to this thread.
 *
 * The index is a hash table with open addressing in one typed array: for each key, its hash and the address of its
 * record. So the garbage collector sees no object for a key or an entry.
 */

import { type Entry, isLive, type Outline } from '../entry.ts';
import type { ChunkPool } from './chunk-pool.ts';
import { EntryLog } from './entry-records.ts';
import type { FirstKeys } from './first-keys.ts';
import type { KeyProbe } from './key-probe.ts';

const FIRST_CAPACITY = 64;
/** Bytes of index per key; the index is between a third and two thirds full. */
const INDEX_BYTES = 16;

export class EntryTable {
  readonly #records: EntryLog;
  /** For each slot, the hash and the address plus one; 0: the slot is free. */
  #index: Uint32Array | null = null;
  #capacity: number;
  #count = 0;

  /** @param expected approximate number of keys */
  constructor(pool: ChunkPool, expected = 0) {
    this.#records = new EntryLog(pool);
    this.#capacity = FIRST_CAPACITY;
    while (isCrowded(expected, this.#capacity)) this.#capacity *= 2;
  }

  /** Number of keys in the table, deleted ones included. */
  get count(): number {
    return this.#count;
  }

  /** Approximate memory in bytes. */
  get bytes(): number {
    return this.#records.bytes + this.#count * INDEX_BYTES;
  }

  /** @returns the entry; null: it is deleted; undefined: the table does not know the key */
  get(probe: KeyProbe): Entry | null | undefined {
    const address = this.#find(probe);
    if (address === null) return undefined;
    const records = this.#records;
    if (records.isDeleted(address)) return null;
    return {
      value: records.copy(address),
      version: records.version(address),
      expiresAt: records.expiresAt(address),
    };
  }

  /** @returns time of expiry (null: never); false: the entry is deleted; undefined: the table does not know the key */
  expiry(probe: KeyProbe): number | null | false | undefined {
    const address = this.#find(probe);
    if (address === null) return undefined;
    return !this.#records.isDeleted(address) && this.#records.expiresAt(address);
  }

  /** Like `get`, with the size of the value in bytes instead of the value. */
  outline(probe: KeyProbe): Outline | null | undefined {
    const address = this.#find(probe);
    if (address === null) return undefined;
    const records = this.#records;
    if (records.isDeleted(address)) return null;
    return {
      size: records.size(address),
      version: records.version(address),
      expiresAt: records.expiresAt(address),
    };
  }

  has(probe: KeyProbe): boolean {
    return this.#find(probe) !== null;
  }

  /** @param value null: the entry is deleted */
  put(probe: KeyProbe, value: Buffer | null, version: number, expiresAt: number | null): void {
    const place = this.#place(probe);
    const index = this.#index as Uint32Array;
    const before = index[place + 1] as number;
    if (before !== 0 && this.#records.replace(before - 1, value, version, expiresAt)) return;
    index[place] = probe.hash;
    index[place + 1] = this.#records.append(probe, value, version, expiresAt) + 1;
    if (before === 0) this.#count += 1;
  }

  /** @returns false if the table has no entry with this key */
  setExpiry(probe: KeyProbe, expiresAt: number | null): boolean {
    const address = this.#find(probe);
    if (address === null || this.#records.isDeleted(address)) return false;
    this.#records.setExpiry(address, expiresAt);
    return true;
  }

  /**
   * Adds the wanted keys of the table's entries.
   * @param now milliseconds since 1970; entries that have expired by then are left out
   * @param probe for use by this call
   * @param counts whether to add the key that the probe holds
   */
  collect(wanted: FirstKeys, now: number, probe: KeyProbe, counts: () => boolean): void {
    this.#records.each(wanted, (address) => {
      if (this.#records.isDeleted(address)) return;
      if (!isLive({ expiresAt: this.#records.expiresAt(address) }, now)) return;
      const key = this.#records.key(address);
      if (this.#find(probe.of(key)) === address && counts()) wanted.add(key);
    });
  }

  /** Address of each key's record. */
  addresses(): Uint32Array<ArrayBuffer> {
    const addresses = new Uint32Array(this.#count);
    const index = this.#index ?? [];
    let found = 0;
    for (let place = 1; place < index.length; place += 2) {
      const address = index[place] as number;
      if (address === 0) continue;
      addresses[found] = address - 1;
      found += 1;
    }
    return addresses;
  }

  /** The memory that the addresses point into. */
  get memories(): readonly SharedArrayBuffer[] {
    return this.#records.chunks.map(({ bytes }) => bytes.buffer);
  }

  /** Gives the memory back: neither the table nor the result of `memories` may be used any more. */
  release(): void {
    this.#records.release();
    this.#index = null;
    this.#count = 0;
  }

  #find(probe: KeyProbe): number | null {
    const index = this.#index;
    if (index === null) return null;
    const address = index[this.#placeIn(index, probe) + 1] as number;
    return address === 0 ? null : address - 1;
  }

  /** Slot of the key, or the free slot where it belongs. */
  #place(probe: KeyProbe): number {
    this.#index ??= new Uint32Array(2 * this.#capacity);
    if (isCrowded(this.#count + 1, this.#capacity)) this.#grow(this.#index);
    return this.#placeIn(this.#index, probe);
  }

  #placeIn(index: Uint32Array, probe: KeyProbe): number {
    const { hash } = probe;
    for (let place = hash & (this.#capacity - 1); ; place = (place + 1) & (this.#capacity - 1)) {
      const address = index[2 * place + 1] as number;
      if (address === 0) return 2 * place;
      if (index[2 * place] === hash && this.#records.hasKey(address - 1, probe)) return 2 * place;
    }
  }

  #grow(before: Uint32Array): void {
    this.#capacity *= 2;
    const index = new Uint32Array(2 * this.#capacity);
    for (let from = 0; from < before.length; from += 2) {
      const address = before[from + 1] as number;
      if (address === 0) continue;
      const hash = before[from] as number;
      let place = hash & (this.#capacity - 1);
      while (index[2 * place + 1] !== 0) place = (place + 1) & (this.#capacity - 1);
      index[2 * place] = hash;
      index[2 * place + 1] = address;
    }
    this.#index = index;
  }
}

function isCrowded(count: number, capacity: number): boolean {
  return 3 * count > 2 * capacity;
}
