/**
 * Collects bytes that arrive in pieces, by copying them into one buffer. Keeping the pieces would cost far more than
 * their bytes: each is an object and a view that keeps a whole socket buffer alive.
 */
const EMPTY = Buffer.alloc(0);
/** Size from which a buffer is never part of Node's shared pool, in bytes. */
const FREED_BYTES = 64 * 1024;
/** Size of the first buffer unless the caller expects more, in bytes. */
const FIRST_BYTES = 1_024;

export class GrowingBuffer {
  #buffer: Buffer = EMPTY;
  #length = 0;

  /** Number of bytes added since `take`. */
  get length(): number {
    return this.#length;
  }

  /**
   * Appends a copy of the piece.
   * @param expected total number of bytes, if the caller knows it: then no byte is copied twice
   */
  add(piece: Buffer, expected = 0): void {
    const needed = this.#length + piece.length;
    if (needed > this.#buffer.length) {
      // Allocated outside of Node's shared pool, because the bytes may be kept for long.
      const grown = Buffer.allocUnsafeSlow(Math.max(FIRST_BYTES, needed, expected, 2 * this.#buffer.length));
      this.#buffer.copy(grown, 0, 0, this.#length);
      this.#buffer = grown;
    }
    piece.copy(this.#buffer, this.#length);
    this.#length = needed;
  }

  /** Returns all bytes, in memory that nothing else uses, and starts over. */
  take(): Buffer {
    const taken = this.#buffer.subarray(0, this.#length);
    this.#buffer = EMPTY;
    this.#length = 0;
    return taken;
  }
}

/**
 * Frees the memory of a large buffer at once. Otherwise it waits for the garbage collector, which cannot keep up with
 * large values.
 * @param bytes a result of `take` that no code uses any more; it is empty afterwards
 */
export function free({ buffer, length }: Buffer): void {
  if (length >= FREED_BYTES && buffer instanceof ArrayBuffer) buffer.transfer(0);
}
