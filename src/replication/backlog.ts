/**
 * The last N bytes of the stream, in memory: fixed length, first in first out (Redis's replication backlog).
 *
 * Owns: the window [firstOffset, firstOffset + length), counted like the wire, from byte 1.
 * Invariant: `firstOffset + length - 1` is the offset of the last byte that was appended.
 *
 * A ring: appending copies the bytes in and never allocates. What `read` returns is a copy too, because the ring
 * may overwrite those bytes while a socket still holds them.
 */
import { type Offset, offset } from './position.ts';

/** The part of the stream that a partial resync can be served from. */
export interface Window {
  /** The first byte held, counted from 1. With nothing held: the byte that would come next. */
  readonly firstOffset: number;
  /** How many bytes are held. */
  readonly length: number;
}

export class Backlog implements Window {
  #ring: Buffer;
  #end: Offset;
  #length = 0;

  /**
   * @param size how many bytes it holds at most
   * @param end the offset of the last byte before the first one that will be appended
   */
  constructor(size: number, end: Offset) {
    this.#ring = ring(size);
    this.#end = end;
  }

  get size(): number {
    return this.#ring.length;
  }

  get length(): number {
    return this.#length;
  }

  /** After 100 bytes of which 30 are held: 71. With none held at offset 100: 101. */
  get firstOffset(): number {
    return this.#end - this.#length + 1;
  }

  append(bytes: Buffer): void {
    const size = this.#ring.length;
    const kept = bytes.length > size ? bytes.subarray(bytes.length - size) : bytes;
    this.#end = offset(this.#end + bytes.length);
    put(this.#ring, kept, offset(this.#end - kept.length));
    this.#length = Math.min(size, this.#length + bytes.length);
  }

  /** Changes how many bytes it holds at most; of what it holds the newest bytes stay. */
  resize(size: number): void {
    if (size === this.size) return;
    const resized = ring(size);
    const kept = this.read(offset(this.#end - Math.min(size, this.#length)), size);
    put(resized, kept, offset(this.#end - kept.length));
    this.#ring = resized;
    this.#length = kept.length;
  }

  /** Whether the byte after `after`, and all that follow, are held; being caught up counts. */
  holds(after: Offset): boolean {
    return after >= this.#end - this.#length && after <= this.#end;
  }

  /**
   * The bytes after `after`: a copy of at most `maxBytes`, empty when there are none yet.
   * @throws RangeError when they are not held
   */
  read(after: Offset, maxBytes: number): Buffer {
    if (!this.holds(after)) {
      throw new RangeError(
        `byte ${after + 1} is not in the backlog (${this.firstOffset}, ${this.#length} bytes)`,
      );
    }
    const size = this.#ring.length;
    const count = Math.min(maxBytes, this.#end - after);
    const copy = Buffer.allocUnsafe(count);
    const at = after % size;
    const untilWrap = Math.min(count, size - at);
    this.#ring.copy(copy, 0, at, at + untilWrap);
    this.#ring.copy(copy, untilWrap, 0, count - untilWrap);
    return copy;
  }
}

function ring(size: number): Buffer {
  if (!Number.isSafeInteger(size) || size < 1) throw new RangeError(`${size} is no backlog size`);
  return Buffer.alloc(size);
}

/** Writes the bytes after `after` to where they belong: byte k of the stream (from 1) stands at (k - 1) mod size. */
function put(into: Buffer, bytes: Buffer, after: Offset): void {
  const at = after % into.length;
  const untilWrap = Math.min(bytes.length, into.length - at);
  bytes.copy(into, at, 0, untilWrap);
  bytes.copy(into, 0, untilWrap);
}
