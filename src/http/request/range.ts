/** Parses `Range` and `If-Range` (RFC 9110, 13.1.5 and 14.2). */
import type { IncomingHttpHeaders } from 'node:http';
import { combineRanges, parse } from 'range-parser';

/** The bytes to send. */
export interface ByteRange {
  readonly start: number;
  /** The last byte. */
  readonly end: number;
}

/** Bits of the code with which range-parser reports what is wrong. */
const MALFORMED = 1;

/**
 * @param length of the whole, in bytes, at least 1
 * @param etag of the whole; null: nothing says which bytes the client means, so no range counts
 * @returns the range to send; `whole`: there is no range that counts, so everything; `unsatisfiable`: all ranges are beyond the end.
 * Several ranges that are not one after the other count as none, which RFC 9110 leaves open: nobody who resumes a download sends
 * them.
 */
export function rangeOf(
  { range, 'if-range': ifRange }: IncomingHttpHeaders,
  length: number,
  etag: string | null,
): ByteRange | 'whole' | 'unsatisfiable' {
  if (range === undefined || etag === null) return 'whole';
  // A weak ETag and a date never match: the comparison is the strong one, and there is no date.
  if (ifRange !== undefined && ifRange !== etag) return 'whole';
  const { code, type, ranges } = parse(length, range);
  if (type !== 'bytes' || (code & MALFORMED) !== 0) return 'whole';
  const [first, ...more] = combineRanges(ranges);
  if (first === undefined) return 'unsatisfiable';
  return more.length === 0 ? { start: first.start, end: first.end } : 'whole';
}
