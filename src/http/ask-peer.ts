/** What another node says of itself, and of what it holds, over its REST API. Whoever answers there is a stranger until the answer is parsed. */
import type { IncomingMessage } from 'node:http';
import type { ConnectionOptions } from 'node:tls';
import { parseJson } from '../keyspace/json/json.ts';
import type { Digest } from '../node/ports/keyspace.ts';
import { showable } from '../node/ports/peer-words.ts';
import { MAX_CHAIN, type MasterAbove, type NoAccess, type NoDigest, type Peer } from '../node/ports/peers.ts';
import { formatPosition, type Position, parsePosition, parseRunId } from '../replication/position.ts';
import { isNodeId } from '../replication/session-machine.ts';
import { canonicalUpstream, httpUrl, MAX_NODE_URL_LENGTH, parseUpstream } from '../replication/upstream.ts';

/** Gives the TLS options of one connection; it may throw, which counts as no answer. */
type PeerTls = () => ConnectionOptions;
const DEFAULT_TLS: PeerTls = () => ({});

/** How long a peer may take for its whole answer, in milliseconds. */
const TIMEOUT_MS = 1_000;
/** How long the first of several nodes that ask each other may take, and how much less each next one, in milliseconds. */
const CHAIN_TIMEOUT_MS = 3_000;
const CHAIN_STEP_MS = 80;
/** The largest answer that is read, in bytes; with a thousand replicas a node's own has a third of that. */
export const MAX_ANSWER_BYTES = 1024 * 1024;

/**
 * Asks `/v1/replication` and nothing else; a redirect is not followed.
 * @param url `ws://HOST:PORT`; of anything else nobody is asked
 * @param token to show to it; null: none
 * @param tls options of the connection to a `wss://` URL
 * @param asked IDs of the processes that ask each other, this one last; empty: the node is not asked for the masters above it
 * @returns null if nobody answers in time, or not like a node, or with more than `MAX_ANSWER_BYTES`; a text if the token does not do
 */
export async function askPeer(
  url: string,
  token: string | null = null,
  tls: PeerTls = DEFAULT_TLS,
  asked: readonly string[] = [],
): Promise<Peer | NoAccess | null> {
  const parsed = parseUpstream(url);
  if (parsed === null) return null;
  try {
    const query = asked.length === 0 ? '' : `?asked=${asked.join(',')}`;
    const url = `${httpUrl(canonicalUpstream(parsed))}/v1/replication${query}`;
    const timeoutMs = asked.length === 0 ? TIMEOUT_MS : CHAIN_TIMEOUT_MS - CHAIN_STEP_MS * asked.length;
    const { status, body } = await fetched(url, MAX_ANSWER_BYTES, AbortSignal.timeout(timeoutMs), token, tls);
    if (status === 401 || status === 403) return token === null ? 'no-token' : 'token-refused';
    return status === 200 ? peerOf(parseJson(body), token) : null;
  } catch {
    // Whatever went wrong: this node does not answer now.
    return null;
  }
}

/**
 * Asks `/v1/digest` for the digest of the position, or of a later one; the node that is asked asks nobody.
 * @see AskDigest
 */
export async function askDigest(
  url: string,
  position: Position,
  timeoutMs: number,
  gone: AbortSignal,
  token: string | null = null,
  tls: PeerTls = DEFAULT_TLS,
): Promise<Digest | NoDigest> {
  const parsed = parseUpstream(url);
  if (parsed === null) return { code: 'BAD_PEER', detail: 'is no node' };
  // Its own answer that time is up should arrive first.
  const waitMs = Math.max(0, Math.min(timeoutMs - ANSWER_MS, MAX_WAIT_MS));
  const query = `position=${formatPosition(position)}&timeout=${Math.floor(waitMs)}`;
  try {
    const { status, body } = await fetched(
      `${httpUrl(canonicalUpstream(parsed))}/v1/digest?${query}`,
      MAX_DIGEST_BYTES,
      AbortSignal.any([gone, AbortSignal.timeout(timeoutMs)]),
      token,
      tls,
    );
    const answer = parseJson(body);
    return (status === 200 ? digestOf(answer) : refusalOf(answer, token)) ?? NO_DIGEST;
  } catch (error) {
    if (error instanceof Error && /^(?:Abort|Timeout)Error$/.test(error.name))
      return { code: 'NOT_REACHED', detail: `no digest has come within ${timeoutMs} ms` };
    return NO_DIGEST;
  }
}

