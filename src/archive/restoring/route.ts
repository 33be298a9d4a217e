/** The way from a base to a position or a time: which base, of which history, and which segments after it. */
import { ancestorsAt, type History, standing } from '../../replication/history.ts';
import { formatPosition, type Offset, type Position, type RunId } from '../../replication/position.ts';
import { ArchiveError, DamagedObject } from '../archive-error.ts';
import type { Catalogue } from '../catalogue.ts';
import { gotBy, latestOf, madeAt, reachedAt } from '../commit-times.ts';
import {
  type Coverage,
  type ListedBase,
  type ListedSegment,
  sharedBy,
  type UsableSegment,
} from '../coverage.ts';
import { MAX_ASKED, type Untold } from '../first-told.ts';
import { historyAt } from '../history-at.ts';
import type { SegmentHeader } from '../segment.ts';
import type { WantedTime } from './stops.ts';

export type Goal =
  | { readonly kind: 'position'; readonly position: Position }
  | ({ readonly kind: 'time' } & WantedTime);

export interface Route {
  readonly history: History;
  readonly base: ListedBase;
  /** The segments after the base, in order; for a time maybe more than are needed. */
  readonly segments: readonly UsableSegment[];
  /** Run IDs of which nobody knows whether they were those of the nodes at the time. */
  readonly untold: readonly Untold[];
  /** What else has the bytes, if a segment is damaged. */
  readonly coverage: Coverage;
}

/** Most segments before a base that are looked at for writes after a time. */
const MAX_LOOKED_AT = 1_000;
/** Most damaged segments in whose place others are taken. */
export const MAX_DAMAGED = 64;

/** @throws ArchiveError if the archive does not have the goal, or has gaps before it; TargetError */
export async function routeTo(catalogue: Catalogue, goal: Goal): Promise<Route> {
  if (catalogue.runs.size === 0) throw new ArchiveError('there is no archive in the target');
  return goal.kind === 'position' ? routeToPosition(catalogue, goal.position) : routeToTime(catalogue, goal);
}

/** The own segments of the run ID first: what others have archived is read only if those do not reach the position. */
async function routeToPosition(catalogue: Catalogue, position: Position): Promise<Route> {
  const { runId } = position;
  const run = catalogue.runs.get(runId);
  let own: History | null = null;
  try {
    if (run === undefined) throw new ArchiveError(`the archive has nothing of the run ID ${runId}`);
    const history = await catalogue.history(run);
    own = history;
    return routeOf(history, catalogue.coverage(history), position);
  } catch (error) {
    if (!(error instanceof ArchiveError)) throw error;
    const { histories, damage } = await descendants(catalogue, position);
    const [first] = histories;
    if (first === undefined) throw withDamage(error, damage);
    const history: History = own ?? { runId, lineage: ancestorsAt(first, position) ?? [] };
    try {
      return routeOf(history, catalogue.coverage(sharedBy(history, histories)), position);
    } catch (failure) {
      throw failure instanceof ArchiveError ? withDamage(failure, damage) : failure;
    }
  }
}

/** @returns the histories that have grown out of the position, and why one cannot be read */
async function descendants(
  catalogue: Catalogue,
  position: Position,
): Promise<{ readonly histories: readonly History[]; readonly damage: ArchiveError | null }> {
  const histories: History[] = [];
  let damage: ArchiveError | null = null;
  for (const run of catalogue.runs.values()) {
    if (run.runId === position.runId) continue;
    try {
      const history = await catalogue.history(run);
      if (standing(history, position) === 'shared') histories.push(history);
    } catch (error) {
      if (!(error instanceof ArchiveError)) throw error;
      damage ??= error;
    }
  }
  return { histories, damage };
}

function withDamage(error: ArchiveError, damage: ArchiveError | null): ArchiveError {
  return damage === null ? error : new ArchiveError(`${error.message}; ${damage.message}`);
}

/** @throws ArchiveError if the coverage does not reach the position */
function routeOf(history: History, coverage: Coverage, { runId, offset }: Position): Route {
  const base = coverage.bases.find((each) => each.offset <= offset);
  if (base === undefined) {
    const first = coverage.bases.at(-1);
    const begins = first === undefined ? 'it has no backup' : `its first backup is at ${first.offset}`;
    throw new ArchiveError(`the archive does not reach back to ${offset}: ${begins}`);
  }
  const segments: UsableSegment[] = [];
  let at: number = base.offset;
  for (const each of coverage.chain(at)) {
    if (at >= offset) break;
    segments.push(each);
    at = each.usableTo;
  }
  if (at < offset) throw endsAt(coverage, { runId, offset: at });
  return { history, base, segments, coverage, untold: [] };
}

