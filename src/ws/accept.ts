/** Accepts WebSockets of replicas and followers on the HTTP server's port. */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import { closeCodeOf } from '../node/feed/feed-problems.ts';
import type { FeedRequest } from '../node/feed/feed-request.ts';
import { errorMessage } from '../node/feed/message.ts';
import type { FollowerEvents, FollowerSocket } from '../node/ports/follower-socket.ts';
import type { SocketEvents, StreamSocket } from '../node/ports/stream-socket.ts';
import { Problem } from '../node/problem.ts';
import { parseFeedRequest } from '../web/feed-query.ts';
import { type Admission, mayCome } from '../web/origins.ts';
import { rawProblem } from '../web/problem-body.ts';
import { WebSocketFollower } from './follower-socket.ts';
import { MAX_MESSAGE_BYTES, PIECES, Socket, STREAM_PATH, SUBPROTOCOL } from './socket.ts';

export const CHANGES_PATH = '/v1/changes';
export const FOLLOWER_SUBPROTOCOL = 'psync.v1.json';
/** Largest message from a follower, in bytes. Followers have no reason to send any. */
const MAX_FOLLOWER_MESSAGE_BYTES = 1024;

/** Version that the refusal of another version must state (RFC 6455, 4.2.2). */
const VERSION = '13';
const OTHER_VERSION = { 'Sec-WebSocket-Version': VERSION, Upgrade: 'websocket' };

/** Receives the accepted sockets. */
export interface Acceptor {
  readonly admission: Admission;
  /** Headers of every HTTP answer of the node. */
  headers(request: IncomingMessage): Readonly<Record<string, string>>;
  /** Takes a replica's new socket and returns the receiver of its events. */
  accept(socket: StreamSocket): SocketEvents;
  /** Resolves to the request to serve, once it can be served; rejects with a Problem otherwise. */
  admitFollower(request: FeedRequest, gone: AbortSignal): Promise<FeedRequest>;
  serveFollower(request: FeedRequest, socket: FollowerSocket): FollowerEvents;
}

/** A path that accepts WebSockets. */
interface Endpoint {
  readonly subprotocol: string;
  readonly webSockets: WebSocketServer;
  /** The reason to refuse a page of this origin, or null. */
  refusal(request: IncomingMessage): string | null;
  taken(ws: WebSocket, request: IncomingMessage, connection: Duplex): void;
}

/**
 * @returns the handler of a server's `upgrade` requests: it accepts the known paths with their subprotocols, and
 * refuses everything else with a problem: 400, 403, 404, 405 or 426
 */
export function acceptWebSockets(
  acceptor: Acceptor,
): (request: IncomingMessage, connection: Duplex, head: Buffer) => void {
  const endpoints = new Map<string | undefined, Endpoint>([
    [STREAM_PATH, replicas(acceptor)],
    [CHANGES_PATH, followers(acceptor)],
  ]);
  const refuse = (request: IncomingMessage, connection: Duplex, { problem, headers }: Refusal): void => {
    connection.on('error', () => connection.destroy());
    // HTTP's time-outs do not apply to an upgrade.
    connection.once('finish', () => connection.destroy());
    connection.end(rawProblem(problem, { ...acceptor.headers(request), ...headers }));
  };
  // Failures of a handshake that `ws` itself finds.
  for (const { webSockets } of endpoints.values()) {
    webSockets.on('wsClientError', (error, connection, request) => {
      refuse(request, connection, { problem: new Problem('BAD_REQUEST', error.message) });
    });
  }
  return (request, connection, head) => {
    const path = (request.url ?? '').split('?')[0];
    const endpoint = endpoints.get(path);
    const refusal = refusalOf(request, path, endpoint, acceptor.admission);
    if (refusal !== null) refuse(request, connection, refusal);
    else if (endpoint !== undefined) {
      endpoint.webSockets.handleUpgrade(request, connection, head, (ws) =>
        endpoint.taken(ws, request, connection),
      );
    }
  };
}

