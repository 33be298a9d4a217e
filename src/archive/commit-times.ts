/**
 * When the stream had come how far, by the wall clock: a restore to a time needs it, and the stream itself has no times.
 *
 * A mark `[offset, ms]` says that all bytes up to the offset were committed at `ms` or before. Commits within `SPACING_MS` share a
 * mark. When there are too many marks, the commits of longer times share one: the times get coarser and never wrong.
 */
import type { ArchivedStream } from '../node/ports/archived-stream.ts';
import type { Offset } from '../replication/position.ts';
import type { Listed } from './coverage.ts';
import type { BaseName } from './names.ts';

/** An offset, and a moment in milliseconds since 1970. */
export type Mark = readonly [offset: number, ms: number];

/** Time that the name of a base leaves open, in milliseconds. */
const NAME_MS = 1_000;
/** Longest time by which the clocks of nodes and targets differ without a fault, in milliseconds. */
export const MAX_SKEW_MS = 60_000;
/** Longest time in which the target gets a base that is made, in milliseconds: a node gives one up that takes half of it. */
const MAX_LATE_MS = 24 * 3_600_000;
/** There was no psyncd before, in milliseconds since 1970: a clock that says so is behind, as after a power cut. */
export const OLDEST_MS = Date.UTC(2026, 0, 1);
/** Time within which commits share a mark, in milliseconds. */
const SPACING_MS = 10;
/** Longest time within which commits share a mark, in milliseconds: marks of a sane clock are few then. */
const MAX_SPACING_MS = SPACING_MS * 2 ** 24;
/** Most marks in memory. */
const MAX_MARKS = 65_536;
/** Most marks of one segment. */
export const MAX_SEGMENT_MARKS = 8_192;

export class CommitTimes {
  #marks: Mark[];
  /** Time within which commits share a mark at present. */
  #spacingMs = SPACING_MS;

  /**
   * @param head the offset at which the stream stands
   * @param now milliseconds since 1970
   * @param known marks of the bytes up to the head, in order, the last one at the head; empty: they were committed by `now`
   */
  constructor(head: Offset, now: number, known: readonly Mark[] = []) {
    this.#marks = known.length > 0 ? [...known] : [[head, now]];
  }

