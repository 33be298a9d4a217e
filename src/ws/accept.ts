/** Accepts WebSockets of replicas and followers on the HTTP server's port. */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import type { Access } from '../access/access.ts';
import { refusalHeaders } from '../access/access-problem.ts';
import { clientName } from '../access/client-name.ts';
import type { Principal } from '../access/principal.ts';
import type { FeedQuery, FeedRequest } from '../node/feed/feed-request.ts';
import type { FollowerEvents, FollowerSocket } from '../node/ports/follower-socket.ts';
import type { Gate, SocketEvents, StreamSocket } from '../node/ports/stream-socket.ts';
import { Problem } from '../node/problem.ts';
import type { ClientLimits, Gated } from '../web/client-limits.ts';
import { endAfterError, mustFollow, watchFeed } from '../web/feed-access.ts';
import { parseFeedRequest } from '../web/feed-query.ts';
import { FollowerPlace } from '../web/follower-limit.ts';
import { hostRefusal } from '../web/hosts.ts';
import { type Admission, mayCome } from '../web/origins.ts';
import { rawProblem } from '../web/problem-body.ts';
import { refuseTokenInQuery } from '../web/query.ts';
import type { RateHeaders } from '../web/request-limit.ts';
import { WebSocketFollower } from './follower-socket.ts';
import { authorizationOf, offeredBy, offeredToken } from './offered.ts';
import { noteOpened, noteRefusal, type Records } from './records.ts';
import { Renewals } from './renewals.ts';
import { ReplicaGate } from './replica-gate.ts';
import { MAX_MESSAGE_BYTES, PIECES, Socket, STREAM_PATH, SUBPROTOCOL } from './socket.ts';

export const CHANGES_PATH = '/v1/changes';
export const FOLLOWER_SUBPROTOCOL = 'psync.v1.json';
/** Largest message from a follower, in bytes: a JWT has 8 KiB at most. */
const MAX_FOLLOWER_MESSAGE_BYTES = 10 * 1024;

/** Version that the refusal of another version must state (RFC 6455, 4.2.2). */
const VERSION = '13';
const OTHER_VERSION = { 'Sec-WebSocket-Version': VERSION, Upgrade: 'websocket' };

/** Receives the accepted sockets. */
export interface Acceptor extends Records {
  readonly access: Access;
  readonly limits: ClientLimits;
  readonly admission: Admission;
  /** Headers of every HTTP answer of the node. */
  headers(request: IncomingMessage): Readonly<Record<string, string>>;
  /** Takes a replica's new socket and returns the receiver of its events. */
  accept(socket: StreamSocket, gate: Gate): SocketEvents;
  /** Resolves to the request to serve, once it can be served; rejects with a Problem otherwise. */
  admitFollower(request: FeedQuery, gone: AbortSignal, client: string): Promise<FeedRequest>;
  serveFollower(request: FeedRequest, socket: FollowerSocket): FollowerEvents;
}

/** A path that accepts WebSockets. */
interface Endpoint {
  readonly subprotocol: string;
  readonly webSockets: WebSocketServer;
  /** The reason to refuse a page of this origin, or null. */
  refusal(request: IncomingMessage): string | null;
  /**
   * @returns the sender; null: `taken` finds it out
   * @throws Problem if the sender may not have this WebSocket at all; a promise rejects with it
   */
  authorize(request: IncomingMessage): Principal | null | Promise<Principal>;
  /** @param served is called when the sender is somebody who may have this WebSocket */
  taken(
    ws: WebSocket,
    upgrade: { readonly request: IncomingMessage; readonly connection: Duplex; readonly served: () => void },
    sender: Principal | null,
  ): void;
}

/**
 * @returns the handler of a server's `upgrade` requests: it accepts the known paths with their subprotocols, and
 * refuses everything else with a problem: 400, 403, 404, 405, 426 or 429. It returns a promise if a token has to be
 * verified first. It calls `served` when the WebSocket serves somebody who may have it.
 */
