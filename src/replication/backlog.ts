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
  readonly #ring: Buffer;
  #end: Offset;
  #length = 0;

  /**
   * @param size how many bytes it holds at most
   * @param end the offset of the last byte before the first one that will be appended
   */
  constructor(size: number, end: Offset) {
    if (!Number.isSafeInteger(size) || size < 1) throw new RangeError(`${size} is no backlog size`);
    this.#ring = Buffer.alloc(size);
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
    // Byte k of the stream (counted from 1) stands at (k - 1) mod size.
    const at = (this.#end - kept.length) % size;
    const untilWrap = Math.min(kept.length, size - at);
    kept.copy(this.#ring, at, 0, untilWrap);
    kept.copy(this.#ring, 0, untilWrap);
    this.#length = Math.min(size, this.#length + bytes.length);
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
