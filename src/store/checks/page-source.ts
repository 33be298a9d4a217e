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

/** A file that no other connection has open: `close` drops all POSIX locks of the process on it. */
export class PlainFile implements PageSource {
  readonly #file: number;

  constructor(path: string) {
    this.#file = openSync(path, 'r');
  }

  get bytes(): number {
    return fstatSync(this.#file).size;
  }

  read(at: number, into: Buffer): number {
    return readSync(this.#file, into, 0, into.length, at);
  }

  close(): void {
    closeSync(this.#file);
  }
}
