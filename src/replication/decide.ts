/**
 * The PSYNC decision: may this replica go on with the bytes it lacks, or does it need a snapshot first?
 *
 * Redis's rule (`masterTryPartialResynchronization`; psync-rules.md, 1.2), generalised from one ancestor to the
 * whole lineage. In numbers: the master is at offset 100 and holds bytes 71 to 100.
 *
 *   asks for 71    has 70      continue, 30 bytes
 *   asks for 70    has 69      full resync: behind-backlog
 *   asks for 101   has 100     continue, 0 bytes: caught up
 *   asks for 102   has 101     full resync: ahead-of-master
 *
 * With an ancestor that is valid to 80: asks for 81 (has 80) may continue; asks for 82 (has 81) has a byte that
 * this history never had: past-shared-history.
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
  | 'different-data';

export const FULL_RESYNC_REASONS: readonly FullResyncReason[] = [
  'first-sync',
  'forced',
  'unknown-run-id',
  'ahead-of-master',
  'behind-backlog',
  'past-shared-history',
  'different-data',
];

export type SyncRequest =
  /** `SYNC`, the old way: whoever sends it wants a snapshot. */
  | { readonly kind: 'sync' }
  /** `PSYNC ? -1`: nothing to continue from. */
  | { readonly kind: 'psync-first' }
  /** `PSYNC ?different-data -1`: what the replica holds at its position is not what its master holds there. */
  | { readonly kind: 'psync-different' }
  /** `PSYNC` with an ID that no history has: it is not 40 hex characters. */
  | { readonly kind: 'psync-unknown' }
  /** `PSYNC <run ID> <asked>`; `asked` is the first byte that is lacking, counted from 1. */
  | { readonly kind: 'psync'; readonly runId: RunId; readonly asked: number };

export type Decision =
  | {
      readonly kind: 'continue';
      /** Where the replica stands: the stream goes on after it. */
      readonly after: Offset;
      /** How many bytes it lacks now. */
      readonly bytes: number;
    }
  | { readonly kind: 'full-resync'; readonly reason: FullResyncReason };

/**
 * @param request what the replica asked for
 * @param history the run ID and lineage of the node that answers
 * @param window the bytes it can serve again
 */
export function decide(request: SyncRequest, history: History, window: Window): Decision {
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
      return decidePsync(request.runId, request.asked, history, window);
  }
}

function decidePsync(runId: RunId, asked: number, history: History, window: Window): Decision {
  const has = fromWireOffset(asked) as Offset;
  const stands = standing(history, { runId, offset: has });
  if (stands !== 'shared') return fullResync(stands);
  const next = window.firstOffset + window.length;
  if (asked > next) return fullResync('ahead-of-master');
  if (asked < window.firstOffset) return fullResync('behind-backlog');
  return { kind: 'continue', after: has, bytes: next - asked };
}

function fullResync(reason: FullResyncReason): Decision {
  return { kind: 'full-resync', reason };
}
