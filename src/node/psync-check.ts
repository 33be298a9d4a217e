/** Answers, without a replica, how this node would answer a replica's PSYNC. */
import { type Decision, type Place, UNKNOWN_PLACE } from '../replication/decide.ts';
import { type Offset, type Position, wireOffset } from '../replication/position.ts';
import type { StreamHead } from './head/stream-head.ts';
import { StorageError } from './ports/failures.ts';
import { storageProblem } from './problem.ts';

/** The answer that PSYNC would get. */
export interface Check {
  readonly decision: Decision;
  /** The bytes that this node would send before the replica is up to date; an estimate if it would send a snapshot. */
  readonly bytes: number;
  /** The reason why the node would answer "not now", or null. */
  readonly notNow: string | null;
}

/**
 * @param position the replica's position; null: it has nothing
 * @param hash the replica's history hash there; null: the replica does not tell it
 * @param notReady the line that refuses every replica now, or null
 * @throws Problem STORAGE_FAILED when the journal cannot be read
 */
export function psyncCheck(
  head: StreamHead,
  position: Position | null,
  hash: bigint | null,
  notReady: string | null,
): Check {
  const request =
    position === null
      ? ({ kind: 'psync-first' } as const)
      : ({ kind: 'psync', runId: position.runId, asked: wireOffset(position.offset), hash } as const);
  const place = position === null ? UNKNOWN_PLACE : placeAt(head, position.offset);
  const decision = head.decide(request, place);
  const bytes = decision.kind === 'continue' ? decision.bytes : head.snapshotBytes();
  return { decision, bytes, notNow: notReady?.slice(1) ?? null };
}

function placeAt(head: StreamHead, offset: Offset): Place {
  try {
    return head.placeAt(offset);
  } catch (error) {
    throw error instanceof StorageError ? storageProblem(error) : error;
  }
}
