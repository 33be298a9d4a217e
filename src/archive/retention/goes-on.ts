/** Which histories of an archive have not ended. Pure. */
import type { History } from '../../replication/history.ts';
import type { Holdings } from './holdings.ts';

/**
 * Whether a history may have gone on after another one has grown out of it, as the original of a copy does: the target got something of it
 * later than that, and it has bytes that no other one shares. A history that nobody has grown out of goes on.
 */
export function goesOn({ runId }: History, histories: readonly History[], holdings: Holdings): boolean {
  const entries = histories.flatMap(({ lineage }) => lineage.filter((each) => each.runId === runId));
  if (entries.length === 0) return true;
  const holding = holdings.get(runId);
  if (holding === undefined) return false;
  const ends = holding.extents.stretches.map(({ to }) => to);
  const end = ends.reduce(
    (last, to) => Math.max(last, to),
    holding.bases.reduce((last, { offset }) => Math.max(last, offset), 0),
  );
  return entries.every(({ validTo, at }) => end > validTo && holding.latest > at);
}
