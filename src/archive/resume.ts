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

/**
 * @param cluster the name in front of the run IDs
 * @returns the offset up to which segments follow each other from a base; null: there is no base
 * @throws TargetError
 */
export async function archivedUpTo(
  target: BackupTarget,
  cluster: string,
  history: History,
  signal: AbortSignal,
): Promise<number | null> {
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
  return newest === undefined ? null : coverage.reach(newest.offset);
}