/** The reason to refuse a WebSocket. */
interface Refusal {
  readonly problem: Problem;
  /** Additional headers of the answer. */
  readonly headers?: Readonly<Record<string, string>>;
}

function refusalOf(
  request: IncomingMessage,
  path: string | undefined,
  endpoint: Endpoint | undefined,
  { hosts }: Admission,
): Refusal | null {
  const { headers, method } = request;
  const foreign = hosts.refusal(headers.host, request.httpVersion);
  if (foreign !== null) return { problem: foreign };
  if (endpoint === undefined) {
    return { problem: new Problem('NOT_FOUND', `there is no WebSocket at ${path}`) };
  }
  const unwanted = endpoint.refusal(request);
  if (unwanted !== null) return { problem: new Problem('FORBIDDEN', unwanted) };
  if (method !== 'GET') {
    const problem = new Problem('METHOD_NOT_ALLOWED', `a WebSocket is opened with GET, not ${method}`);
    return { problem, headers: { Allow: 'GET' } };
  }
  if (headers['sec-websocket-version'] !== VERSION) {
    const problem = new Problem('UPGRADE_REQUIRED', `Sec-WebSocket-Version must be ${VERSION}`);
    return { problem, headers: OTHER_VERSION };
  }
  const offered = (headers['sec-websocket-protocol'] ?? '').split(',').map((name) => name.trim());
  if (offered.includes(endpoint.subprotocol)) return null;
  return { problem: new Problem('BAD_REQUEST', `the subprotocol ${endpoint.subprotocol} is required`) };
}

function replicas(acceptor: Acceptor): Endpoint {
  return {
    subprotocol: SUBPROTOCOL,
    webSockets: serverOf(SUBPROTOCOL, MAX_MESSAGE_BYTES),
    // Only browsers send `Origin`. No web page may read the database or pose as a replica.
    refusal: ({ headers }) => (headers.origin === undefined ? null : 'replication is not for web pages'),
    taken: (ws, request) => {
      const socket = new Socket(ws, peerOf(request));
      socket.listen(acceptor.accept(socket));
    },
  };
}

function followers(acceptor: Acceptor): Endpoint {
  return {
    subprotocol: FOLLOWER_SUBPROTOCOL,
    webSockets: serverOf(FOLLOWER_SUBPROTOCOL, MAX_FOLLOWER_MESSAGE_BYTES),
    refusal: ({ headers: { origin, host } }) =>
      mayCome(origin, host, acceptor.admission)
        ? null
        : `pages of ${origin} may not follow this node; --allow-origin lets them`,
    taken: (ws, request, connection) => {
      const socket = new WebSocketFollower(ws, connection, peerOf(request));
      follow(acceptor, request.url ?? '', ws, socket).catch((error: unknown) => {
        const problem = error instanceof Problem ? error : new Problem('INTERNAL', String(error));
        // Browsers hide a refused upgrade from the page, so the server accepts it and then sends the error.
        socket.send(socket.framing(errorMessage(problem.code, problem.message, problem.extra).json, null));
        socket.close(closeCodeOf(problem), problem.message);
      });
    },
  };
}

async function follow(
  acceptor: Acceptor,
  url: string,
  ws: WebSocket,
  socket: WebSocketFollower,
): Promise<void> {
  const wanted = parseFeedRequest(url);
  const gone = new AbortController();
  const leave = (): void => gone.abort();
  ws.once('close', leave);
  const request = await acceptor.admitFollower(wanted, gone.signal);
  if (gone.signal.aborted) return;
  // Removed because it takes more memory than the rest of an idle follower.
  ws.off('close', leave);
  socket.listen(acceptor.serveFollower(request, socket));
}

function serverOf(subprotocol: string, maxPayload: number): WebSocketServer {
  return new WebSocketServer({
    noServer: true,
    clientTracking: false,
    maxPayload,
    ...PIECES,
    perMessageDeflate: false,
    handleProtocols: () => subprotocol,
  });
}

function peerOf({ socket: { remoteAddress, remotePort } }: IncomingMessage): string {
  return `${remoteAddress}:${remotePort}`;
}
