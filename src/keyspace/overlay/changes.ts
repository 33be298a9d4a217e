/** The changes of keys over a range of the stream, in shared memory: the applier's thread reads them without a copy. */
import { EntryRecords } from './entry-records.ts';

export interface Changes {
  /** Offset of the last byte of the range. */
  readonly end: number;
  /** Whether a FLUSHALL deleted everything from before the range. */
  readonly flushed: boolean;
  /** Address of one record for each key, in no order. */
  readonly addresses: Uint32Array<ArrayBuffer>;
  /** The memory that the addresses point into, in chunks of `chunkBytes`. */
  readonly memories: readonly SharedArrayBuffer[];
  readonly chunkBytes: number;
}

export function recordsOf({ memories, chunkBytes }: Changes): EntryRecords {
  return EntryRecords.of(memories, chunkBytes);
}
