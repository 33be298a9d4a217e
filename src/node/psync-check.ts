/** Answers, without a replica, how this node would answer a replica's PSYNC. */
import { type Decision, type Place, UNKNOWN_PLACE } from '../replication/decide.ts';
import { type Offset, type Position, wireOffset } from '../replication/position.ts';
import type { PartialSnapshot } from '../replication/snapshot-terms.ts';
import type { StreamHead } from './head/stream-head.ts';
import { StorageError } from './ports/failures.ts';
import { storageProblem } from './problem.ts';
import type { Snapshots } from './session/snapshots.ts';

/** What the replica would announce. */
export interface CheckRequest {
  /** null: it has nothing. */
  readonly position: Position | null;
  /** Its history hash there; null: it does not tell it. */
  readonly hash: bigint | null;
  /** The part of a snapshot that it has from a connection that broke; null: none. */
  readonly partial: PartialSnapshot | null;
}

/** The answer that PSYNC would get. */
export interface Check {
  readonly decision: Decision;
  /**
   * The bytes that this node would send before the replica is up to date; an estimate if it would send a whole snapshot. With the rest
   * of a snapshot they are those of the rest, and of the stream since then.
   */
  readonly bytes: number;
  /** Bytes of the snapshot that the replica has and would not be sent again; 0: all of it would be sent, or none is needed. */
  readonly resumedBytes: number;
  /** The reason why the node would answer "not now", or null. */
  readonly notNow: string | null;
}

interface CheckParts {
  readonly head: StreamHead;
  readonly snapshots: Pick<Snapshots, 'wouldResume'>;
  /** `notReady`: the line that refuses every replica now, or null. */
  readonly roles: { readonly notReady: string | null };
}

/** @throws Problem STORAGE_FAILED when the journal cannot be read */
export function psyncCheck({ head, snapshots, roles }: CheckParts, asked: CheckRequest): Check {
  const { position, hash, partial } = asked;
  const request =
    position === null
      ? ({ kind: 'psync-first' } as const)
      : ({ kind: 'psync', runId: position.runId, asked: wireOffset(position.offset), hash } as const);
  const place = position === null ? UNKNOWN_PLACE : placeAt(head, position.offset);
  const decision = head.decide(request, place);
  const notNow = roles.notReady?.slice(1) ?? null;
  if (decision.kind === 'continue') return { decision, bytes: decision.bytes, resumedBytes: 0, notNow };
  if (partial === null || !snapshots.wouldResume(partial)) {
    return { decision, bytes: head.snapshotBytes(), resumedBytes: 0, notNow };
  }
  const bytes = partial.length - partial.bytes + (head.offset - partial.position.offset);
  return { decision, bytes, resumedBytes: partial.bytes, notNow };
}

function placeAt(head: StreamHead, offset: Offset): Place {
  try {
    return head.placeAt(offset);
  } catch (error) {
    throw error instanceof StorageError ? storageProblem(error) : error;
  }
}