export function acceptWebSockets(
  acceptor: Acceptor,
): (request: IncomingMessage, connection: Duplex, head: Buffer, served?: () => void) => void | Promise<void> {
  const endpoints = new Map<string, Endpoint>([
    [STREAM_PATH, replicas(acceptor)],
    [CHANGES_PATH, followers(acceptor)],
  ]);
  /** Headers that state the limit of the sender, for the answers to upgrades. */
  const rates = new WeakMap<IncomingMessage, RateHeaders>();
  const refuse = (request: IncomingMessage, connection: Duplex, { problem, headers }: Refusal): void => {
    connection.on('error', () => connection.destroy());
    // HTTP's time-outs do not apply to an upgrade.
    connection.once('finish', () => connection.destroy());
    const path = pathOf(request);
    const shown = endpoints.has(path) ? path : 'unknown';
    noteRefusal(acceptor, request, shown, problem.status, authorizationOf(request));
    const all = { ...acceptor.headers(request), ...rates.get(request), ...headers };
    connection.end(rawProblem(problem, all));
  };
  for (const { webSockets } of endpoints.values()) {
    // Failures of a handshake that `ws` itself finds.
    webSockets.on('wsClientError', (error, connection, request) => {
      refuse(request, connection, { problem: new Problem('BAD_REQUEST', error.message) });
    });
    if (acceptor.limits.requests !== null) addHeaders(webSockets, rates);
  }
  const carryOn = (
    request: IncomingMessage,
    connection: Duplex,
    head: Buffer,
    served: () => void,
    gated: Gated | undefined,
  ): void | Promise<void> => {
    if (gated !== undefined && gated.headers !== null) rates.set(request, gated.headers);
    if (gated !== undefined && gated.problem !== null) {
      refuse(request, connection, { problem: gated.problem, headers: refusalHeaders(gated.problem) });
      return;
    }
    const path = pathOf(request);
    const endpoint = endpoints.get(path);
    const refusal = refusalOf(request, path, endpoint, acceptor.admission);
    if (refusal !== null || endpoint === undefined) {
      refuse(request, connection, refusal ?? { problem: new Problem('UNKNOWN_PATH', `there is no ${path}`) });
      return;
    }
    const taken = (ws: WebSocket, sender: Principal | null): void => {
      noteOpened(acceptor, request, path, ws, authorizationOf(request));
      endpoint.taken(ws, { request, connection, served }, sender);
    };
    const refused = (refusal: Refusal): void => refuse(request, connection, refusal);
    return authorized(endpoint, { request, connection, head }, taken, refused);
  };
  return (request, connection, head, served = () => undefined) => {
    const gated = acceptor.limits.requests?.pass(request, null, authorizationOf(request));
    if (!(gated instanceof Promise)) return carryOn(request, connection, head, served, gated);
    // The client may leave while its token is verified.
    connection.on('error', () => connection.destroy());
    return gated.then((known) => carryOn(request, connection, head, served, known));
  };
}

/** Adds the headers of a request to the answer that accepts it. */
function addHeaders(webSockets: WebSocketServer, rates: WeakMap<IncomingMessage, RateHeaders>): void {
  webSockets.on('headers', (lines, request) => {
    for (const [name, value] of Object.entries(rates.get(request) ?? {})) lines.push(`${name}: ${value}`);
  });
}

/** A request to become a WebSocket. */
interface Upgrade {
  readonly request: IncomingMessage;
  readonly connection: Duplex;
  /** What came behind the request. */
  readonly head: Buffer;
}

/**
 * Opens the WebSocket, unless its sender may not have it.
 * @returns what to wait for, because a token has to be verified first
 */
function authorized(
  endpoint: Endpoint,
  { request, connection, head }: Upgrade,
  taken: (ws: WebSocket, sender: Principal | null) => void,
  refused: (refusal: Refusal) => void,
): void | Promise<void> {
  const take = (sender: Principal | null): void =>
    endpoint.webSockets.handleUpgrade(request, connection, head, (ws) => taken(ws, sender));
  const refuseSender = (problem: unknown): void => {
    if (!(problem instanceof Problem)) throw problem;
    refused({ problem, headers: refusalHeaders(problem) });
  };
  let sender: ReturnType<Endpoint['authorize']>;
  try {
    refuseTokenInQuery(request.url ?? '');
    sender = endpoint.authorize(request);
  } catch (problem) {
    refuseSender(problem);
    return;
  }
  if (!(sender instanceof Promise)) {
    take(sender);
    return;
  }
  // The client may leave while its token is verified.
  connection.on('error', () => connection.destroy());
  return sender.then(take, refuseSender);
}

