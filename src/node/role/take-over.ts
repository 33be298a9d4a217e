/**
 * Whether a replica may become the master when its master hands over to it.
 *
 * A refusal (`-ERR`) makes the old master the master again. So this node refuses only if it knows that it has not been the master in
 * between: its files may be older than what it was, because somebody put its folder back, and then another node may be the master by now.
 * In doubt it answers `-LOADING`: the old master stays a replica and asks again, until an operator decides.
 */
import { standing } from '../../replication/history.ts';
import { formatPosition, type Position, type RunId } from '../../replication/position.ts';
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

/** Words with which every refusal of a hand-over begins. Other errors do not answer it: they come from something else at the URL. */
export const HAND_OVER_REFUSED = 'ERR FAILOVER';

/** Number of requests that may wait for the master's answer at the same time, one for each client. */
const MOST_WAITING = 8;

interface Replica {
  readonly ask: AskPeer;
  readonly head: StreamHead;
  /** ID of this process. */
  readonly nodeId: string;
  readonly state: Pick<StateStore, 'upstream' | 'isCopy'>;
  readonly world: World;
  /** Whether this process has received the stream of the history, as a replica. */
  hasStreamed(runId: RunId): boolean;
}

interface TakeOverRequest {
  /** Where the master stands. */
  readonly position: Position;
  /** The master's history hash there; null: unknown. */
  readonly hash: bigint | null;
  /** The session over which the request came; a request whose session has ended is refused. */
  readonly session: Session;
}

export type TakeOverAnswer =
  | { readonly kind: 'take-over' }
  /** This node has taken over already, and its answer was lost: it answers the second request like any PSYNC. */
  | { readonly kind: 'taken-over' }
  | { readonly kind: 'refused'; readonly line: string };

/** The requests to take over that wait for the answer of this node's master. */
export class TakeOvers {
  readonly #replica: Replica;
  /** Clients that have brought them. */
  readonly #waiting = new Set<string>();

  constructor(replica: Replica) {
    this.#replica = replica;
  }

  /**
   * Asks this node's master whether it hands over to this node. The roles do not wait meanwhile, so they look again afterwards.
   * @param role of this node
   * @returns what this node does about PSYNC … FAILOVER
   */
  async answer(role: 'master' | 'replica', request: TakeOverRequest): Promise<TakeOverAnswer> {
    const known = takeOverAnswer(this.#replica, role, request);
    if (known !== null) return known;
    // A peer that asks again and again must not make this node ask its master as often.
    const { client } = request.session.gate;
    if (this.#waiting.has(client) || this.#waiting.size >= MOST_WAITING)
      return refused('-LOADING another request to take over waits for the answer of the master');
    this.#waiting.add(client);
    try {
      return await answerOfMaster(this.#replica, request);
    } finally {
      this.#waiting.delete(client);
    }
  }
}

/**
 * @param replica this node
 * @returns what this node does about PSYNC … FAILOVER as far as it knows by itself; null: it stands where the hand-over has to happen,
 *   and its master has to say the rest
 */
export function takeOverAnswer(
  { head, state, hasStreamed }: Pick<Replica, 'head' | 'state' | 'hasStreamed'>,
  role: 'master' | 'replica',
  { position, hash, session }: TakeOverRequest,
): TakeOverAnswer | null {
  if (session.status === null) return refused('-ERR the session has ended');
  const own = head.position;
  const isShared = standing(head.history, position) === 'shared';
  if (isShared && (role === 'master' || own.runId !== position.runId)) return { kind: 'taken-over' };
  const stands = `FAILOVER at ${formatPosition(position)}, but this node is at ${formatPosition(own)}`;
  if (own.runId !== position.runId) return inDoubt(stands);
  if (state.isCopy) return inDoubt('FAILOVER: the files of this node are a copy');
  // The master asks a node that has had everything on its disk, unless a peer has acknowledged in its name.
  if (own.offset < position.offset && !hasStreamed(own.runId)) return inDoubt(stands);
  if (own.offset === position.offset) {
    const ownHash = head.hash;
    return hash === null || ownHash === null || hash === ownHash
      ? null
      : refused(`-ERR FAILOVER at ${formatPosition(position)}, but this node has other bytes up to there`);
  }
  return refused(`-ERR ${stands}`);
}

/** This node may have been the master, and may have handed over to another one, without knowing it any more. */
function inDoubt(why: string): TakeOverAnswer {
  return refused(
    `-LOADING ${why}: another node may have become the master in between, and an operator has to decide`,
  );
}

/** Only its own master may hand over to a replica, and the request proves nothing: any token may have brought it. */
async function answerOfMaster(
  replica: Replica,
  { position, session }: TakeOverRequest,
): Promise<TakeOverAnswer> {
  const peer = await masterOf(replica, session);
  if (peer === null) return refused('-LOADING the master does not answer who it is');
  if (typeof peer === 'string') return refused(`-ERR FAILOVER: ${noAccessDetail('the master', peer)}`);
  if (peer.nodeId !== session.nodeId)
    return refused('-ERR FAILOVER comes from a node that is not the master');
  if (peer.handsOverTo === undefined)
    return refused('-ERR FAILOVER: the master does not say that it hands over');
  // One of the two may have restarted meanwhile: then the master learns the new ID before it asks again.
  if (peer.handsOverTo !== replica.nodeId)
    return refused('-LOADING the master does not say that it hands over to this process');
  // The request may state any position; while the master hands over, it stands where the hand-over has to happen.
  if (peer.position !== formatPosition(position))
    return refused(`-ERR FAILOVER at ${formatPosition(position)}, but the master stands elsewhere`);
  return { kind: 'take-over' };
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
