/** Finds how far an archive has a history, so that the next segment begins there. */
import type { BackupTarget } from '../node/ports/backup-target.ts';
import type { History } from '../replication/history.ts';
import { Coverage } from './coverage.ts';
import { type BaseName, parseArchived, type SegmentName } from './names.ts';

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