function pathOf({ url = '' }: IncomingMessage): string {
  return url.split('?', 1)[0] ?? '';
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
  admission: Admission,
): Refusal | null {
  const { headers, method } = request;
  const foreign = hostRefusal(request, admission);
  if (foreign !== null) return { problem: foreign };
  if (endpoint === undefined) {
    return { problem: new Problem('UNKNOWN_PATH', `there is no WebSocket at ${path}`) };
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
  if (offeredBy(request).includes(endpoint.subprotocol)) return null;
  return { problem: new Problem('BAD_REQUEST', `the subprotocol ${endpoint.subprotocol} is required`) };
}

function replicas(acceptor: Acceptor): Endpoint {
  const { access, admission } = acceptor;
  const allowed = (principal: Principal): Principal => {
    principal.mustHave('replicate');
    return principal;
  };
  return {
    subprotocol: SUBPROTOCOL,
    webSockets: serverOf(SUBPROTOCOL, MAX_MESSAGE_BYTES),
    // Only browsers send `Origin`. No web page may read the database or pose as a replica.
    refusal: ({ headers }) => (headers.origin === undefined ? null : 'replication is not for web pages'),
    authorize: (request) => {
      const { headers, socket } = request;
      const { authorization } = headers;
      if (authorization === undefined && !access.certified.has(socket)) {
        const sender = access.find(undefined, socket);
        // Without a header and a certificate the token comes in the conversation.
        return sender?.has('replicate') === true ? sender : null;
      }
      const sender = access.authenticate(authorization, socket, admission.proxies.addressOf(request));
      return sender instanceof Promise ? sender.then(allowed) : allowed(sender);
    },
    taken: (ws, { request, connection, served }, sender) => {
      const socket = new Socket(ws, admission.proxies.peerOf(request));
      const address = admission.proxies.addressOf(request);
      const move = (principal: Principal): void => {
        acceptor.limits.requests?.move(connection, principal, address);
        served();
      };
      if (sender !== null) served();
      const gate = new ReplicaGate(access, socket, address, sender, move);
      ws.once('close', () => gate.end());
      socket.listen(acceptor.accept(socket, gate));
    },
  };
}

function followers(acceptor: Acceptor): Endpoint {
  const { access, admission } = acceptor;
  const renewals = new Renewals(access, acceptor.log);
  return {
    subprotocol: FOLLOWER_SUBPROTOCOL,
    webSockets: serverOf(FOLLOWER_SUBPROTOCOL, MAX_FOLLOWER_MESSAGE_BYTES),
    refusal: (request) =>
      mayCome(request, acceptor.admission)
        ? null
        : `pages of ${request.headers.origin} may not follow this node; --allow-origin lets them`,
    // A client without headers, such as a page, learns nothing of a refused upgrade: it is told on the open WebSocket.
    authorize: (request) => {
      const { headers, socket } = request;
      return headers.authorization === undefined
        ? null
        : access.authenticate(headers.authorization, socket, admission.proxies.addressOf(request));
    },
    taken: (ws, upgrade, sender) => {
      const { connection, request } = upgrade;
      const socket = new WebSocketFollower(ws, connection, admission.proxies.peerOf(request));
      follow(acceptor, renewals, upgrade, sender, ws, socket).catch((error: unknown) => {
        // Browsers hide a refused upgrade from the page, so the server accepts it and then sends the error.
        endAfterError(acceptor.log, socket, error);
      });
    },
  };
}

/** @returns the sender of an upgrade without a header: its token may be among the subprotocols */
function offering({ access, admission }: Acceptor, request: IncomingMessage): Principal | Promise<Principal> {
  const token = offeredToken(request);
  const address = admission.proxies.addressOf(request);
  return token === null
    ? access.authenticate(undefined, request.socket, address)
    : access.authenticateToken(token, address);
}

async function follow(
  acceptor: Acceptor,
  renewals: Renewals,
  { request: upgrade, connection, served }: Parameters<Endpoint['taken']>[1],
  sender: Principal | null,
  ws: WebSocket,
  socket: WebSocketFollower,
): Promise<void> {
  const principal = sender ?? (await offering(acceptor, upgrade));
  if (ws.readyState === ws.CLOSED) return;
  const wanted = parseFeedRequest(upgrade.url ?? '');
  mustFollow(principal, wanted);
  served();
  const address = acceptor.admission.proxies.addressOf(upgrade);
  socket.client = clientName(principal, address);
  const { followers, requests } = acceptor.limits;
  const place = followers === null ? null : new FollowerPlace(followers, principal, address);
  if (place !== null) ws.once('close', () => place.end());
  const watch = watchFeed(acceptor.access, principal, wanted, socket);
  ws.once('close', watch.end);
  renewals.allow(socket, watch, address, (next) => {
    requests?.move(connection, next, address);
    place?.move(next);
    socket.client = clientName(next, address);
  });
  const gone = new AbortController();
  const leave = (): void => gone.abort();
  ws.once('close', leave);
  const request = await acceptor.admitFollower(wanted, gone.signal, socket.client);
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
