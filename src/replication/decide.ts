/**
 * The PSYNC decision: may this replica go on with the bytes it lacks, or does it need a snapshot first?
 *
 * Redis's rule (`masterTryPartialResynchronization`; docs/design/redis-rules.md, R5), generalised from one ancestor to the
 * whole lineage. In numbers: the master is at offset 100 and holds bytes 71 to 100.
 *
 *   asks for 71    has 70      continue, 30 bytes
 *   asks for 70    has 69      full resync: behind-backlog
 *   asks for 101   has 100     continue, 0 bytes: caught up
 *   asks for 102   has 101     full resync: ahead-of-master
 *
 * With an ancestor that is valid to 80: asks for 81 (has 80) may continue; asks for 82 (has 81) has a byte that
 * this history never had: past-shared-history.
 *
 * A run ID is a claim, and the history hash is the proof. Whoever stands inside a command, or has another hash than this
 * history at the same offset, has other bytes: different-bytes. Whoever has the same hash has the same bytes, also past the
 * offset up to which an ancestor is known to be shared. If one side does not know its hash, the claim decides.
 */
import type { Window } from './backlog.ts';
import { type History, standing } from './history.ts';
import { fromWireOffset, type Offset, type RunId } from './position.ts';

export type FullResyncReason =
  | 'first-sync'
  | 'forced'
  | 'unknown-run-id'
  | 'ahead-of-master'
  | 'behind-backlog'
  | 'past-shared-history'
  | 'different-bytes'
  | 'different-data';

export const FULL_RESYNC_REASONS: readonly FullResyncReason[] = [
  'first-sync',
  'forced',
  'unknown-run-id',
  'ahead-of-master',
  'behind-backlog',
  'past-shared-history',
  'different-bytes',
  'different-data',
];

export type SyncRequest =
  /** `SYNC`, the old form: asks for a snapshot. */
  | { readonly kind: 'sync' }
  /** `PSYNC ? -1`: the replica has nothing to continue from. */
  | { readonly kind: 'psync-first' }
  /** `PSYNC ?different-data -1`: the replica's data differs from the master's at the same position. */
  | { readonly kind: 'psync-different' }
  /** `PSYNC` with a malformed run ID: not 40 hex characters. */
  | { readonly kind: 'psync-unknown' }
  /**
   * `PSYNC <run ID> <asked>`; `asked` is the first missing byte, counted from 1. `hash`: the replica's history hash at
   * the offset before that byte; null: not stated.
   */
  | {
      readonly kind: 'psync';
      readonly runId: RunId;
      readonly asked: number;
      readonly hash: bigint | null;
    };

/** What a node knows about one offset of its own stream. */
export type Place =
  /** A write ends at the offset. `hash`: the history hash up to there; null: unknown. */
  | { readonly kind: 'command-end'; readonly hash: bigint | null }
  /** The offset is inside a write, so no position stops there. */
  | { readonly kind: 'inside-command' }
  /** The node no longer holds the stream around the offset. */
  | { readonly kind: 'unknown' };

export const UNKNOWN_PLACE: Place = { kind: 'unknown' };

export type Decision =
  | {
      readonly kind: 'continue';
      /** Offset of the replica; the stream continues after it. */
      readonly after: Offset;
      /** Number of bytes that the replica lacks now. */
      readonly bytes: number;
    }
  | { readonly kind: 'full-resync'; readonly reason: FullResyncReason };

/**
 * @param request the replica's request
 * @param history run ID and lineage of the answering node
 * @param window bytes that the node can send again
 * @param place what the node knows about the replica's offset
 */
export function decide(request: SyncRequest, history: History, window: Window, place: Place): Decision {
  switch (request.kind) {
    case 'sync':
      return fullResync('forced');
    case 'psync-first':
      return fullResync('first-sync');
    case 'psync-different':
      return fullResync('different-data');
    case 'psync-unknown':
      return fullResync('unknown-run-id');
    case 'psync':
      return decidePsync(request, history, window, place);
  }
}

function decidePsync(
  { runId, asked, hash }: SyncRequest & { kind: 'psync' },
  history: History,
  window: Window,
  place: Place,
): Decision {
  const has = fromWireOffset(asked) as Offset;
  const stands = standing(history, { runId, offset: has });
  const bytes = compare(hash, place);
  if (stands === 'unknown-run-id') return fullResync(stands);
  if (stands === 'past-shared-history' && bytes !== 'same') return fullResync(stands);
  const next = window.firstOffset + window.length;
  if (asked > next) return fullResync('ahead-of-master');
  if (asked < window.firstOffset) return fullResync('behind-backlog');
  if (bytes === 'different') return fullResync('different-bytes');
  return { kind: 'continue', after: has, bytes: next - asked };
}

/** Whether the two sides have the same bytes up to the place, as far as both state it. */
function compare(hash: bigint | null, place: Place): 'same' | 'different' | 'unknown' {
  if (place.kind === 'inside-command') return 'different';
  if (place.kind === 'unknown' || place.hash === null || hash === null) return 'unknown';
  return place.hash === hash ? 'same' : 'different';
}

/**
 * Whether the request proves that bytes exist under this node's run ID that this node lacks: the replica is ahead, or
 * has another hash. A replica never has more than its master has journaled, so this node's files are older than the
 * node was: the machine was restored, for example. (A client that states no hash and asks from inside a command is not
 * a replica.)
 * @param decision the decision for the request
 */
export function showsRollback(request: SyncRequest, history: History, decision: Decision): boolean {
  if (request.kind !== 'psync' || request.runId !== history.runId || decision.kind === 'continue')
    return false;
  return (
    decision.reason === 'ahead-of-master' || (decision.reason === 'different-bytes' && request.hash !== null)
  );
}

function fullResync(reason: FullResyncReason): Decision {
  return { kind: 'full-resync', reason };
}