async function routeToTime(catalogue: Catalogue, wanted: WantedTime): Promise<Route> {
  const { at: time } = wanted;
  const { history, others, untold } = await historyAt(catalogue, time);
  const coverage = catalogue.coverage(sharedBy(history, others));
  for (const base of coverage.bases) {
    if (base.at > time) continue;
    if (await isLater(catalogue, coverage, base, wanted)) continue;
    const segments = [...coverage.chain(base.offset)];
    const end = segments.at(-1)?.usableTo ?? base.offset;
    // Whether the gap is before the time or after it, the segments before it say.
    if (coverage.hasAfter(end) && !(await isOver(catalogue, segments, time))) {
      throw endsAt(coverage, { runId: history.runId, offset: end });
    }
    return { history, base, segments, coverage, untold };
  }
  const first = coverage.bases.at(-1);
  const begins = first === undefined ? 'has no backup' : `begins with the backup ${first.name}`;
  throw new ArchiveError(
    `the archive does not reach back to ${new Date(time).toISOString()}: its history ${begins}`,
  );
}

/**
 * Whether the base has writes that came after the time. Its name does not tell: it has whole seconds only, and the clock may have been
 * set back before the base was made. The segment with the last byte of the base is looked at, and all that the target got after
 * the time, unless there are more than `MAX_LOOKED_AT`: the ones before have such writes only if the clock was once ahead of that of
 * the target. Writes of a clock that was ahead and set right before the base was made do not count, and a damaged segment counts by when the
 * target got it.
 */
async function isLater(
  catalogue: Catalogue,
  coverage: Coverage,
  base: ListedBase,
  wanted: WantedTime,
): Promise<boolean> {
  const { at: time } = wanted;
  const asked = new Set<string>();
  const damaged = new Set<string>();
  const isOfLater = ({ marks, after }: SegmentHeader, segment: ListedSegment): boolean => {
    const doubts = { got: gotBy(segment, wanted), madeAt: madeAt(base, wanted) };
    return latestOf(marks, after, base.offset, doubts) > time;
  };
  for (let found = 0; found <= damaged.size; found += 1) {
    const before = coverage
      .before(base.offset, damaged)
      .filter(({ segment, usableTo }, index) =>
        index === 0 ? usableTo >= base.offset : (segment.modified ?? 0) > time,
      );
    for (const { segment, usableTo } of before.slice(0, MAX_LOOKED_AT)) {
      if (asked.has(segment.name)) continue;
      asked.add(segment.name);
      try {
        if (await catalogue.use(segment, async ({ header }) => isOfLater(header, segment))) return true;
      } catch (error) {
        if (!(error instanceof DamagedObject)) throw error;
        damaged.add(segment.name);
        const isElsewhere = coverage.reach(segment.after, damaged) >= Math.min(usableTo, base.offset);
        if (damaged.size > MAX_DAMAGED) throw error;
        if (isElsewhere) break;
        // Nothing else has the bytes, but the base has them: what the target got by that time was not written later.
        if ((segment.modified ?? Number.POSITIVE_INFINITY) > time) throw error;
        if (await seemsSo(catalogue, segment, isOfLater)) return true;
      }
    }
  }
  return false;
}

/** Whether something is so of a damaged segment, as far as it can be read. */
async function seemsSo(
  catalogue: Catalogue,
  segment: ListedSegment,
  isSo: (header: SegmentHeader, segment: ListedSegment) => boolean,
): Promise<boolean> {
  try {
    return isSo(await catalogue.glance(segment), segment);
  } catch (error) {
    if (error instanceof ArchiveError) return false;
    throw error;
  }
}

/** Whether the writes of the segments reach beyond the time. The last ones are asked, as far as they are not damaged. */
async function isOver(
  catalogue: Catalogue,
  segments: readonly UsableSegment[],
  time: number,
): Promise<boolean> {
  let damage: unknown = null;
  for (const { segment, usableTo } of segments.slice(-MAX_ASKED).reverse()) {
    try {
      const { marks, after } = await catalogue.header(segment);
      const { offset, isOver } = reachedAt(marks, after, time);
      if (isOver && offset < usableTo) return true;
      if (damage === null) return false;
      break;
    } catch (error) {
      if (!(error instanceof ArchiveError)) throw error;
      damage ??= error;
    }
  }
  if (damage === null) return false;
  throw damage;
}

/** Says where the segments end, although something comes after it or should. */
export function endsAt(
  coverage: Coverage,
  { runId, offset }: { runId: RunId; offset: number },
): ArchiveError {
  const what = coverage.hasAfter(offset) ? 'has a gap' : 'ends';
  const shown = formatPosition({ runId, offset: offset as Offset });
  return new ArchiveError(`the archive ${what} after ${shown}: byte ${offset + 1} is in no segment`);
}
