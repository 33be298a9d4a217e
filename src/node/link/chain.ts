/** The chain of masters above a node: the node asks its future master whom it follows, then that one's master, and so on. */
import { canonicalUpstream, notAnUpstream, parseUpstream } from '../../replication/upstream.ts';
import type { AskPeer } from '../ports/peers.ts';
import type { World } from '../ports/world.ts';

/** Number of masters that a node asks at most. */
const MAX_CHAIN = 32;
/** Time after which a node asks no further master. */
const CHAIN_LOOK_MS = 3_000;

export interface ChainProblem {
  /** CIRCLE: the chain leads back to the asking node or to itself. BAD_PEER: a node on it names an upstream that is no URL. */
  readonly code: 'CIRCLE' | 'BAD_PEER';
  /** The problem in words. */
  readonly detail: string;
}

/**
 * Checks the chain of masters above a node.
 * @param url the master that the node would follow, `ws://HOST:PORT`
 * @param nodeId ID of the node's process
 * @returns the reason why the node must not follow that master; null if it finds none. The check ends at the first master that
 *   does not answer
 */
export async function chainProblem(
  url: string,
  nodeId: string,
  ask: AskPeer,
  world: World,
): Promise<ChainProblem | null> {
  const path = [url];
  const until = world.monotonic() + CHAIN_LOOK_MS;
  for (let next = url; path.length <= MAX_CHAIN && world.monotonic() < until; ) {
    // The masters above are named by others.
    const peer = await ask(next, next === url);
    if (peer === null || typeof peer === 'string') return null;
    if (peer.nodeId === nodeId) {
      return circle(
        path.length === 1
          ? `${url} is this node itself`
          : `a circle: this node -> ${path.join(' -> ')}, which is this node`,
      );
    }
    if (peer.upstream === null) return null;
    const above = parseUpstream(peer.upstream);
    if (above === null) {
      return {
        code: 'BAD_PEER',
        detail: `${next} says whom it follows, and ${notAnUpstream(peer.upstream)}`,
      };
    }
    next = canonicalUpstream(above);
    if (path.includes(next)) return circle(`a circle: ${[...path, next].join(' -> ')}`);
    path.push(next);
  }
  return null;
}

function circle(detail: string): ChainProblem {
  return { code: 'CIRCLE', detail };
}
