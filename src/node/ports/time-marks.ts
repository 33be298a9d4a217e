/** Port: the time marks that are stored with the journal; what they mean is in head/time-marks.ts. */
import type { Offset } from '../../replication/position.ts';

/** Largest number of marks. */
export const MAX_MARKS = 4_096;

export interface TimeMark {
  /** The part of the stream begins after this offset, where a commit ended. */
  readonly offset: Offset;
  /** Every commit in the part happened at this time or later, in milliseconds since 1970. */
  readonly from: number;
  /** Every commit in the part happened before this time, in milliseconds since 1970. */
  readonly to: number;
}

/** A change of the marks, which is stored in one transaction with the commit. */
export interface TimeChange {
  /** Marks that are new, or replace the one at the same offset. */
  readonly put: readonly TimeMark[];
  /** Offset of the mark that goes; null: none. */
  readonly drop: Offset | null;
}
