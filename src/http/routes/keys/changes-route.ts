/** `GET /v1/changes`: the feed as Server-Sent Events and as NDJSON; `ws/` serves it as a WebSocket. */
import type { ServerResponse } from 'node:http';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Access } from '../../../access/access.ts';
import type { FeedRequest } from '../../../node/feed/feed-request.ts';
import { errorMessage, type Framing } from '../../../node/feed/messages/message.ts';
import type { Node } from '../../../node/node.ts';
import type { FollowerEvents, FollowerSocket, Transport } from '../../../node/ports/follower-socket.ts';
import { Problem } from '../../../node/problem.ts';
import type { CloseCode } from '../../../replication/close-code.ts';
import { formatPosition } from '../../../replication/position.ts';
import { closePatienceMs } from '../../../web/close-patience.ts';
import { mustFollow, watchFeed } from '../../../web/feed-access.ts';
import { parseFeedRequest } from '../../../web/feed-query.ts';
import type { FollowerLimit } from '../../../web/follower-limit.ts';
import { mayCome } from '../../../web/origins.ts';
import type { Proxies } from '../../../web/proxies.ts';
import { whenClosed } from '../../../web/when-closed.ts';
import { varyBy } from '../../answer-headers.ts';
import { toProblem } from '../../problem.ts';
import { acceptedOf } from '../../request/accept.ts';
import { streamed } from '../../schemas/common/answers.ts';
import { positionParameter } from '../../schemas/common/members.ts';
import { problems } from '../../schemas/common/problems.ts';
import { changesQuery, EVENT_STREAMS } from '../../schemas/keys/changes.ts';
import type { RunningSettings } from '../node/admin-routes.ts';

const EVENT_STREAM = 'text/event-stream';
const NDJSON = 'application/x-ndjson';
/** NDJSON comes first: curl gets it by default. */
const MEDIA_TYPES = [NDJSON, EVENT_STREAM] as const;
/** Idle time before TCP keep-alives look for a vanished client, in milliseconds. */
const KEEP_ALIVE_MS = 30_000;
/**
 * Wait of an EventSource before it reconnects, in milliseconds: a random time between the first, and both together, so
 * that the followers of a lost node do not all return at once.
 */
const RETRY_MS = 1_000;
const RETRY_SPREAD_MS = 2_000;
/** Wait after a problem that the next request would meet again, in milliseconds. */
const RETRY_IN_VAIN_MS = 600_000;

const ndjson: Framing = (json) => Buffer.from(`${json}\n`, 'utf8');
const serverSentEvent: Framing = (json, at) =>
  Buffer.from(at === null ? `data: ${json}\n\n` : `id: ${at}\ndata: ${json}\n\n`, 'utf8');

interface ChangesParts {
  readonly node: Node;
  readonly access: Access;
  /** How many feeds a client may have; null: as many as it likes. */
  readonly followers: FollowerLimit | null;
  readonly settings: RunningSettings;
}

export function changesRoute(app: FastifyInstance, parts: ChangesParts): void {
  app.get('/v1/changes', {
    exposeHeadRoute: false,
    // Parsed by hand, so that all transports answer the same query alike; the schema only serves the document.
    validatorCompiler: () => () => true,
    schema: changesSchema(),
    errorHandler: (error, request, reply) => {
      const told = toldInStream(request, toProblem(error));
      // Fastify's error handler answers a problem that is thrown here.
      if (told === null) throw error;
      return reply.code(200).type(EVENT_STREAM).serializer(String).send(told);
    },
    handler: (request, reply) => answer(parts, request, reply),
  });
}

/**
 * Decides which form the feed takes, admits the follower and sends the feed.
 * @throws Problem if the sender may not follow, or not now
 */
async function answer(parts: ChangesParts, request: FastifyRequest, reply: FastifyReply): Promise<void> {
  const { node, followers, settings } = parts;
  varyBy(reply, 'Accept');
  if (!mayCome(request.raw, settings)) {
    throw new Problem(
      'FORBIDDEN',
      `pages of ${request.headers.origin} may not follow this node; --allow-origin lets them`,
    );
  }
  const type = acceptedOf(request.headers.accept, MEDIA_TYPES);
  if (type === null) {
    throw new Problem('NOT_ACCEPTABLE', `changes can be had as ${MEDIA_TYPES.join(' or ')}`);
  }
  const wanted = parseFeedRequest(request.url, lastEventId(request));
  mustFollow(request.principal, wanted);
  if (followers !== null) countUntilClosed(followers, settings.proxies, request, reply);
  const { client, signal } = request.standing;
  const admitted = await node.admitFollower(wanted, signal, client);
  if (!signal.aborted) stream(parts, admitted, type === EVENT_STREAM, request, reply);
}

/** @throws Problem TOO_MANY_REQUESTS if the sender has as many feeds as it may have */
function countUntilClosed(
  followers: FollowerLimit,
  proxies: Proxies,
  { principal, raw }: FastifyRequest,
  reply: FastifyReply,
): void {
  // The client may have gone while the request waited for its turn.
  whenClosed(reply.raw, followers.take(principal, proxies.addressOf(raw)));
}

/**
 * Decides whether to send a problem as a stream. An EventSource gives up for good on an answer that is not a stream,
 * and its page does not learn why. So it gets a stream that states the problem and ends, as a WebSocket does. Other
 * clients get a problem that stays, such as a malformed query, as a status.
 * @returns the stream; null: answer the problem as usual
 */