const NO_DIGEST: NoDigest = { code: 'BAD_PEER', detail: 'has not told its digest' };
/** The longest digest or problem that is read, in bytes. */
const MAX_DIGEST_BYTES = 64 * 1024;
/** The longest that a node waits for a position, in milliseconds. */
const MAX_WAIT_MS = 600_000;
/** What is left for the answer, in milliseconds. */
const ANSWER_MS = 500;

function digestOf(answer: unknown): Digest | null {
  if (!isObject(answer)) return null;
  const { position: text, keys, digest } = answer;
  const position = typeof text === 'string' ? parsePosition(text) : null;
  if (position === null || typeof keys !== 'number' || !Number.isSafeInteger(keys) || keys < 0) return null;
  return typeof digest === 'string' && /^[0-9a-f]{32}$/.test(digest) ? { position, keys, digest } : null;
}

function refusalOf(answer: unknown, token: string | null): NoDigest | null {
  if (!isObject(answer) || typeof answer.detail !== 'string') return null;
  const detail = showable(answer.detail, shownAs(token));
  const { code } = answer;
  return code === 'UNKNOWN_HISTORY' || code === 'NOT_REACHED'
    ? { code, detail }
    : { code: 'BAD_PEER', detail: `has not told its digest: ${detail}` };
}

function shownAs(token: string | null): readonly string[] {
  return token === null ? [] : [token];
}

interface Fetched {
  readonly status: number;
  readonly body: Buffer;
}

/** @returns the answer, whatever its status; a redirect is not followed */
async function fetched(
  url: string,
  maxBytes: number,
  signal: AbortSignal,
  token: string | null,
  tls: PeerTls,
): Promise<Fetched> {
  const isSecure = url.startsWith('https:');
  const options = isSecure ? tls() : {};
  // Not fetch(), which refuses some ports whatever is there. Imported when it is needed: to import node:http is to read
  // all of its members, and `WebSocket` among them loads fetch's whole implementation, 20 ms of every start.
  const { get } = await (isSecure ? import('node:https') : import('node:http'));
  return new Promise((resolve, reject) => {
    // The connection is nobody else's: it ends with the answer, and the signal also ends an answer that trickles in.
    const request = get(url, {
      ...options,
      agent: false,
      signal,
      ...(token === null ? {} : { headers: { authorization: `Bearer ${token}` } }),
    });
    request.on('error', reject);
    request.on('response', (response) => {
      bodyOf(response, maxBytes).then((body) => resolve({ status: response.statusCode ?? 0, body }), reject);
    });
  });
}

async function bodyOf(response: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  // Leaving the loop early destroys the response, and with it the connection.
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > maxBytes) throw new Error(`an answer of more than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, bytes);
}

function peerOf(answer: unknown, token: string | null): Peer | null {
  if (!isObject(answer)) return null;
  const { nodeId, openToAll, upstream, position } = answer;
  if (typeof nodeId !== 'string' || !isNodeId(nodeId)) return null;
  const above = mastersOf(answer.masters, token);
  const place = {
    ...(typeof position === 'string' ? { position } : {}),
    ...(typeof openToAll === 'boolean' ? { openToAll } : {}),
    ...(above === null ? {} : { masters: above }),
  };
  if (!isObject(upstream)) return { nodeId, upstream: null, ...place };
  const { handsOverTo, url } = upstream;
  const target = typeof handsOverTo === 'string' || handsOverTo === null ? { handsOverTo } : {};
  return {
    nodeId,
    upstream: typeof url === 'string' ? shownUrl(url, token) : null,
    ...target,
    ...place,
  };
}

/** @returns the masters up to the first one that is not described as one; null: the answer has no list */
function mastersOf(masters: unknown, token: string | null): readonly MasterAbove[] | null {
  if (!Array.isArray(masters)) return null;
  const above: MasterAbove[] = [];
  for (const master of masters.slice(0, MAX_CHAIN) as unknown[]) {
    if (!isObject(master) || typeof master.url !== 'string') break;
    const { nodeId, url } = master;
    above.push({ url: shownUrl(url, token), nodeId: isRunId(nodeId) ? nodeId : null });
  }
  return above;
}

/** @returns a URL of a node as it is; of another text so much that it is still none */
function shownUrl(url: string, token: string | null): string {
  return showable(url, shownAs(token), MAX_NODE_URL_LENGTH + 1);
}

/** psyncd's own processes have IDs of the form of run IDs, and a list of masters names no others. */
function isRunId(value: unknown): value is string {
  return typeof value === 'string' && parseRunId(value) !== null;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}
