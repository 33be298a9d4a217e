/** What tells which times of a run ID can be right, where they contradict the begin that its lineage names. */
import type { Ancestor } from '../../replication/history.ts';
import { ArchiveError } from '../archive-error.ts';
import type { Catalogue, Run } from '../catalogue.ts';
import { isPossible, MAX_SKEW_MS, type Mark, OLDEST_MS } from '../commit-times.ts';
import type { ListedSegment } from '../coverage.ts';

/** Some targets tell whole seconds. */
const SECOND_MS = 1_000;

type Archive = Pick<Catalogue, 'runs' | 'header'>;

/**
 * Whether the first object of a run ID proves the begin that its lineage names: it was put by a clock that agreed with the one of the target, and
 * both were past the begin. Earlier times of later objects are of a clock that was behind.
 * @param began how the lineage of the run ID begins
 * @throws TargetError
 */
export async function isBeginProven(
  archive: Archive,
  { bases, segments }: Run,
  { validTo, at }: Ancestor,
): Promise<boolean> {
  const segment = firstWhere(segments, ({ end }) => end > validTo);
  const base = bases.find(({ offset }) => offset >= validTo);
  const isBase = base !== undefined && (segment === null || base.offset < segment.end);
  const modified = isBase ? base.modified : segment?.modified;
  if (modified === undefined || modified < at - (at % SECOND_MS)) return false;
  const put = isBase ? base.at : earliestBeyond(await marksOf(archive, segment), validTo);
  return put !== null && put >= at && isPossible(put, modified) && modified - put <= MAX_SKEW_MS;
}

/**
 * @param run the run ID that has grown out of the ancestor
 * @returns when the ancestor had surely written what is shared, in milliseconds since 1970: what came after it cannot be of an earlier time
 * @throws TargetError
 */
export async function writtenBefore(
  archive: Archive,
  run: Run,
  { runId, validTo }: Pick<Ancestor, 'runId' | 'validTo'>,
): Promise<number> {
  for (const each of [archive.runs.get(runId), run]) {
    const last = firstWhere(each?.segments ?? [], ({ after, end }) => after < validTo && validTo <= end);
    const ms = (await marksOf(archive, last)).findLast(([offset]) => offset <= validTo)?.[1];
    // The clock may have been ahead before the begin too.
    const isKnown = ms !== undefined && isPossible(ms, last?.modified ?? Number.NEGATIVE_INFINITY);
    if (isKnown) return Math.max(OLDEST_MS, ms);
  }
  return OLDEST_MS;
}

/** @returns the earliest time of the bytes beyond an offset that is no earlier than `least`, in milliseconds since 1970; null: there is none */
export function earliestBeyond(marks: readonly Mark[], offset: number, least = OLDEST_MS): number | null {
  let earliest = Number.POSITIVE_INFINITY;
  for (const [at, ms] of marks) if (at > offset && ms >= least) earliest = Math.min(earliest, ms);
  return earliest === Number.POSITIVE_INFINITY ? null : earliest;
}

/** @returns none for no segment, and for a damaged one @throws TargetError */
async function marksOf(archive: Archive, segment: ListedSegment | null): Promise<readonly Mark[]> {
  if (segment === null) return [];
  try {
    return (await archive.header(segment)).marks;
  } catch (error) {
    if (error instanceof ArchiveError) return [];
    throw error;
  }
}

function firstWhere(
  segments: Iterable<ListedSegment>,
  is: (segment: ListedSegment) => boolean,
): ListedSegment | null {
  for (const segment of segments) if (is(segment)) return segment;
  return null;
}
