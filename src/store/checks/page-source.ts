/** Where the bytes of a database file come from, for checks without SQLite. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

/** Source of the bytes of a database file. */
export interface PageSource {
  /** Length of the file. */
  readonly bytes: number;
  /**
   * Fills `into` with the bytes from `at`, all of them from one page.
   * @returns number of bytes read
   */
  read(at: number, into: Buffer): number;
  close(): void;
}

/**
 * Largest number of bytes that are read at once. (Measured: a call takes as long as a page of 4 KiB takes to copy five times, so a
 * walk through 150 MB in order takes 0.15 s less.)
 */
const MOST_AHEAD_BYTES = 256 * 1024;

/**
 * A file that no other connection has open: `close` drops all POSIX locks of the process on it. Nothing may change it. The more pages
 * are read in order, the more are read at once; pages in another order are read one by one.
 */
export class PlainFile implements PageSource {
  readonly #file: number;
  /** Bytes of the file from `#from`, in the first `#held` bytes. */
  readonly #ahead = Buffer.allocUnsafeSlow(MOST_AHEAD_BYTES);
  #from = 0;
  #held = 0;
  /** Number of bytes that the next read in order takes. */
  #reach = 0;

  constructor(path: string) {
    this.#file = openSync(path, 'r');
  }

  get bytes(): number {
    return fstatSync(this.#file).size;
  }

  read(at: number, into: Buffer): number {
    const { length } = into;
    if (length > MOST_AHEAD_BYTES) return readSync(this.#file, into, 0, length, at);
    if (at < this.#from || at + length > this.#from + this.#held) this.#fill(at, length);
    const offset = at - this.#from;
    return this.#ahead.copy(into, 0, offset, Math.min(offset + length, this.#held));
  }

  #fill(at: number, least: number): void {
    const isInOrder = at === this.#from + this.#held;
    this.#reach = isInOrder ? Math.min(2 * Math.max(this.#reach, least), MOST_AHEAD_BYTES) : least;
    this.#held = readSync(this.#file, this.#ahead, 0, this.#reach, at);
    this.#from = at;
  }

  close(): void {
    closeSync(this.#file);
  }
}
