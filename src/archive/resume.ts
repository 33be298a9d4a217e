/** Finds how far an archive has a history, so that the next segment begins there. */
import { type BackupTarget, TargetError } from '../node/ports/backup-target.ts';
import type { History } from '../replication/history.ts';
import { Coverage } from './coverage.ts';
import { type BaseName, parseArchived, type SegmentName } from './names.ts';

/** Age at which what a killed process has left in the target is no longer at work, in milliseconds. */
const LEFT_MS = 24 * 3_600_000;

/**
 * Removes what puts of killed processes have left in the target a day ago. A target that does not let that be done loses room only.
 * @param now milliseconds since 1970
 * @throws the signal's reason
 */
export async function cleanUp(target: BackupTarget, now: number, signal: AbortSignal): Promise<void> {
  try {
    await target.clean(now - LEFT_MS, (name) => parseArchived(name) !== null, { signal });
  } catch (error) {
    if (!(error instanceof TargetError)) throw error;
  }
}

/** How far an archive has a history. */
export interface Archived {
  /** The offset up to which segments follow each other from the newest base. */
  readonly farthest: number;
  /**
   * The offset at which the next segment begins: the end of the oldest segments that follow each other from a base and that the journal
   * can continue. A newer base may lie after it: then the bytes before that base are missing in the archive. null: there are none.
   */
  readonly from: number | null;
}

/**
 * @param cluster the name in front of the run IDs
 * @param least the first offset from which the journal can continue
 * @returns null: there is no base
 * @throws TargetError
 */
export async function archivedUpTo(
  target: BackupTarget,
  cluster: string,
  history: History,
  least: number,
  signal: AbortSignal,
): Promise<Archived | null> {
  const segments: SegmentName[] = [];
  const bases: BaseName[] = [];
  for (const { runId } of [history, ...history.lineage]) {
    for await (const { name } of target.list(`${cluster}/${runId}`, { signal })) {
      const found = parseArchived(name);
      if (found?.kind === 'segment') segments.push(found);
      else if (found?.kind === 'base') bases.push(found);
    }
  }
  const coverage = new Coverage(history, segments, bases);
  const [newest] = coverage.bases;
  if (newest === undefined) return null;
  return { farthest: coverage.reach(newest.offset), from: continued(coverage, least) };
}

/** @returns the end of the oldest chain that ends at `least` or after it; null: there is none */
function continued(coverage: Coverage, least: number): number | null {
  // If segments go on from an older base to `least`, they pass this one.
  const before = coverage.bases.find(({ offset }) => offset <= least);
  const end = before === undefined ? -1 : coverage.reach(before.offset);
  if (end >= least) return end;
  const after = coverage.bases.findLast(({ offset }) => offset > least);
  return after === undefined ? null : coverage.reach(after.offset);
}
