/**
 * Finds where a restore to a time stops: before the first write with a later time. But a clock may have been ahead and set right then. So a write
 * is passed whose time cannot be right, because the target had it before, if writes after it are of the wanted time or before: two clocks say
 * that it was written by then. Whoever goes on after a clock that was behind is not passed, because the times before are possible ones.
 */
import { ArchiveError } from '../archive-error.ts';
import type { Catalogue } from '../catalogue.ts';
import { gotBy, isPossible, type Mark, madeAt, type Present } from '../commit-times.ts';
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
  /** The write that is not wanted, if the target had it before the time that it has. */
  readonly impossible: Mark | null;
  /** The latest possible time before it. */
  readonly latest: number;
}

export class Stops {
  readonly #catalogue: Catalogue;
  readonly #time: WantedTime;
  /** The latest possible time of what is wanted. */
  #latest: number;
  /** A possible time of not after the wanted one: what is before its offset is passed. */
  #said: Mark | null = null;
  /** The offset of the first write that was passed; null: none was. */
  #passedFrom: number | null = null;
  #looks = 0;

  constructor(catalogue: Catalogue, time: WantedTime, base: ListedBase) {
    this.#catalogue = catalogue;
    this.#time = time;
    this.#latest = madeAt(base, time);
  }

  get passedFrom(): number | null {
    return this.#passedFrom;
  }

  /**
   * @param begin the offset that is reached
   * @returns how much of a segment is wanted. What it has beyond `usableTo` is of another history, and says nothing.
   */
  wantedOf({ segment, usableTo }: UsableSegment, { marks }: SegmentHeader, begin: number): Wanted {
    const got = gotBy(segment, this.#time);
    let [upTo, latest] = [begin, this.#latest];
    for (const [at, ms] of marks) {
      if (at <= begin) continue;
      if (upTo >= usableTo) break;
      if (ms > this.#time.at) {
        const isPassed = ms > got && this.#said !== null && at < this.#said[0] && latest <= this.#said[1];
        if (!isPassed) return { upTo, isOver: true, impossible: ms > got ? [at, ms] : null, latest };
        this.#passedFrom ??= upTo;
      } else if (isPossible(ms, got)) latest = Math.max(latest, ms);
      upTo = at;
    }
    return { upTo: usableTo, isOver: false, impossible: null, latest };
  }

  /** Whether it is to be looked whether the write that is not wanted is passed. */
  isOpen({ impossible }: Wanted): boolean {
    return impossible !== null && this.#looks < MAX_LOOKS;
  }

  /** Takes note that what is wanted of a segment was taken. */
  took({ latest }: Wanted): void {
    this.#latest = latest;
  }

  /**
   * Looks whether the write that is not wanted was written by the wanted time, as later ones tell.
   * @param rest the segment, and those after it
   */
  async look(wanted: Wanted, rest: readonly UsableSegment[]): Promise<void> {
    const [after] = wanted.impossible as Mark;
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
    { impossible }: Wanted,
    stopsAt: number,
    rest: readonly UsableSegment[],
  ): Promise<{ readonly hasEarlierTimes: boolean; readonly isOfBefore: boolean }> {
    const { at: time } = this.#time;
    const later = await this.#laterMark(rest, ([at, ms]) => at > stopsAt && ms <= time);
    const got = rest[0] === undefined ? Number.POSITIVE_INFINITY : gotBy(rest[0].segment, this.#time);
    const isFarAhead = impossible !== null && !isPossible(impossible[1], got);
    return { hasEarlierTimes: later !== null, isOfBefore: got <= time || isFarAhead };
  }

  /** @returns the last mark of that kind of a few segments, the last ones first; null: there is none. What is damaged says nothing. */
  async #laterMark(
    rest: readonly UsableSegment[],
    isOne: (mark: Mark, got: number) => boolean,
  ): Promise<Mark | null> {
    const had = rest.findLastIndex(({ segment }) => gotBy(segment, this.#time) <= this.#time.at);
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
}
