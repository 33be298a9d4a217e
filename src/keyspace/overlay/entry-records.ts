/**
 * Entries one behind the other in chunks of memory, as another thread can read them without being told more than where
 * they are: an entry object, its key's string, its value's view and what the garbage collector needs for all of them are
 * several times a small value's size, and hundreds of thousands of them are what a full collection has to walk.
 *
 * A record is
 *
 *     version f64 | expiry f64, -Infinity: never | value's length u32 | room for it u32 | key's length u32 | key | value
 *
 * Its address counts units of eight bytes. Header and key lie in one chunk; a value may go on in the next ones. Where the rest
 * of a chunk is too short for them but not for a header, one with a key's length of 0 says so.
 */
import { type Chunk, type ChunkPool, chunkOf } from './chunk-pool.ts';
import type { FirstKeys } from './first-keys.ts';
import type { KeyProbe } from './key-probe.ts';

const UNIT_BYTES = 8;
const HEADER_BYTES = 28;
/** Where the words of a header lie. */
const LENGTH = 4;
const ROOM = 5;
const KEY_LENGTH = 6;
const NEVER = Number.NEGATIVE_INFINITY;
/** Instead of a value's length: there is no entry with this key. */
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

  /** Milliseconds since 1970; null: never. */
  expiresAt(address: number): number | null {
    const at = this.chunk(address).doubles[this.unit(address) + 1] as number;
    return at === NEVER ? null : at;
  }

  key(address: number): string {
    const from = this.keyStart(address);
    return this.chunk(address).bytes.toString('utf8', from, from + this.keyLength(address));
  }

  /** In bytes. */
  keyLength(address: number): number {
    return this.word(address, KEY_LENGTH);
  }

  /** One byte of the key as it is in UTF-8; 0 beyond its end. */
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

  /** Of the value, in bytes. */
  size(address: number): number {
    return this.word(address, LENGTH);
  }

  /**
   * The value where it lies, if it lies in one chunk: good until the chunks are given back. Else a copy.
   * @param room gives memory for a copy of so many bytes at least
   */
  view(address: number, room: (bytes: number) => Buffer = Buffer.allocUnsafe): Buffer {
    const length = this.word(address, LENGTH);
    const { chunk, at } = this.valueStart(address);
    // Behind the last record of all there may be no chunk where an empty value could begin.
    if (length === 0 || at + length > this.chunkBytes) return this.#copyTo(address, room(length));
    return (this.chunks[chunk] as Chunk).bytes.subarray(at, at + length);
  }

  /** The value, to keep. */
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

  /** Where the value begins. */
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
  /** Where the next record may begin, in bytes. */
  #end = 0;
  /** Of each chunk the address of the first record that begins in it; null: a value goes through all of it. */
  readonly #firsts: (number | null)[] = [];

  constructor(pool: ChunkPool) {
    super([], pool.chunkBytes);
    this.#pool = pool;
  }

  /** How much of the memory is taken. */
  get bytes(): number {
    return this.#end;
  }

  /** @param value null: the entry is deleted. @returns the record's address */
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

  /** Another value for the record's key. @returns false if it is too large; then nothing has changed */
  replace(address: number, value: Buffer | null, version: number, expiresAt: number | null): boolean {
    if (value !== null && value.length > this.word(address, ROOM)) return false;
    this.#put(address, value, version, expiresAt);
    return true;
  }

  setExpiry(address: number, expiresAt: number | null): void {
    this.chunk(address).doubles[this.unit(address) + 1] = expiresAt ?? NEVER;
  }

  /**
   * The chunks come in an order that is far from that of writing: keys that were written in descending order would all be
   * admitted, because none of those before would be as small.
   * @param admitted called with each record whose key is admitted, also if a later one has replaced it
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

  /** Nobody reads it any more. */
  release(): void {
    this.#pool.giveBack(this.chunks);
    this.chunks.length = 0;
    this.#firsts.length = 0;
  }

  /** A record begins in this chunk. */
  #begins(address: number, chunk: number): void {
    if (this.#firsts.length > chunk) return;
    while (this.#firsts.length < chunk) this.#firsts.push(null);
    this.#firsts.push(address);
  }

  /** Says that nothing follows in the chunk in which the last record ends. */
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

/** The numbers below `count`, each once, so that the first few of them are spread over all: steps of the golden section. */
function* scattered(count: number): Generator<number> {
  let step = Math.max(1, Math.round(count * 0.618));
  while (greatestCommonDivisor(count, step) > 1) step += 1;
  for (let done = 0, number = 0; done < count; done += 1, number = (number + step) % count) yield number;
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
