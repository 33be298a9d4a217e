/**
 * When the stream had come how far, by the wall clock of this node: for readers who name a time instead of a position.
 *
 * Owns *marks* in the order of their offsets. A mark says of its part of the stream, which begins after its offset and ends at the
 * next mark or at the head: every commit in it happened in [from, to). That stays true whoever sets the clock, because a commit
 * outside the times of the last mark begins a new one. Marks are kept with the journal, at most one a second while the clock
 * runs on. When there are too many, two neighbours become one: memory is bounded, and only old times become coarse. Those of what the
 * journal has dropped become one.
 *
 * In numbers, with the marks {offset 0, 10:00:00 to 10:00:01} and {offset 50, 10:05:00 to 10:05:01}:
 *
 *   since 10:00:00     after byte 0
 *   since 10:00:01     after byte 50: everything before was committed before that time
 *   since 10:05:00.5   after byte 50: some of it may be older, and nothing that is newer is missing
 *   since 10:06:00     after the head
 */
import type { Offset } from '../../replication/position.ts';
import { MAX_MARKS, type TimeChange, type TimeMark } from '../ports/state-store.ts';

/** Milliseconds of the wall clock that a new mark covers. */
export const MARK_MS = 1_000;
/** Times in milliseconds since 1970. */
export interface TimeRange {
  readonly from: number;
  readonly to: number;
}

export class TimeMarks {
  #marks: readonly TimeMark[];
  /** Without a mark: all bytes up to this offset were committed before this time. */
  readonly #begin: { readonly offset: Offset; readonly at: number };

  /**
   * @param marks marks that were stored, in order
   * @param head offset of the last byte of the stream
   * @param now wall clock, in milliseconds since 1970
   */
  constructor(marks: readonly TimeMark[], head: Offset, now: number) {
    this.#marks = marks;
    this.#begin = { offset: head, at: now };
  }

  /**
   * @param after the offset after which a commit begins now
   * @returns the change that the commit makes; null: none. It counts once `take` has it
   */
  next(after: Offset, now: number): TimeChange | null {
    const last = this.#marks.at(-1);
    if (last !== undefined && last.from <= now && now < last.to) return null;
    // Nothing was committed between the begin and the first mark, so the mark covers that time too.
    const from = last === undefined ? Math.min(this.#begin.at, now) : now;
    const mark = { offset: after, from, to: now + MARK_MS };
    if (this.#marks.length < MAX_MARKS) return { put: [mark], drop: null };
    const [merged, drop] = mergedPair(this.#marks);
    return { put: [merged, mark], drop };
  }

  /** Takes over a change that is stored. */
  take(change: TimeChange): void {
    this.#marks = changed(this.#marks, change);
  }

  /** Makes one mark of those of what the journal has no more. @param start the offset before the first byte in the journal */
  trimmed(start: Offset): void {
    this.#marks = trimmedMarks(this.#marks, start);
  }

  /**
   * The offset from which a reader gets at least everything that was committed at this time or later. A commit ends there.
   * @param time milliseconds since 1970
   * @param head offset of the last byte of the stream
   * @returns the largest such offset that is known; null: none is
   */
  since(time: number, head: Offset): Offset | null {
    const first = this.#marks[0];
    const known = first ?? { offset: this.#begin.offset, from: this.#begin.at };
    // Before offset 0 there is nothing, so no time is too early for it.
    if (time < known.from && known.offset > 0) return null;
    if (first === undefined) return time < known.from ? known.offset : head;
    // The clock may have been set back: later marks of earlier times do not count.
    return this.#marks.find(({ to }) => to > time)?.offset ?? head;
  }

  /**
   * The least time for which `since` gives this offset or a later one.
   * @param start the offset before the first byte that can be read
   * @returns milliseconds since 1970; 0: any time
   */
  earliest(start: Offset): number {
    const first = this.#marks[0] ?? { offset: this.#begin.offset, from: this.#begin.at };
    const before = this.#marks.filter(({ offset }) => offset < start);
    if (before.length > 0) return Math.max(...before.map(({ to }) => to));
    return first.offset === 0 ? 0 : first.from;
  }

  /**
   * When the byte after an offset was committed.
   * @returns the times between which it was, `to` not among them; null: unknown
   */
  timeAfter(offset: Offset): TimeRange | null {
    const mark = this.#marks.findLast((each) => each.offset <= offset);
    return mark === undefined ? null : { from: mark.from, to: mark.to };
  }
}

/** @returns the marks after a change */
export function changed(marks: readonly TimeMark[], { put, drop }: TimeChange): readonly TimeMark[] {
  const replaced = new Set(put.map(({ offset }) => offset));
  const kept = marks.filter(({ offset }) => offset !== drop && !replaced.has(offset));
  return [...kept, ...put].sort((one, other) => one.offset - other.offset);
}

/**
 * Makes one mark of all those that say nothing of the bytes after `start`. It stays, because the clock may have been set back after it: who
 * names a time before its end must not get the later marks, as if nothing of that time had been dropped.
 */
export function trimmedMarks(marks: readonly TimeMark[], start: Offset): readonly TimeMark[] {
  const first = marks.findLastIndex(({ offset }) => offset <= start);
  return first <= 1 ? marks : [marks.slice(0, first).reduce(joined), ...marks.slice(first)];
}

/** @returns one mark for the two neighbours that are nearest in time, the oldest of them, and the offset of the mark that goes */
function mergedPair(marks: readonly TimeMark[]): readonly [TimeMark, Offset] {
  let best = 0;
  let least = Number.POSITIVE_INFINITY;
  for (let index = 0; index + 1 < marks.length; index += 1) {
    const { from, to } = joined(marks[index] as TimeMark, marks[index + 1] as TimeMark);
    if (to - from >= least) continue;
    least = to - from;
    best = index;
  }
  const second = marks[best + 1] as TimeMark;
  return [joined(marks[best] as TimeMark, second), second.offset];
}

function joined(one: TimeMark, next: TimeMark): TimeMark {
  return { offset: one.offset, from: Math.min(one.from, next.from), to: Math.max(one.to, next.to) };
}
