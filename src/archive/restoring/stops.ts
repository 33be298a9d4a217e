/**
 * Finds where a restore to a time stops: before the first write with a later time. But a clock may have been wrong for a while. A write with a
 * later time is passed if the target had it before that time, and one with an earlier time than the writes before it ends the restore if the target
 * got it later than the wanted time. What comes after them decides: if later writes have times from those of before up to the wanted one, they are
 * of that time or before too.
 */
import { ArchiveError } from '../archive-error.ts';
import type { Catalogue } from '../catalogue.ts';
import { gotBy, isPossible, MAX_SKEW_MS, type Mark, madeAt, type Present } from '../commit-times.ts';
import type { ListedBase, UsableSegment } from '../coverage.ts';
import type { SegmentHeader } from '../segment.ts';

/** A time that is wanted, in milliseconds since 1970. */
export interface WantedTime extends Present {
  readonly at: number;
}

/** Most looks at later writes: each reads a few segments. */
const MAX_LOOKS = 64;

/** How far a segment is wanted. */
export interface Wanted {
  /** The offset after which a write has a later time. */
  readonly upTo: number;
  /** Whether nothing after it is wanted. */
  readonly isOver: boolean;
  /** The write at which it ends, if its time cannot be right; null: it can be, or it does not end. */
  readonly doubtful: Mark | null;
  /** The latest possible time of what is wanted. */
  readonly latest: number;
  /** @see Stops.behindFrom */
  readonly behindFrom: number | null;
}

export class Stops {
  readonly #catalogue: Catalogue;
  readonly #time: WantedTime;
  /** The latest possible time of what is wanted. */
  #latest: number;
  /** A possible time of not after the wanted one: what is before its offset is passed. */
  #said: Mark | null = null;
  #passedFrom: number | null = null;
  #behindFrom: number | null = null;
  #looks = 0;

  constructor(catalogue: Catalogue, time: WantedTime, base: ListedBase) {
    this.#catalogue = catalogue;
    this.#time = time;
    this.#latest = madeAt(base, time);
  }

  /** The offset after which writes were taken whose times are later than the wanted one; null: none were. */
  get passedFrom(): number | null {
    return this.#passedFrom;
  }

  /**
   * The offset after which the clock was set back, together with that of the target: if it was behind from there on, nobody knows whether what
   * follows is of the wanted time; null: it was not, or what comes later has the times again that were before.
   */
  get behindFrom(): number | null {
    return this.#behindFrom;
  }

  /**
   * @param begin the offset that is reached
   * @returns how much of a segment is wanted. What it has beyond `usableTo` is of another history, and says nothing.
   */
  wantedOf({ segment, usableTo }: UsableSegment, { marks }: SegmentHeader, begin: number): Wanted {
    const got = gotBy(segment, this.#time);
    const { at: time } = this.#time;
    let [upTo, latest, behindFrom] = [begin, this.#latest, this.#behindFrom];
    for (const [at, ms] of marks) {
      if (at <= begin) continue;
      if (upTo >= usableTo) break;
      const isSetBack = ms < latest - MAX_SKEW_MS;
      const isDoubtful = ms > time ? ms > got : isSetBack && got > time;
      const isPassed = isDoubtful && this.#said !== null && at < this.#said[0] && latest <= this.#said[1];
      if ((ms > time || isDoubtful) && !isPassed)
        return { upTo, isOver: true, doubtful: isDoubtful ? [at, ms] : null, latest, behindFrom };
      if (ms > time) this.#passedFrom ??= upTo;
      else if (isSetBack && got < latest) behindFrom ??= upTo;
      else if (isPossible(ms, got) && ms >= latest) [latest, behindFrom] = [ms, null];
      upTo = at;
    }
    return { upTo: usableTo, isOver: false, doubtful: null, latest, behindFrom };
  }

  /** Whether it is to be looked whether the write that is not wanted is passed. */
  isOpen({ doubtful }: Wanted): boolean {
    return doubtful !== null && this.#looks < MAX_LOOKS;
  }

  /** Takes note that what is wanted of a segment was taken. */
  took({ latest, behindFrom }: Wanted): void {
    [this.#latest, this.#behindFrom] = [latest, behindFrom];
  }

  /**
   * Looks whether the write that is not wanted was written by the wanted time, as later ones tell.
   * @param rest the segment, and those after it
   */
  async look(wanted: Wanted, rest: readonly UsableSegment[]): Promise<void> {
    const [after] = wanted.doubtful as Mark;
    const said = await this.#laterMark(
      rest,
      ([at, ms], got) => at > after && isPossible(ms, got) && ms >= wanted.latest && ms <= this.#time.at,
    );
    this.#looks = said === null ? MAX_LOOKS : this.#looks + 1;
    this.#said = said ?? this.#said;
  }

  /**
   * @param rest the segment at which the restore stops, and those after it
   * @returns what makes the stop doubtful
   */
  async doubts(
    { doubtful }: Wanted,
    stopsAt: number,
    rest: readonly UsableSegment[],
  ): Promise<{ readonly hasEarlierTimes: boolean; readonly isOfBefore: boolean }> {
    const { at: time } = this.#time;
    const later = await this.#laterMark(rest, ([at, ms]) => at > stopsAt && ms <= time);
    const got = rest[0] === undefined ? Number.POSITIVE_INFINITY : gotBy(rest[0].segment, this.#time);
    const isFarAhead = doubtful !== null && !isPossible(doubtful[1], got);
    return { hasEarlierTimes: later !== null, isOfBefore: got <= time || isFarAhead };
  }

  /** @returns the last mark of that kind of a few segments, the last ones first; null: there is none. What is damaged says nothing. */
  async #laterMark(
    rest: readonly UsableSegment[],
    isOne: (mark: Mark, got: number) => boolean,
  ): Promise<Mark | null> {
    const had = await this.#lastHad(rest);
    const asked = new Set([rest.length - 1, had + 1, had, 1, 0].filter((index) => index in rest));
    for (const index of [...asked].sort((one, other) => other - one)) {
      const { segment, usableTo } = rest[index] as UsableSegment;
      try {
        const { marks } = await this.#catalogue.header(segment);
        const got = gotBy(segment, this.#time);
        const found = marks.findLast((mark) => mark[0] <= usableTo && isOne(mark, got));
        if (found !== undefined) return found;
      } catch (error) {
        if (!(error instanceof ArchiveError)) throw error;
      }
    }
    return null;
  }

  /** @returns the index of the last segment that the target had at the wanted time, or that begins by then by its own times; -1: there is none */
  async #lastHad(rest: readonly UsableSegment[]): Promise<number> {
    const { at: time } = this.#time;
    const had = rest.findLastIndex(({ segment }) => gotBy(segment, this.#time) <= time);
    if (had >= 0) return had;
    // The target may have been copied. After a clock was set right, times grow.
    let [low, high] = [0, rest.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      const { segment } = rest[middle] as UsableSegment;
      const begun = await this.#catalogue.glance(segment).catch((error: unknown) => {
        if (error instanceof ArchiveError) return null;
        throw error;
      });
      if ((begun?.marks[0]?.[1] ?? time) <= time) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
}
