/** Who follows whom: a node asks its future master, that one's master, and so on upward. */
import type { AskPeer, World } from './ports.ts';

/** A chain of replicas is looked at so far up, and for so long. */
const MAX_CHAIN = 32;
const CHAIN_LOOK_MS = 3_000;

/**
 * @param url the master that a node would follow, `ws://HOST:PORT`
 * @param nodeId of the node that would
 * @returns the circle in words if the chain comes by that node or by itself again; null if it does not, as far as can be
 *   seen: who does not answer is not asked further
 */
export async function circleOf(
  url: string,
  nodeId: string,
  ask: AskPeer,
  world: World,
): Promise<string | null> {
  const path = [url];
  const until = world.now() + CHAIN_LOOK_MS;
  for (let next = url; path.length <= MAX_CHAIN && world.now() < until; ) {
    const peer = await ask(next);
    if (peer === null) return null;
    if (peer.nodeId === nodeId) {
      return path.length === 1
        ? `${url} is this node itself`
        : `a circle: this node -> ${path.join(' -> ')}, which is this node`;
    }
    if (peer.upstream === null) return null;
    next = peer.upstream;
    if (path.includes(next)) return `a circle: ${[...path, next].join(' -> ')}`;
    path.push(next);
  }
  return null;
}
