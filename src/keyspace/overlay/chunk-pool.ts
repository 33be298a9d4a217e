/**
 * A pool of shared memory in chunks of one size, which are reused.
 *
 * The garbage collector frees shared memory once no thread refers to it, but V8 does not count that memory when it
 * decides whether to collect. So the user of a chunk gives it back explicitly.
 */

/** Size of a chunk in bytes. A key that arrives in a stream fits into one chunk together with its header. */
export const CHUNK_BYTES = 1024 * 1024;

/** One chunk, with three views of its memory. */
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
   * @param keepBytes returns how much returned memory the pool keeps, in bytes
   * @param chunkBytes a power of two
   */
  constructor(keepBytes: () => number, chunkBytes = CHUNK_BYTES) {
    this.chunkBytes = chunkBytes;
    this.#keepBytes = keepBytes;
  }

  /**
   * @param makeRoom called before the pool takes more memory than it keeps; it gives some back, or returns false if it
   * has none
   */
  onShortage(makeRoom: () => boolean): void {
    this.#makeRoom = makeRoom;
  }

  /** Largest number of chunks that the pool keeps. */
  get #most(): number {
    return Math.ceil(this.#keepBytes() / this.chunkBytes);
  }

  /** Returns a chunk with arbitrary contents. */
  take(): Chunk {
    while (this.#free.length === 0 && this.#taken >= this.#most && this.#makeRoom());
    this.#taken += 1;
    return this.#free.pop() ?? chunkOf(new SharedArrayBuffer(this.chunkBytes));
  }

  /** Takes chunks back that no code reads any more. */
  giveBack(chunks: readonly Chunk[]): void {
    this.#taken -= chunks.length;
    this.#free.push(...chunks.slice(0, Math.max(0, this.#most - this.#taken - this.#free.length)));
  }

  /** Leaves the unused chunks to the garbage collector. */
  clear(): void {
    this.#free = [];
  }
}

export function chunkOf(memory: SharedArrayBuffer): Chunk {
  return { bytes: Buffer.from(memory), words: new Uint32Array(memory), doubles: new Float64Array(memory) };
}
