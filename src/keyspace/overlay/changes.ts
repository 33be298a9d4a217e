/**
 * What became of keys in one stretch of the stream, in memory that another thread can read: so it goes to the thread that
 * writes the keyspace file without a copy.
 */
import { EntryRecords } from './entry-records.ts';

export interface Changes {
  /** The offset of the stretch's last byte. */
  readonly end: number;
  /** Nothing is left of what was there before the stretch. */
  readonly flushed: boolean;
  /** Of each key a record, in no order. */
  readonly addresses: Uint32Array<ArrayBuffer>;
  /** What the addresses point into, in chunks of `chunkBytes`. */
  readonly memories: readonly SharedArrayBuffer[];
  readonly chunkBytes: number;
}

export function recordsOf({ memories, chunkBytes }: Changes): EntryRecords {
  return EntryRecords.of(memories, chunkBytes);
}
