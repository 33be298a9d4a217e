/** What another node says of itself, over its REST API. Whoever answers there is a stranger until the answer is parsed. */
import type { IncomingMessage } from 'node:http';
import { parseJson } from '../keyspace/json.ts';
import type { Peer } from '../node/ports.ts';
import { canonicalUpstream, httpUrl, parseUpstream } from '../replication/upstream.ts';

/** How long a peer may take for its whole answer, in milliseconds. */
const TIMEOUT_MS = 1_000;
/** The largest answer that is read, in bytes; with a thousand replicas a node's own has a third of that. */
export const MAX_ANSWER_BYTES = 1024 * 1024;

/**
 * Asks `/v1/replication` and nothing else; a redirect is not followed.
 * @param url `ws://HOST:PORT`; of anything else nobody is asked
 * @returns null if nobody answers in time, or not like a node, or with more than `MAX_ANSWER_BYTES`
 */
export async function askPeer(url: string): Promise<Peer | null> {
  const parsed = parseUpstream(url);
  if (parsed === null) return null;
  try {
    const answer = await fetched(`${httpUrl(canonicalUpstream(parsed))}/v1/replication`);
    return answer === null ? null : peerOf(parseJson(answer));
  } catch {
    // Whatever went wrong: this node does not answer now.
    return null;
  }
}

/** @returns the body of an answer 200; null for any other */
async function fetched(url: string): Promise<Buffer | null> {
  // Not fetch(), which refuses some ports whatever is there. Imported when it is needed: to import node:http is to read
  // all of its members, and `WebSocket` among them loads fetch's whole implementation, 20 ms of every start.
  const { get } = await (url.startsWith('https:') ? import('node:https') : import('node:http'));
  return new Promise((resolve, reject) => {
    // The connection is nobody else's: it ends with the answer, and the signal also ends an answer that trickles in.
    const request = get(url, { agent: false, signal: AbortSignal.timeout(TIMEOUT_MS) });
    request.on('error', reject);
    request.on('response', (response) => {
      if (response.statusCode === 200) {
        bodyOf(response).then(resolve, reject);
        return;
      }
      resolve(null);
      request.destroy();
    });
  });
}

async function bodyOf(response: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  // Leaving the loop early destroys the response, and with it the connection.
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_ANSWER_BYTES) throw new Error(`an answer of more than ${MAX_ANSWER_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, bytes);
}

function peerOf(answer: unknown): Peer | null {
  if (!isObject(answer) || typeof answer.nodeId !== 'string') return null;
  const { nodeId, upstream } = answer;
  return { nodeId, upstream: isObject(upstream) && typeof upstream.url === 'string' ? upstream.url : null };
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}
