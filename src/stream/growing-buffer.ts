/**
 * Bytes that arrive in pieces, copied one behind the other. To keep the pieces instead would cost far more than their bytes:
 * each is an object of its own, and a view that keeps the whole buffer alive which the socket was read into.
 */
const EMPTY = Buffer.alloc(0);
/** From here on a buffer is never part of Node's shared pool, in bytes. */
const FREED_BYTES = 64 * 1024;
/** The first buffer, unless the caller expects more, in bytes. */
const FIRST_BYTES = 1_024;

export class GrowingBuffer {
  #buffer: Buffer = EMPTY;
  #length = 0;

  /** How many bytes were added since `take`. */
  get length(): number {
    return this.#length;
  }

  /**
   * Copies the piece behind what is there.
   * @param expected how many bytes there will be in all, if the caller knows: then nothing is copied twice
   */
  add(piece: Buffer, expected = 0): void {
    const needed = this.#length + piece.length;
    if (needed > this.#buffer.length) {
      // Not from Node's shared pool: whoever takes the bytes may keep them for long.
      const grown = Buffer.allocUnsafeSlow(Math.max(FIRST_BYTES, needed, expected, 2 * this.#buffer.length));
      this.#buffer.copy(grown, 0, 0, this.#length);
      this.#buffer = grown;
    }
    piece.copy(this.#buffer, this.#length);
    this.#length = needed;
  }

  /** @returns all bytes, in memory that is nobody else's; there are none afterwards */
  take(): Buffer {
    const taken = this.#buffer.subarray(0, this.#length);
    this.#buffer = EMPTY;
    this.#length = 0;
    return taken;
  }
}

/**
 * Gives the memory of a large buffer back at once; else it is only found by the garbage collector, which large values outrun.
 * @param bytes what `take` has returned, and nobody uses any more: it is empty afterwards
 */
export function free({ buffer, length }: Buffer): void {
  if (length >= FREED_BYTES && buffer instanceof ArrayBuffer) buffer.transfer(0);
}
