/** Who follows whom: a node asks its future master, that one's master, and so on upward. */
import { canonicalUpstream, notAnUpstream, parseUpstream } from '../../replication/upstream.ts';
import type { AskPeer, World } from '../ports.ts';

/** A chain of replicas is looked at so far up, and for so long. */
const MAX_CHAIN = 32;
const CHAIN_LOOK_MS = 3_000;

export interface ChainProblem {
  /** CIRCLE: the chain comes by the asking node or by itself again. BAD_PEER: a node on it names an upstream that is none. */
  readonly code: 'CIRCLE' | 'BAD_PEER';
  /** What is wrong, in words. */
  readonly detail: string;
}

/**
 * Looks at the chain of masters above a node.
 * @param url the master that a node would follow, `ws://HOST:PORT`
 * @param nodeId of the node that would
 * @returns why that node must not follow that master; null if nothing speaks against it, as far as can be seen: who does not
 *   answer is not asked further
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
    const peer = await ask(next);
    if (peer === null) return null;
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
