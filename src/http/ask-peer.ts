/** What another node says of itself, over its REST API. */
import type { Peer } from '../node/ports.ts';
import { httpUrl } from '../node/upstream.ts';

const TIMEOUT_MS = 1_000;

/** @param url `ws://HOST:PORT` @returns null if nobody answers in time, or not like a node */
export async function askPeer(url: string): Promise<Peer | null> {
  try {
    const response = await fetch(`${httpUrl(url)}/v1/replication`, {
      signal: AbortSignal.timeout(TIMEOUT_MS),
      redirect: 'error',
    });
    return response.ok ? peerOf(await response.json()) : null;
  } catch {
    // Whatever it is: this node does not answer now.
    return null;
  }
}

function peerOf(answer: unknown): Peer | null {
  if (!isObject(answer) || typeof answer.nodeId !== 'string') return null;
  const { nodeId, upstream } = answer;
  return { nodeId, upstream: isObject(upstream) && typeof upstream.url === 'string' ? upstream.url : null };
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}