  /** Takes note of a commit. @param end its end @param now milliseconds since 1970 */
  committed(end: Offset, now: number): void {
    const last = this.#marks.at(-1);
    // The wall clock may have been set back.
    if (last !== undefined && areNear(last[1], now, this.#spacingMs))
      this.#marks[this.#marks.length - 1] = [end, now];
    else this.#marks.push([end, now]);
    if (this.#marks.length > MAX_MARKS) {
      const { marks, spacingMs } = thinned(this.#marks, MAX_MARKS / 2, this.#spacingMs);
      this.#marks = marks;
      this.#spacingMs = spacingMs;
    }
  }

  /** @returns the marks of the bytes after `after` up to `end`; the last one is at `end`, if it is known when that was committed */
  between(after: Offset, end: Offset): readonly Mark[] {
    const from = this.#indexAt(after + 1);
    const to = this.#indexAt(end);
    const marks = this.#marks.slice(from, to);
    const closing = this.#marks[to];
    if (closing !== undefined) marks.push([end, closing[1]]);
    return thinned(marks, MAX_SEGMENT_MARKS, this.#spacingMs).marks;
  }

  /** @returns when the bytes up to this offset were committed at the latest, in milliseconds since 1970; null: unknown */
  at(offset: Offset): number | null {
    return this.#marks[this.#indexAt(offset)]?.[1] ?? null;
  }

  /**
   * Forgets the marks of the bytes up to this offset.
   * @returns when the last one of these was committed at the latest, in milliseconds since 1970; null: unknown
   */
  forget(upTo: Offset): number | null {
    const time = this.at(upTo);
    const kept = this.#indexAt(upTo + 1);
    // The last mark stays: it says that everything before now is of that time or earlier.
    if (kept > 0) this.#marks = this.#marks.slice(Math.min(kept, this.#marks.length - 1));
    if (this.#marks.length === 1) this.#spacingMs = SPACING_MS;
    return time;
  }

  /** @returns the index of the first mark at this offset or after it */
  #indexAt(at: number): number {
    let [low, high] = [0, this.#marks.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#marks[middle] as Mark)[0] < at) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** @param now milliseconds since 1970 @returns the times of the commits before now, as the node has kept them */
export function timesOf({ committedParts, offset }: ArchivedStream, now: number): CommitTimes {
  const known = committedParts.map(({ end, by }): Mark => [end, by]);
  return new CommitTimes(offset, now, known);
}

/**
 * Dates what a node had beyond what its run ID shares with the one before, when it took that, as after it was given older files: in the
 * new history these bytes were there from then on. Their own times are those of another history, and would show that the clock of the begin
 * was ahead (periods/begins.ts).
 * @param marks those of the bytes after `after` up to `end`
 * @returns the marks of these bytes in the history of the stream
 */
export function sinceRename(
  marks: readonly Mark[],
  { after, end }: { readonly after: number; readonly end: number },
  { history, renamedAt }: Pick<ArchivedStream, 'history' | 'renamedAt'>,
): readonly Mark[] {
  const [began] = history.lineage;
  if (began === undefined || renamedAt === null) return marks;
  const { validTo, at } = began;
  const [from, to] = [Math.max(after, validTo), Math.min(end, renamedAt)];
  if (from >= to) return marks;
  const before = marks.filter(([offset]) => offset <= from);
  const next = marks[before.length];
  // The mark that is cut here is also one of what is shared.
  if (next !== undefined && from > Math.max(after, before.at(-1)?.[0] ?? 0)) before.push([from, next[1]]);
  return [...before, [to, at], ...marks.filter(([offset]) => offset > to)];
}

/**
 * Finds how far the stream had come at a time. The first mark after the time ends the search, although a later mark may be of an
 * earlier time again: the wall clock was then set, and the earlier bytes are the safe choice.
 * @param after the offset before the marks
 * @returns the offset, and whether the marks end before the time does
 */
export function reachedAt(
  marks: readonly Mark[],
  after: Offset,
  time: number,
): { readonly offset: number; readonly isOver: boolean } {
  let reached: number = after;
  for (const [at, ms] of marks) {
    if (ms > time) return { offset: reached, isOver: true };
    reached = at;
  }
  return { offset: reached, isOver: false };
}

/** What the clock says of who asks, in milliseconds since 1970; without it, the target alone tells by when something was written. */
export interface Present {
  readonly now?: number;
}

/** @returns a moment by which the target had an object, in milliseconds since 1970 */
export function gotBy({ modified }: Listed, { now }: Present): number {
  return Math.min(modified ?? Number.POSITIVE_INFINITY, now ?? Number.POSITIVE_INFINITY);
}

/** Whether a clock that said so may have been right. @param got a moment by which the target had it; all are in milliseconds since 1970 */
export function isPossible(ms: number, got: number): boolean {
  return ms <= got + MAX_SKEW_MS;
}

/** @returns when a base was made, in milliseconds since 1970; negative infinity: the target had it long before that, so its clock was wrong */
export function madeAt(base: Listed & Pick<BaseName, 'at'>, time: Present): number {
  return isPossible(base.at - NAME_MS, gotBy(base, time)) ? base.at : Number.NEGATIVE_INFINITY;
}

/** Whether the clock may have been behind when a base was made: the target got it long after that, or the time of its name cannot be right. */
export function mayBeBehind({ at, modified = at }: Listed & Pick<BaseName, 'at'>): boolean {
  return at < OLDEST_MS || modified - at > MAX_LATE_MS;
}

/**
 * @param reachedAt when the last write after the base was committed that a restore to the time takes, in milliseconds since 1970; null: there is none
 * @returns whether nothing shows that the base was made by the time
 */
export function mayBeLater(
  base: Listed & Pick<BaseName, 'at'>,
  time: number,
  reachedAt: number | null,
): boolean {
  return mayBeBehind(base) && (time < (base.modified ?? base.at) || (reachedAt ?? base.at) < OLDEST_MS);
}

/** What tells that a clock was ahead which gave some times. All are in milliseconds since 1970. */
export interface Doubts {
  /** When the target got the times, or a later moment: none of them can be later. */
  readonly got: number;
  /** When a backup of the bytes was made, by a clock that says nothing impossible; negative infinity: none was. */
  readonly madeAt: number;
}
const NO_DOUBTS: Doubts = { got: Number.POSITIVE_INFINITY, madeAt: Number.NEGATIVE_INFINITY };

/**
 * @param doubts a time of after the target got it does not count if the backup was made later by its own time: the clock was ahead, and was set
 *   right. It counts if a possible time before it is later than the backup: then the clock of the backup may have been behind.
 * @returns the latest time of the bytes after one offset up to another, in milliseconds since 1970; negative infinity: none is known
 */
export function latestOf(
  marks: readonly Mark[],
  after: number,
  upTo: number,
  { got, madeAt }: Doubts = NO_DOUBTS,
): number {
  let [from, latest, possible] = [after, Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const [at, ms] of marks) {
    if (from >= upTo) break;
    from = at;
    if (ms > got && possible <= madeAt) continue;
    if (isPossible(ms, got)) possible = Math.max(possible, ms);
    latest = Math.max(latest, ms);
  }
  return latest;
}

/** @returns about when the byte at `end` was committed, in milliseconds since 1970; null: the marks do not say */
export function committedAt(marks: readonly Mark[], end: number): number | null {
  return marks.find(([at]) => at >= end)?.[1] ?? null;
}

/** Whether two times share a mark: the wall clock may have been set back between them. */
function areNear(before: number, after: number, spacingMs: number): boolean {
  return after >= before && Math.floor(before / spacingMs) === Math.floor(after / spacingMs);
}

/** Makes marks fewer: those within a longer time become one, the last of them. @returns at most so many, the last one among them */
function thinned(
  marks: Mark[],
  most: number,
  spacingMs: number,
): { readonly marks: Mark[]; readonly spacingMs: number } {
  let [fewer, spacing] = [marks, spacingMs];
  while (fewer.length > most && spacing < MAX_SPACING_MS) {
    spacing *= 2;
    fewer = fewer.filter(([, ms], index) => {
      const next = fewer[index + 1];
      return next === undefined || !areNear(ms, next[1], spacing);
    });
  }
  if (fewer.length <= most) return { marks: fewer, spacingMs: spacing };
  // The wall clock jumps again and again.
  const step = Math.ceil(fewer.length / most);
  const last = fewer.length - 1;
  return { marks: fewer.filter((_, index) => (last - index) % step === 0), spacingMs };
}