function toldInStream({ headers }: FastifyRequest, problem: Problem | null): string | null {
  if (problem === null || acceptedOf(headers.accept, MEDIA_TYPES) !== EVENT_STREAM) return null;
  const passes = problem.status === 429 || problem.status === 503;
  const stays = problem.status === 400 || problem.status === 410;
  const isFromPage = headers.origin !== undefined || headers['sec-fetch-mode'] !== undefined;
  if (!passes && !(stays && isFromPage)) return null;
  const { json } = errorMessage(problem.code, problem.message, problem.extra);
  return `retry: ${passes ? retryMs() : RETRY_IN_VAIN_MS}\n${serverSentEvent(json, null).toString('utf8')}`;
}

function retryMs(): number {
  return RETRY_MS + Math.floor(Math.random() * RETRY_SPREAD_MS);
}

/** Answers with the feed, past Fastify. */
function stream(
  { node, access, settings }: ChangesParts,
  wanted: FeedRequest,
  asEvents: boolean,
  { principal, raw, standing }: FastifyRequest,
  reply: FastifyReply,
): void {
  reply.hijack();
  reply.raw.writeHead(200, {
    ...(reply.getHeaders() as Record<string, string>),
    'content-type': asEvents ? EVENT_STREAM : NDJSON,
    // Without this header nginx would hold events back.
    'x-accel-buffering': 'no',
    'psync-position': formatPosition(node.position),
    'psync-role': node.role,
  });
  if (asEvents) reply.raw.write(`retry: ${retryMs()}\n\n`);
  else reply.raw.flushHeaders();
  raw.socket.setKeepAlive(true, KEEP_ALIVE_MS);
  const follower = new ResponseFollower(
    reply.raw,
    settings.proxies.peerOf(raw),
    standing.client,
    asEvents ? serverSentEvent : ndjson,
    asEvents ? 'sse' : 'ndjson',
  );
  whenClosed(reply.raw, watchFeed(access, principal, wanted, follower).end);
  follower.listen(node.serveFollower(wanted, follower));
}

/** The HTTP answer of a follower: NDJSON or server-sent events. */
export class ResponseFollower implements FollowerSocket {
  readonly peer: string;
  readonly client: string;
  readonly framing: Framing;
  readonly transport: Transport;
  readonly answersPings = false;
  readonly #response: ServerResponse;

  constructor(
    response: ServerResponse,
    peer: string,
    client: string,
    framing: Framing,
    transport: Transport,
  ) {
    this.#response = response;
    this.peer = peer;
    this.client = client;
    this.framing = framing;
    this.transport = transport;
  }

  listen(events: FollowerEvents): void {
    this.#response.on('drain', () => events.drained());
    whenClosed(this.#response, () => events.closed());
  }

  get bufferedBytes(): number {
    return this.#response.writableLength;
  }

  send(frames: Buffer): void {
    if (!this.#response.writableEnded) this.#response.write(frames);
  }

  ping(): void {
    // SSE and NDJSON have no ping; bookmarks come often enough.
  }

  close(code: CloseCode): void {
    if (this.#response.writableEnded) return;
    this.#response.end();
    // A client that does not read never reaches the end, so the connection is closed after a while.
    const timer = setTimeout(() => this.#response.destroy(), closePatienceMs(code));
    whenClosed(this.#response, () => clearTimeout(timer));
  }

  terminate(): void {
    this.#response.destroy();
  }
}

function lastEventId({ headers }: FastifyRequest): string | undefined {
  const id = headers['last-event-id'];
  return Array.isArray(id) ? id[0] : id;
}

const DESCRIPTION = [
  'Every change of some prefixes, in order, each exactly once between two resets. `Accept` chooses the form:',
  '`application/x-ndjson`, one event a line, or `text/event-stream`, where the id of an event is its position. With an',
  'upgrade to a WebSocket of the subprotocol `psync.v1.json` each message is one event.',
  '',
  'Without `position` a snapshot comes first: `reset`, an `entry` for each key, `synced`. With one the answer begins with',
  '`continue`, if this node can still serve what follows, or else with a `reset` that says why. A position is good on',
  'every node and every transport, and on masters and replicas alike. A replica that has not reached it yet waits for it, five',
  'seconds and no longer than `wait`; then it answers 503 `NOT_REACHED`.',
  '',
  'A `text/event-stream` is 200 also where another request would be answered 429 or 503, and to a browser where it would be 400',
  'or 410: it brings an `error` event with the code, and ends. An EventSource would otherwise give up for good.',
  '',
  '`bookmark` says that nothing of yours happened up to its position. It comes every two seconds while others write, and',
  'every ten seconds otherwise: who hears nothing for half a minute should connect anew. Types that you do not know are to',
  'be ignored.',
  '',
  '`expiring` comes half a minute before the token expires, and the stream ends with it. On a WebSocket a follower may show a new',
  'token then, `{"type":"auth","token":TOKEN}`, and the stream goes on; others connect again with a new one.',
].join('\n');

/** Made anew for each server, because Fastify changes the schema of a route. */
function changesSchema() {
  return {
    operationId: 'followChanges',
    summary: 'Follow the changes',
    description: DESCRIPTION,
    tags: ['changes'],
    querystring: changesQuery,
    headers: {
      type: 'object',
      properties: {
        'last-event-id': {
          ...positionParameter,
          description: 'What an EventSource sends when it connects anew. It beats `position`.',
        },
      },
    },
    response: {
      200: streamed('The events, until somebody ends it.', EVENT_STREAMS),
      ...problems(
        'BAD_REQUEST',
        'FORBIDDEN',
        'NOT_ACCEPTABLE',
        'POSITION_LOST',
        'TOO_MANY_REQUESTS',
        'NOT_REACHED',
        'STORAGE_FAILED',
      ),
    },
  };
}
