/**
 * Memory that two threads can read, in pieces of one size that are used again and again.
 *
 * Shared memory is freed when no thread has an object for it any more, and V8 does not count it when it decides whether to
 * look for such objects. So it is not left to the garbage collector: whoever is done with a chunk gives it back.
 */

/** Larger than any key that is read from a stream, which must fit in one, with its header. */
export const CHUNK_BYTES = 1024 * 1024;

/** One piece, seen in three ways. */
export interface Chunk {
  readonly bytes: Buffer<SharedArrayBuffer>;
  readonly words: Uint32Array<SharedArrayBuffer>;
  readonly doubles: Float64Array<SharedArrayBuffer>;
}

export class ChunkPool {
  readonly chunkBytes: number;
  readonly #keepBytes: () => number;
  #free: Chunk[] = [];
  #taken = 0;
  #makeRoom: () => boolean = () => false;

  /**
   * @param keepBytes asked each time: how much of what is given back is kept at most
   * @param chunkBytes a power of two
   */
  constructor(keepBytes: () => number, chunkBytes = CHUNK_BYTES) {
    this.chunkBytes = chunkBytes;
    this.#keepBytes = keepBytes;
  }

  /** @param makeRoom called before more memory is taken than is kept: gives some back, or returns false if there is none */
  onShortage(makeRoom: () => boolean): void {
    this.#makeRoom = makeRoom;
  }

  /** How many chunks are kept at most. */
  get #most(): number {
    return Math.ceil(this.#keepBytes() / this.chunkBytes);
  }

  /** Its bytes are whatever they were. */
  take(): Chunk {
    while (this.#free.length === 0 && this.#taken >= this.#most && this.#makeRoom());
    this.#taken += 1;
    return this.#free.pop() ?? chunkOf(new SharedArrayBuffer(this.chunkBytes));
  }

  /** Nobody reads them any more. */
  giveBack(chunks: readonly Chunk[]): void {
    this.#taken -= chunks.length;
    this.#free.push(...chunks.slice(0, Math.max(0, this.#most - this.#taken - this.#free.length)));
  }

  /** Leaves what is not taken to the garbage collector. */
  clear(): void {
    this.#free = [];
  }
}

export function chunkOf(memory: SharedArrayBuffer): Chunk {
  return { bytes: Buffer.from(memory), words: new Uint32Array(memory), doubles: new Float64Array(memory) };
}
