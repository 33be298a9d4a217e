/** From where to where archives can be restored. */
import type { BackupTarget, TargetCall } from '../../node/ports/backup-target.ts';
import type { Position, RunId } from '../../replication/position.ts';
import { committedAt } from '../commit-times.ts';
import { SegmentError } from '../segment.ts';
import { headerIn } from './header-in.ts';
import { basesOf, historiesOf, holdingsIn, stretchesOf } from './holdings.ts';

/** One end of a window. */
export interface Moment {
  readonly position: Position;
  /** In milliseconds since 1970; null: unknown. */
  readonly at: number | null;
}

/** Each position and each moment between the two ends can be restored. */
export interface Window {
  /** null: the names have none. */
  readonly cluster: string | null;
  readonly from: Moment;
  readonly to: Moment;
}

/** Most windows whose end is looked up in a segment, those with the largest offsets. */
const MAX_DATED = 100;

/**
 * @returns the windows of each history that nobody has taken over, without the backups before and after which there are no segments;
 *   by their begin
 * @throws TargetError
 */
export async function windowsIn(target: BackupTarget, call: TargetCall = {}): Promise<readonly Window[]> {
  const windows: Window[] = [];
  for (const [cluster, holdings] of await holdingsIn(target, '', call)) {
    const histories = await historiesOf(target, holdings, [], call);
    const takenOver = new Set<RunId>(histories.flatMap(({ lineage }) => lineage.map(({ runId }) => runId)));
    for (const history of histories.filter(({ runId }) => !takenOver.has(runId))) {
      const { runId } = history;
      const bases = basesOf(history, holdings);
      const stretches = stretchesOf(history, holdings);
      for (const [index, { from, to, last }] of stretches.entries()) {
        const base = bases.find(({ offset }) => offset >= from && offset < to);
        if (base === undefined) continue;
        const isDated = index >= stretches.length - MAX_DATED;
        windows.push({
          cluster,
          from: { position: { runId, offset: base.offset }, at: base.at },
          to: {
            position: { runId, offset: to as Position['offset'] },
            at: isDated ? await timeOf(target, last, to, call) : null,
          },
        });
      }
    }
  }
  return windows.sort((one, other) => (one.from.at ?? 0) - (other.from.at ?? 0));
}

/** @returns about when the byte at an offset was committed; null: the segment does not say */
async function timeOf(
  target: BackupTarget,
  segment: Parameters<typeof headerIn>[1],
  end: number,
  call: TargetCall,
): Promise<number | null> {
  try {
    return committedAt((await headerIn(target, segment, call)).marks, end);
  } catch (error) {
    if (error instanceof SegmentError) return null;
    throw error;
  }
}
