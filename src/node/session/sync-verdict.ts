/** Decides how a node answers a replica's PSYNC or SYNC. The session carries the verdict out. */
import {
  type Decision,
  type Place,
  type SyncRequest,
  showsRollback,
  UNKNOWN_PLACE,
} from '../../replication/decide.ts';
import { fromWireOffset, type Offset } from '../../replication/position.ts';
import { schemaRefusal } from '../../replication/snapshot-terms.ts';
import type { StreamHead } from '../head/stream-head.ts';
import { StorageError } from '../ports/failures.ts';
import type { SessionContext } from './session-context.ts';

export type SyncVerdict =
  /** The node brings the replica up to date, by a partial or a full resync. */
  | Decision
  /** The node refuses the sync with an error line. `why`: more fields for the session's log. */
  | { readonly kind: 'refuse'; readonly line: string; readonly why: Readonly<Record<string, string>> }
  /** The node cannot read its journal. */
  | { readonly kind: 'journal-not-read'; readonly error: StorageError };

type Asked = Pick<SessionContext, 'head' | 'keyspaceSchema' | 'notReady' | 'outdated'>;

/**
 * Decides the answer to a request. If the request shows that this node lacks bytes of its history, the node takes a new run ID
 * before it answers.
 * @param capabilities capabilities that the replica has announced
 */
export function syncVerdict(
  { head, keyspaceSchema, notReady, outdated }: Asked,
  capabilities: readonly string[],
  request: SyncRequest,
): SyncVerdict {
  const busy = notReady();
  if (busy !== null) return refuse(busy);
  const place = placeOf(head, request);
  if (place instanceof StorageError) return { kind: 'journal-not-read', error: place };
  const decision = head.decide(request, place);
  if (showsRollback(request, head.history, decision)) {
    const why = tell(outdated);
    if (why !== null) return refuse(`-LOADING ${why}`);
  }
  const mismatch = schemaRefusal(capabilities, keyspaceSchema);
  if (decision.kind === 'full-resync' && mismatch !== null)
    return refuse(mismatch, { reason: decision.reason });
  return decision;
}

function refuse(line: string, why: Readonly<Record<string, string>> = {}): SyncVerdict {
  return { kind: 'refuse', line, why };
}

/** @returns this node's knowledge of the offset from which the replica asks to continue; an error: the journal cannot be read */
function placeOf(head: StreamHead, request: SyncRequest): Place | StorageError {
  if (request.kind !== 'psync') return UNKNOWN_PLACE;
  try {
    return head.placeAt(fromWireOffset(request.asked) as Offset);
  } catch (error) {
    if (!(error instanceof StorageError)) throw error;
    return error;
  }
}

/** Reports that this node lacks bytes of its history. @returns why the replica has to ask again; null: it gets an answer */
function tell(outdated: () => string | null): string | null {
  try {
    return outdated();
  } catch (error) {
    if (!(error instanceof StorageError)) throw error;
    return `a new run ID is needed, and cannot be kept: ${error.message}`;
  }
}
