/**
 * The backlog: the last N bytes of the stream, in memory, of fixed length, first in first out (Redis's replication
 * backlog).
 *
 * Owns the window [firstOffset, firstOffset + length), counted from byte 1 like the wire protocol. Invariant:
 * `firstOffset + length - 1` is the offset of the last appended byte.
 *
 * It is a ring: appending copies the bytes in and never allocates. `read` returns a copy too, because the ring may
 * overwrite the bytes while a socket still holds them.
 */
import { type Offset, offset } from './position.ts';

/** The range of the stream from which the node can serve a partial resync. */
export interface Window {
  /** First byte held, counted from 1; if none is held, the next byte to come. */
  readonly firstOffset: number;
  /** Number of bytes held. */
  readonly length: number;
}

export class Backlog implements Window {
  #ring: Buffer;
  #end: Offset;
  #length = 0;

  /**
   * @param size largest number of bytes to hold
   * @param end offset of the last byte before the first appended one
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

  /** Changes the size; the newest bytes stay. */
  resize(size: number): void {
    if (size === this.size) return;
    const resized = ring(size);
    const kept = this.read(offset(this.#end - Math.min(size, this.#length)), size);
    put(resized, kept, offset(this.#end - kept.length));
    this.#ring = resized;
    this.#length = kept.length;
  }

  /** Whether all bytes after `after` are held; true also if there are none yet. */
  holds(after: Offset): boolean {
    return after >= this.#end - this.#length && after <= this.#end;
  }

  /**
   * Returns a copy of at most `maxBytes` of the bytes after `after`; empty if there are none yet.
   * @throws RangeError if they are not held
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

/** Writes the bytes after `after` to their places: byte k of the stream (from 1) is at (k - 1) mod size. */
function put(into: Buffer, bytes: Buffer, after: Offset): void {
  const at = after % into.length;
  const untilWrap = Math.min(bytes.length, into.length - at);
  bytes.copy(into, at, 0, untilWrap);
  bytes.copy(into, 0, untilWrap);
}
