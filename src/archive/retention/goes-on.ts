/** Which histories of an archive have not ended. Pure. */
import type { Ancestor, History } from '../../replication/history.ts';
import type { Holdings } from './holdings.ts';

/**
 * Whether a history may have gone on after another one has grown out of it, as the original of a copy does: the target got something of it
 * later than that, and it has bytes that no other one shares. A history that nobody has grown out of goes on. If the target got something of the
 * other one before that had begun, as its lineage says, a clock was wrong: then nobody knows which of them was later.
 */
export function goesOn(history: History, histories: readonly History[], holdings: Holdings): boolean {
  const latest = holdings.get(history.runId)?.latest ?? Number.NEGATIVE_INFINITY;
  const { isAlone, entries } = endsOf(history, histories, holdings);
  return isAlone && entries.every((entry) => latest > entry.at || isWrong(entry, histories, holdings));
}

/** Whether moments of after a time may need what only this history has: the others have grown out of it after that, or it may go on. */
export function isNeededAfter(
  time: number,
  history: History,
  histories: readonly History[],
  holdings: Holdings,
): boolean {
  const { isAlone, entries } = endsOf(history, histories, holdings);
  return isAlone && entries.some(({ at }) => at > time);
}

/** Whether the clock was ahead that gave the time at which a history has grown out of an ancestor. */
function isWrong({ runId, at }: Ancestor, histories: readonly History[], holdings: Holdings): boolean {
  return histories.some((history) => {
    const earliest = holdings.get(history.runId)?.earliest ?? Number.POSITIVE_INFINITY;
    return (
      earliest < at &&
      history.lineage.some(
        (entry, index) =>
          entry.runId === runId && entry.at === at && (index === 0 || entry.reason !== 'master-changed'),
      )
    );
  });
}

/**
 * @returns `isAlone`: whether the history has bytes that no other one shares, or may get some; `entries`: how other histories name it;
 *   `sharedTo`: the offset up to which others share its bytes, 0 without any
 */
export function endsOf(
  { runId }: History,
  histories: readonly History[],
  holdings: Holdings,
): { readonly isAlone: boolean; readonly entries: readonly Ancestor[]; readonly sharedTo: number } {
  const entries = histories.flatMap(({ lineage }) => lineage.filter((each) => each.runId === runId));
  const sharedTo = entries.reduce((most, { validTo }) => Math.max(most, validTo), 0);
  if (entries.length === 0) return { isAlone: true, entries, sharedTo };
  const holding = holdings.get(runId);
  const ends = (holding?.covered.parts ?? []).map(({ end }) => end);
  const bases = (holding?.bases ?? []).map(({ offset }) => offset);
  const last = [...ends, ...bases].reduce((most, at) => Math.max(most, at), 0);
  return { isAlone: last > sharedTo, entries, sharedTo };
}
