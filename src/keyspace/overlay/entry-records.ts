/**
 * Entries as records in chunks of shared memory; another thread only needs their addresses. Objects would cost several
 * times the size of a small value (entry, key string, value view, and the collector's own data), and each full
 * collection would have to walk hundreds of thousands of them.
 *
 * A record is
 *
 * version f64 | expiry f64, -Infinity: never | value's length u32 | room for it u32 | key's length u32 | key | value
 *
 * Addresses count units of eight bytes. Header and key lie in one chunk; a value may continue in the next chunks. Where
 * the rest of a chunk is too short for header and key but holds a header, a header with key length 0 ends the chunk.
 */
import { type Chunk, type ChunkPool, chunkOf } from './chunk-pool.ts';
import type { FirstKeys } from './first-keys.ts';
import type { KeyProbe } from './key-probe.ts';

const UNIT_BYTES = 8;
const HEADER_BYTES = 28;
/** Places of the 32-bit words in a header. */
const LENGTH = 4;
const ROOM = 5;
const KEY_LENGTH = 6;
const NEVER = Number.NEGATIVE_INFINITY;
/** Value length that marks a deleted key. */
const DELETED = 0xffff_ffff;

/** Reads records. */
export class EntryRecords {
  readonly chunks: Chunk[];
  protected readonly chunkBytes: number;
  readonly #shift: number;
  readonly #mask: number;

  constructor(chunks: Chunk[], chunkBytes: number) {
    this.chunks = chunks;
    this.chunkBytes = chunkBytes;
    const units = chunkBytes / UNIT_BYTES;
    this.#shift = 31 - Math.clz32(units);
    this.#mask = units - 1;
  }

  static of(memories: readonly SharedArrayBuffer[], chunkBytes: number): EntryRecords {
    return new EntryRecords(memories.map(chunkOf), chunkBytes);
  }

  isDeleted(address: number): boolean {
    return this.word(address, LENGTH) === DELETED;
  }

  version(address: number): number {
    return this.chunk(address).doubles[this.unit(address)] as number;
  }

  /** Time of expiry in milliseconds since 1970; null: never. */
  expiresAt(address: number): number | null {
    const at = this.chunk(address).doubles[this.unit(address) + 1] as number;
    return at === NEVER ? null : at;
  }

  key(address: number): string {
    const from = this.keyStart(address);
    return this.chunk(address).bytes.toString('utf8', from, from + this.keyLength(address));
  }

  /** Length of the key in bytes. */
  keyLength(address: number): number {
    return this.word(address, KEY_LENGTH);
  }

  /** One byte of the key in UTF-8; 0 beyond its end. */
  keyByte(address: number, index: number): number {
    if (index >= this.keyLength(address)) return 0;
    return this.chunk(address).bytes[this.keyStart(address) + index] as number;
  }

  hasKey(address: number, probe: KeyProbe): boolean {
    const { bytes, length } = probe;
    if (this.keyLength(address) !== length) return false;
    const memory = this.chunk(address).bytes;
    const from = this.keyStart(address);
    for (let index = 0; index < length; index += 1) {
      if (memory[from + index] !== bytes[index]) return false;
    }
    return true;
  }

  /** Size of the value in bytes. */
  size(address: number): number {
    return this.word(address, LENGTH);
  }

  /**
   * Returns the value in place if it lies in one chunk, valid until the chunks are given back; otherwise a copy.
   * @param room returns memory for a copy of at least so many bytes
   */
  view(address: number, room: (bytes: number) => Buffer = Buffer.allocUnsafe): Buffer {
    const length = this.word(address, LENGTH);
    const { chunk, at } = this.valueStart(address);
    // After the very last record there may be no chunk in which an empty value could begin.
    if (length === 0 || at + length > this.chunkBytes) return this.#copyTo(address, room(length));
    return (this.chunks[chunk] as Chunk).bytes.subarray(at, at + length);
  }

  /** Returns a copy of the value that the caller may keep. */
  copy(address: number): Buffer {
    return this.#copyTo(address, Buffer.allocUnsafe(this.word(address, LENGTH)));
  }

  #copyTo(address: number, memory: Buffer): Buffer {
    const length = this.word(address, LENGTH);
    const into = memory.subarray(0, length);
    let { chunk, at } = this.valueStart(address);
    for (let done = 0; done < length; chunk += 1, at = 0) {
      done += (this.chunks[chunk] as Chunk).bytes.copy(into, done, at, at + length - done);
    }
    return into;
  }

  /** Place where the value begins. */
  protected valueStart(address: number): { chunk: number; at: number } {
    const chunk = address >>> this.#shift;
    const at = this.keyStart(address) + this.keyLength(address);
    return at < this.chunkBytes ? { chunk, at } : { chunk: chunk + 1, at: 0 };
  }

  protected chunk(address: number): Chunk {
    return this.chunks[address >>> this.#shift] as Chunk;
  }

  protected unit(address: number): number {
    return address & this.#mask;
  }

  protected word(address: number, word: number): number {
    return this.chunk(address).words[this.unit(address) * 2 + word] as number;
  }

  protected keyStart(address: number): number {
    return this.unit(address) * UNIT_BYTES + HEADER_BYTES;
  }
}

