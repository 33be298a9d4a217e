/** Takes WebSockets on the HTTP server's port: those of replicas, and those of followers. */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import { closeCodeOf } from '../node/feed-problems.ts';
import { type FeedRequest, parseFeedRequest } from '../node/feed-request.ts';
import { errorMessage } from '../node/message.ts';
import { mayCome, type Origins } from '../node/origins.ts';
import type { FollowerEvents, FollowerSocket, SocketEvents, StreamSocket } from '../node/ports.ts';
import { Problem } from '../node/problem.ts';
import { rawProblem } from '../node/problem-body.ts';
import { WebSocketFollower } from './follower-socket.ts';
import { MAX_MESSAGE_BYTES, Socket, STREAM_PATH, SUBPROTOCOL } from './socket.ts';

export const CHANGES_PATH = '/v1/changes';
export const FOLLOWER_SUBPROTOCOL = 'psync.v1.json';
/** A follower has nothing to say. */
const MAX_FOLLOWER_MESSAGE_BYTES = 1024;

/** Who takes the sockets. */
export interface Acceptor {
  readonly allowedOrigins: Origins;
  /** What every HTTP answer of the node carries. */
  headers(): Readonly<Record<string, string>>;
  /** Gets each new socket of a replica and says where its events go. */
  accept(socket: StreamSocket): SocketEvents;
  /** Resolves to what is to be served, when it can be; rejects with the Problem why it cannot. */
  admitFollower(request: FeedRequest, gone: AbortSignal): Promise<FeedRequest>;
  serveFollower(request: FeedRequest, socket: FollowerSocket): FollowerEvents;
}

/** One path that takes WebSockets. */
interface Endpoint {
  readonly subprotocol: string;
  readonly webSockets: WebSocketServer;
  /** Why a page of this origin is not taken, or null. */
  refusal(request: IncomingMessage): string | null;
  taken(ws: WebSocket, request: IncomingMessage, connection: Duplex): void;
}

/**
 * @returns what takes the `upgrade` requests of a server: the paths with their subprotocols are accepted, everything else is
 *   refused with a problem: 400, 403 or 404
 */
export function acceptWebSockets(
  acceptor: Acceptor,
): (request: IncomingMessage, connection: Duplex, head: Buffer) => void {
  const endpoints = new Map<string | undefined, Endpoint>([
    [STREAM_PATH, replicas(acceptor)],
    [CHANGES_PATH, followers(acceptor)],
  ]);
  const refuse = (connection: Duplex, problem: Problem): void => {
    connection.on('error', () => connection.destroy());
    // HTTP's time-outs do not cover what was to be upgraded.
    connection.once('finish', () => connection.destroy());
    connection.end(rawProblem(problem, acceptor.headers()));
  };
  // What `ws` itself finds wrong with a handshake.
  for (const { webSockets } of endpoints.values()) {
    webSockets.on('wsClientError', (error, connection) => {
      refuse(connection, new Problem('BAD_REQUEST', error.message));
    });
  }
  return (request, connection, head) => {
    const path = (request.url ?? '').split('?')[0];
    const endpoint = endpoints.get(path);
    if (endpoint === undefined) {
      refuse(connection, new Problem('NOT_FOUND', `there is no WebSocket at ${path}`));
      return;
    }
    const refusal = endpoint.refusal(request);
    if (refusal !== null) {
      refuse(connection, new Problem('FORBIDDEN', refusal));
      return;
    }
    const { subprotocol, webSockets } = endpoint;
    const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map((name) => name.trim());
    if (!offered.includes(subprotocol)) {
      refuse(connection, new Problem('BAD_REQUEST', `the subprotocol ${subprotocol} is required`));
      return;
    }
    webSockets.handleUpgrade(request, connection, head, (ws) => endpoint.taken(ws, request, connection));
  };
}

function replicas(acceptor: Acceptor): Endpoint {
  return {
    subprotocol: SUBPROTOCOL,
    webSockets: serverOf(SUBPROTOCOL, MAX_MESSAGE_BYTES),
    // Browsers send it, nodes do not: a page of anybody's must not read the database, or pose as a replica.
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
      mayCome(origin, host, acceptor.allowedOrigins)
        ? null
        : `pages of ${origin} may not follow this node; --allow-origin lets them`,
    taken: (ws, request, connection) => {
      const socket = new WebSocketFollower(ws, connection, peerOf(request));
      follow(acceptor, request.url ?? '', ws, socket).catch((error: unknown) => {
        const problem = error instanceof Problem ? error : new Problem('INTERNAL', String(error));
        // Browsers see nothing of an upgrade that is refused: so it is accepted, and then says why not.
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
  // It costs more than all the rest of a follower that does nothing.
  ws.off('close', leave);
  socket.listen(acceptor.serveFollower(request, socket));
}

function serverOf(subprotocol: string, maxPayload: number): WebSocketServer {
  return new WebSocketServer({
    noServer: true,
    clientTracking: false,
    maxPayload,
    perMessageDeflate: false,
    handleProtocols: () => subprotocol,
  });
}

function peerOf({ socket: { remoteAddress, remotePort } }: IncomingMessage): string {
  return `${remoteAddress}:${remotePort}`;
}
