/** What the main thread and the thread that copies a frozen keyspace file say to each other. */
import type { FrozenPages } from '../keyspace/frozen-file.ts';

export interface CopyTask {
  /** Path of the keyspace file. */
  readonly path: string;
  /** Descriptor of the open keyspace file. The thread must not close it: that would drop SQLite's locks. */
  readonly file: number;
  readonly pages: FrozenPages;
  /** Path of the copy; no file may be there. */
  readonly to: string;
  /** Shared with the main thread: see `STOP` and `COPIED`. */
  readonly shared: Int32Array;
}

/** Index in `shared`: a value other than 0 asks the thread to stop. */
export const STOP = 0;
/** Index in `shared`: number of parts that were copied. */
export const COPIED = 1;
/** Size of a part, in bytes; a multiple of every page size of SQLite. */
export const PART_BYTES = 1024 * 1024;
/** What the thread answers: the SHA-256 in hex; null: it was stopped. */
export type CopyAnswer = string | null;