/** Writes records. */
export class EntryLog extends EntryRecords {
  readonly #pool: ChunkPool;
  /** Place where the next record may begin, in bytes. */
  #end = 0;
  /** For each chunk, the address of the first record that begins in it; null: a value fills the whole chunk. */
  readonly #firsts: (number | null)[] = [];

  constructor(pool: ChunkPool) {
    super([], pool.chunkBytes);
    this.#pool = pool;
  }

  /** Memory in use, in bytes. */
  get bytes(): number {
    return this.#end;
  }

  /**
   * @param value null: the entry is deleted
   * @returns the record's address
   */
  append(probe: KeyProbe, value: Buffer | null, version: number, expiresAt: number | null): number {
    const head = HEADER_BYTES + probe.length;
    const left = this.chunkBytes - (this.#end % this.chunkBytes);
    const fits = head <= left;
    if (!fits && left >= HEADER_BYTES && left < this.chunkBytes) this.#skipRest();
    const from = fits ? this.#end : this.#end + left;
    const room = value?.length ?? 0;
    this.#end = roundedUp(from + head + room);
    while (this.chunks.length * this.chunkBytes < this.#end) this.chunks.push(this.#pool.take());
    const address = from / UNIT_BYTES;
    this.#begins(address, Math.floor(from / this.chunkBytes));
    const { words, bytes } = this.chunk(address);
    const header = this.unit(address) * 2;
    words[header + ROOM] = room;
    words[header + KEY_LENGTH] = probe.length;
    const keyStart = this.keyStart(address);
    for (let index = 0; index < probe.length; index += 1)
      bytes[keyStart + index] = probe.bytes[index] as number;
    this.#put(address, value, version, expiresAt);
    return address;
  }

  /**
   * Replaces the value of a record.
   * @returns false, without a change, if the new value is too large
   */
  replace(address: number, value: Buffer | null, version: number, expiresAt: number | null): boolean {
    if (value !== null && value.length > this.word(address, ROOM)) return false;
    this.#put(address, value, version, expiresAt);
    return true;
  }

  setExpiry(address: number, expiresAt: number | null): void {
    this.chunk(address).doubles[this.unit(address) + 1] = expiresAt ?? NEVER;
  }

  /**
   * Visits the records chunk by chunk, in scattered order: keys written in descending order would otherwise all be
   * admitted, because each would be smaller than those before.
   * @param admitted called with each record whose key is admitted, even if a later record has replaced it
   */
  each(wanted: FirstKeys, admitted: (address: number) => void): void {
    for (const chunk of scattered(this.#firsts.length)) {
      const first = this.#firsts[chunk] ?? null;
      if (first !== null) this.#eachFrom(first, (chunk + 1) * this.chunkBytes, wanted, admitted);
    }
  }

  #eachFrom(first: number, to: number, wanted: FirstKeys, admitted: (address: number) => void): void {
    const end = Math.min(to, this.#end);
    let at = first * UNIT_BYTES;
    while (at + HEADER_BYTES < end) {
      const address = at / UNIT_BYTES;
      const length = this.keyLength(address);
      if (length === 0) return;
      if (wanted.admits(this.chunk(address).bytes, this.keyStart(address), length)) admitted(address);
      at = roundedUp(at + HEADER_BYTES + length + this.word(address, ROOM));
    }
  }

  /** Gives the memory back; no code may read the records any more. */
  release(): void {
    this.#pool.giveBack(this.chunks);
    this.chunks.length = 0;
    this.#firsts.length = 0;
  }

  /** Notes that a record begins in this chunk. */
  #begins(address: number, chunk: number): void {
    if (this.#firsts.length > chunk) return;
    while (this.#firsts.length < chunk) this.#firsts.push(null);
    this.#firsts.push(address);
  }

  /** Marks the rest of the last chunk as unused. */
  #skipRest(): void {
    const address = this.#end / UNIT_BYTES;
    this.chunk(address).words[this.unit(address) * 2 + KEY_LENGTH] = 0;
  }

  #put(address: number, value: Buffer | null, version: number, expiresAt: number | null): void {
    const { words, doubles } = this.chunk(address);
    const unit = this.unit(address);
    doubles[unit] = version;
    doubles[unit + 1] = expiresAt ?? NEVER;
    words[unit * 2 + LENGTH] = value === null ? DELETED : value.length;
    if (value === null) return;
    let { chunk, at } = this.valueStart(address);
    for (let done = 0; done < value.length; chunk += 1, at = 0) {
      done += value.copy((this.chunks[chunk] as Chunk).bytes, at, done);
    }
  }
}

function roundedUp(bytes: number): number {
  return Math.ceil(bytes / UNIT_BYTES) * UNIT_BYTES;
}

/**
 * Yields each number below `count` once, in steps of the golden section, so that the first few are spread over the
 * range.
 */
function* scattered(count: number): Generator<number> {
  let step = Math.max(1, Math.round(count * 0.618));
  while (greatestCommonDivisor(count, step) > 1) step += 1;
  for (let done = 0, number = 0; done < count; done += 1, number = (number + step) % count) yield number;
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
