/** What another node says of itself, over its REST API. */
import { json } from 'node:stream/consumers';
import type { Peer } from '../node/ports.ts';
import { httpUrl } from '../node/upstream.ts';

const TIMEOUT_MS = 1_000;

/** @param url `ws://HOST:PORT` @returns null if nobody answers in time, or not like a node */
export async function askPeer(url: string): Promise<Peer | null> {
  // Not fetch(), which refuses some ports whatever is there. Imported when it is needed: to import node:http is to read
  // all of its members, and `WebSocket` among them loads fetch's whole implementation, 20 ms of every start.
  const { get } = await (url.startsWith('wss:') ? import('node:https') : import('node:http'));
  return new Promise((resolve) => {
    // Whatever goes wrong: this node does not answer now.
    const nobody = (): void => resolve(null);
    if (!URL.canParse(url)) return nobody();
    const request = get(`${httpUrl(url)}/v1/replication`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    request.on('error', nobody);
    request.on('response', (response) => {
      json(response).then((answer) => resolve(response.statusCode === 200 ? peerOf(answer) : null), nobody);
    });
  });
}

function peerOf(answer: unknown): Peer | null {
  if (!isObject(answer) || typeof answer.nodeId !== 'string') return null;
  const { nodeId, upstream } = answer;
  return { nodeId, upstream: isObject(upstream) && typeof upstream.url === 'string' ? upstream.url : null };
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}
