/** Layout and checksums of SQLite's write-ahead log (https://www.sqlite.org/fileformat2.html#the_write_ahead_log). */
import { endianness } from 'node:os';

export const WAL_HEADER_BYTES = 32;
export const FRAME_HEADER_BYTES = 24;
/** Length of the salts, and their places in the WAL's header and in a frame's header. */
const SALT_BYTES = 8;
const SALT_IN_WAL_HEADER = 16;
const SALT_IN_FRAME_HEADER = 8;
/** Places of the checksums in the WAL's header and in a frame's header. */
const SUM_IN_WAL_HEADER = 24;
const SUM_IN_FRAME_HEADER = 16;

/** @param frame number of the frame, counted from 1 */
export function frameStart(frame: number, pageSize: number): number {
  return WAL_HEADER_BYTES + (frame - 1) * (FRAME_HEADER_BYTES + pageSize);
}

/** @param path of the database file */
export function walOf(path: string): string {
  return `${path}-wal`;
}

/** The running sum over the frames of a WAL (https://www.sqlite.org/fileformat2.html#checksum_algorithm). */
export class WalSum {
  readonly #salt: Buffer;
  readonly #isNative: boolean;
  #one: number;
  #two: number;

  /** @param header of the WAL */
  constructor(header: Buffer) {
    this.#salt = Buffer.from(header.subarray(SALT_IN_WAL_HEADER, SALT_IN_WAL_HEADER + SALT_BYTES));
    this.#isNative = ((header.readUInt32BE(0) & 1) === 0) === (endianness() === 'LE');
    this.#one = header.readInt32BE(SUM_IN_WAL_HEADER);
    this.#two = header.readInt32BE(SUM_IN_WAL_HEADER + 4);
  }

  /**
   * @param part a piece of the WAL with memory of its own
   * @returns the 32-bit words of the piece
   */
  wordsOf(part: Buffer<ArrayBuffer>): Int32Array {
    if (this.#isNative) return new Int32Array(part.buffer, 0, part.length >> 2);
    const swapped = Buffer.allocUnsafeSlow(part.length);
    part.copy(swapped);
    swapped.swap32();
    return new Int32Array(swapped.buffer, 0, swapped.length >> 2);
  }

  /**
   * Adds the next frame to the sum.
   * @param words words of the piece that holds the frame at `at`
   * @returns whether the frame's checksum and salts are those of the current WAL
   */
  matches(part: Buffer, words: Int32Array, at: number, bytes: number): boolean {
    const salt = at + SALT_IN_FRAME_HEADER;
    if (this.#salt.compare(part, salt, salt + SALT_BYTES) !== 0) return false;
    this.#add(words, at, at + SALT_IN_FRAME_HEADER);
    this.#add(words, at + FRAME_HEADER_BYTES, at + bytes);
    const sum = at + SUM_IN_FRAME_HEADER;
    return part.readInt32BE(sum) === this.#one && part.readInt32BE(sum + 4) === this.#two;
  }

  #add(words: Int32Array, from: number, to: number): void {
    let one = this.#one;
    let two = this.#two;
    const end = to >> 2;
    for (let at = from >> 2; at < end; at += 2) {
      one = (one + (words[at] as number) + two) | 0;
      two = (two + (words[at + 1] as number) + one) | 0;
    }
    this.#one = one;
    this.#two = two;
  }
}
