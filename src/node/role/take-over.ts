/** Whether a replica may become the master when its master hands over to it. */
import { standing } from '../../replication/history.ts';
import { formatPosition, type Position } from '../../replication/position.ts';
import type { StreamHead } from '../head/stream-head.ts';
import { type AskPeer, type NoAccess, noAccessDetail, type Peer } from '../ports/peers.ts';
import type { StateStore } from '../ports/state-store.ts';
import type { World } from '../ports/world.ts';
import type { Session } from '../session/session.ts';

/**
 * How often a replica asks a master that refuses its token, and how long it waits between, in milliseconds. While a token is exchanged, the
 * master may not have read its list yet, or the replica may find no file: both look once a second.
 */
const ACCESS_ATTEMPTS = 4;
const ACCESS_RETRY_MS = 500;

interface Replica {
  readonly ask: AskPeer;
  readonly head: StreamHead;
  /** ID of this process. */
  readonly nodeId: string;
  readonly state: StateStore;
  readonly world: World;
}

interface TakeOverRequest {
  /** Where the master stands. */
  readonly position: Position;
  /** The master's history hash there; null: unknown. */
  readonly hash: bigint | null;
  /** The session over which the request came. */
  readonly session: Session;
}

export type TakeOverAnswer =
  | { readonly kind: 'take-over' }
  /** This node has taken over already, and its answer was lost: it answers the second request like any PSYNC. */
  | { readonly kind: 'taken-over' }
  | { readonly kind: 'refused'; readonly line: string };

/** @returns what this node does about PSYNC … FAILOVER; it has asked its master who that is */
export async function takeOverAnswer(
  replica: Replica,
  role: 'master' | 'replica',
  { position, hash, session }: TakeOverRequest,
): Promise<TakeOverAnswer> {
  const { head, nodeId } = replica;
  const own = head.position;
  const isShared = standing(head.history, position) === 'shared';
  if (isShared && (role === 'master' || own.runId !== position.runId)) return { kind: 'taken-over' };
  if (own.runId === position.runId && own.offset === position.offset) {
    const ownHash = head.hash;
    if (hash !== null && ownHash !== null && hash !== ownHash) {
      return refused(
        `-ERR FAILOVER at ${formatPosition(position)}, but this node has other bytes up to there`,
      );
    }
    // Only its own master may hand over to a replica, and the request proves nothing: any token may have brought it.
    const peer = await masterOf(replica, session);
    if (peer === null) return refused('-LOADING the master does not answer who it is');
    if (typeof peer === 'string') return refused(`-ERR FAILOVER: ${noAccessDetail('the master', peer)}`);
    if (peer.nodeId !== session.nodeId)
      return refused('-ERR FAILOVER comes from a node that is not the master');
    if (peer.handsOverTo === undefined)
      return refused('-ERR FAILOVER: the master does not say that it hands over');
    // One of the two may have restarted meanwhile: then the master learns the new ID before it asks again.
    if (peer.handsOverTo !== nodeId)
      return refused('-LOADING the master does not say that it hands over to this process');
    // The request may state any position; while the master hands over, it stands where the hand-over has to happen.
    if (peer.position !== formatPosition(position)) {
      return refused(`-ERR FAILOVER at ${formatPosition(position)}, but the master stands elsewhere`);
    }
    if (session.status === null) return refused('-ERR the session has ended');
    return { kind: 'take-over' };
  }
  return refused(`-ERR FAILOVER at ${formatPosition(position)}, but this node is at ${formatPosition(own)}`);
}

/** @returns what the replica's own master says of itself */
async function masterOf({ ask, state, world }: Replica, session: Session): Promise<Peer | NoAccess | null> {
  for (let attempt = 1; ; attempt += 1) {
    const peer = await ask(state.upstream ?? '', true);
    if (typeof peer !== 'string' || attempt === ACCESS_ATTEMPTS || session.status === null) return peer;
    await new Promise<void>((resolve) => {
      world.after(ACCESS_RETRY_MS, resolve);
    });
  }
}

function refused(line: string): TakeOverAnswer {
  return { kind: 'refused', line };
}
