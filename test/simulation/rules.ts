/** The PSYNC decision once more, from rule R5 of docs/design/redis-rules.md and docs/protocol.md, not from the code: what the referee compares with. */
import type { History } from '../../src/replication/history.ts';
import type { Position } from '../../src/replication/position.ts';

/**
 * @param has where the replica stands; null: it has nothing
 * @param end where the master stands
 * @param backlog the part of its stream that it can serve, counted from 1
 * @param bytes whether the replica has the master's bytes up to where it stands; a place inside a write is one where it has not
 * @returns `continue N` with the number of bytes that are lacking, or the reason of a full resync
 */
export function answer(
  has: Position | null,
  history: History,
  end: number,
  backlog: { readonly firstOffset: number; readonly length: number },
  bytes: 'same' | 'other' | 'untold',
): string {
  if (has === null) return 'first-sync';
  const bounds = new Map<string, number>(history.lineage.map(({ runId, validTo }) => [runId, validTo]));
  bounds.set(history.runId, Number.POSITIVE_INFINITY);
  const bound = bounds.get(has.runId);
  if (bound === undefined) return 'unknown-run-id';
  if (has.offset > bound && bytes !== 'same') return 'past-shared-history';
  if (has.offset > end) return 'ahead-of-master';
  const lacking = end - has.offset;
  if (lacking > backlog.length) return 'behind-backlog';
  return bytes === 'other' ? 'different-bytes' : `continue ${lacking}`;
}
