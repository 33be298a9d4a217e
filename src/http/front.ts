/**
 * Node's HTTP server with what stands in front of Fastify: every request, upgrade and broken message of every address comes
 * through here. It brings the target into one form, keeps the order of each connection, and turns whatever throws into a 500
 * and a line in the log.
 */
import type { IncomingMessage, Server, ServerOptions, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TlsOptions } from 'node:tls';
import type { Log } from '../node/ports/world.ts';
import { Problem, unexpectedProblem } from '../node/problem.ts';
import { belowTls } from '../runtime/below-tls.ts';
import { EVENT_LOOP } from '../runtime/event-loop.ts';
import { hostRefusal } from '../web/hosts.ts';
import type { Admission } from '../web/origins.ts';
import { HTTPS_PORT_ANSWER } from '../web/problem-body.ts';
import { COUNTED } from '../web/record/counted-response.ts';
import { notedRoute, type RequestCounts } from '../web/record/request-counts.ts';
import { traceOf } from '../web/record/traceparent.ts';
import { type Handler, Line } from './fast-path/in-order.ts';
import { ReadTurns } from './fast-path/read-turns.ts';
import { Rounds } from './fast-path/rounds.ts';
import { type PlaceRules, Places } from './request/places.ts';
import { normalizeTarget } from './request/request-target.ts';

// An import statement would read everything that the module exports, and so load Node's WebSocket client (undici).
const { createServer } = process.getBuiltinModule('node:http');

/** Code of Node's error for a plain HTTP request on a port with TLS. */
const HTTP_REQUEST = 'ERR_SSL_HTTP_REQUEST';

/**
 * A client that has closed its side still gets its answers, as long as some of them is sent at least so often; in
 * milliseconds. Most clients that close their side have gone.
 */
export const HALF_CLOSED_MS = 2_000;

/**
 * Takes a request for a WebSocket, with what has come behind it; at once, or when the promise is fulfilled. It calls `served` when the
 * WebSocket serves somebody who may have it.
 */
export type UpgradeListener = (
  request: IncomingMessage,
  connection: Duplex,
  head: Buffer,
  served: () => void,
) => void | Promise<void>;

export interface FrontParts {
  readonly log: Log;
  /** The names that the node answers to, and the proxies in front of it. */
  readonly admission: Pick<Admission, 'hosts' | 'proxies'>;
  /** Answers a request that cannot be carried out, and logs what is no fault of the client's. */
  readonly refuse: (error: Error, request: IncomingMessage, response: ServerResponse) => void;
  /**
   * The bytes of such an answer, where Node has no answer to write into; the connection ends behind it.
   * @param request null: it is not known, because it is no HTTP
   */
  readonly rawAnswer: (problem: Problem, request: IncomingMessage | null) => string;
  readonly counts: Pick<RequestCounts, 'answered' | 'upgrade'>;
  /** @returns the route of a request that has not reached one, `/v1/keys/{key}` */
  readonly shown: (request: IncomingMessage) => string;
  /** Whether the log gets a line about each request. */
  readonly logsRequests: () => boolean;
  /** Notes a request that has come, for the access log; null: there is none. */
  readonly arrived: ((request: IncomingMessage, response: ServerResponse) => void) | null;
  /** Notes a request that is answered past Node's server. */
  readonly refused: ((request: IncomingMessage, status: number) => void) | null;
  /** null: there are no WebSockets. */
  readonly upgrade: UpgradeListener | null;
  /** For a server with TLS; null: plain HTTP. */
  readonly tls: TlsOptions | null;
  /** Which connections end when the listener is full. */
  readonly places: PlaceRules;
}

/** What Fastify has decided about connections; in milliseconds. */
export interface Timeouts {
  readonly keepAliveTimeout: number;
  readonly requestTimeout: number;
}

/** Where the line of a connection is kept. */
const LINE = Symbol('line');
type Lined = Socket & { [LINE]?: Line };

export class Front {
  readonly server: Server;
  readonly places: Places;
  readonly #parts: FrontParts;
  readonly rounds = new Rounds();
  readonly #reads = new ReadTurns(EVENT_LOOP);
  readonly #whenClosed = (response: ServerResponse, arrivedAt: number): void =>
    this.#closed(response, arrivedAt);
  #handler: Handler = { overlap: () => 'none', handle: () => 'none' };

  constructor(parts: FrontParts) {
    this.#parts = parts;
    const options: ServerOptions = {
      joinDuplicateHeaders: true,
      ...(parts.arrived === null ? {} : { ServerResponse: COUNTED }),
      // Node would answer without a problem; `KnownHosts` refuses such requests.
      requireHostHeader: false,
      // Requests that offer an upgrade to something else, `curl --http2` for one, are answered as they are; so are those
      // behind answers that are not out yet, because Node lets go of the connection when it hands it over. Node asks since
      // 24.9; before, every request with `Upgrade` counts as one for a WebSocket.
      shouldUpgradeCallback: (request) => isWebSocket(request) && isIdle(request.socket),
    };
    this.server = serverWith(options, parts.tls);
    this.places = new Places(this.server, parts.places);
    // Without it Node closes a connection as soon as the client has closed its side, and pending answers are lost.
    Object.assign(this.server, { httpAllowHalfOpen: true });
    this.server.on(parts.tls === null ? 'connection' : 'secureConnection', (socket: Socket) => {
      this.#reads.opened(socket);
      socket.on('end', () => {
        if (isIdle(socket)) socket.end();
        else socket.setTimeout(HALF_CLOSED_MS);
      });
    });
    this.server.on('request', (request, response) => this.#request(request, response));
    this.server.on('checkContinue', (request, response) => this.#request(request, response));
    this.server.on('checkExpectation', (request, response) => {
      // RFC 9110, 10.1.1.
      const problem = new Problem('EXPECTATION_FAILED', 'the node meets no expectation but 100-continue');
      this.#request(request, response, this.#refusal(problem, false));
    });
    this.server.on('upgrade', (request, connection, head) => {
      this.places.upgrade(request);
      this.#handedOver(connection as Socket, () => this.#upgrade(request, connection, head));
    });
    this.server.on('connect', (request, connection) => {
      this.places.upgrade(request);
      const problem = new Problem('NOT_IMPLEMENTED', 'this node is not a proxy');
      this.#handedOver(connection as Socket, () => this.#end(connection, problem, request));
    });
  }

  /** @param handler gets every request from now on, each in its turn */
  serve(handler: Handler, { keepAliveTimeout, requestTimeout }: Timeouts): Server {
    this.#handler = {
      overlap: handler.overlap,
      handle: (request, response) => {
        try {
          return handler.handle(request, response);
        } catch (error) {
          this.fail(error as Error, request, response);
          return 'none';
        }
      },
    };
    this.server.keepAliveTimeout = keepAliveTimeout;
    this.server.requestTimeout = requestTimeout;
    return this.server;
  }

  /** Answers a request that cannot be carried out; if its answer has begun, it ends there. Never throws. */
  fail(error: Error, request: IncomingMessage, response: ServerResponse): void {
    try {
      if (!response.headersSent) {
        this.#parts.refuse(error, request, response);
        return;
      }
      this.#log(error, request, response);
    } catch (another) {
      this.#log(another, request, response);
    }
    response.destroy();
    request.socket.destroy();
  }

  /** Answers what is no HTTP: Node has given up on the connection. Answers under way go out before. */
  broken(error: Error & { code?: string }, socket: Socket, problem: Problem): void {
    if (error.code === HTTP_REQUEST) answerPlain(socket);
    if (error.code === 'ECONNRESET' || isOfTls(error) || !socket.writable) {
      socket.destroy();
      return;
    }
    this.#lineOf(socket).end((unfinished) => {
      if (unfinished?.headersSent) socket.destroy();
      else this.#end(socket, problem, null);
    });
  }

  /** @param then carries the request out, if nothing is wrong with its target */
  #request(request: IncomingMessage, response: ServerResponse, then = this.#handler): void {
    try {
      this.places.begin(request);
      // Node throws away what came in one packet behind an upgrade that is not made.
      if (request.headers.upgrade !== undefined) response.setHeader('connection', 'close');
      const { socket } = request;
      const handler = this.#handlerOf(request, then);
      this.#parts.arrived?.(request, response);
      this.#lineOf(socket).take(request, response, handler);
      // The line is long; and with a body in chunks the rest of what Node has read may be long to parse.
      if (socket.isPaused()) this.#reads.watch(socket, response);
      else if (request.headers['transfer-encoding'] !== undefined) this.#reads.watch(socket, null);
    } catch (error) {
      this.fail(error as Error, request, response);
    }
  }

  #handlerOf(request: IncomingMessage, then: Handler): Handler {
    const problem = normalizeTarget(request);
    // The node closes the connection after a request with a malformed target: a proxy in front of it may disagree about where that
    // request ends and the next one begins.
    if (problem !== null) return this.#refusal(problem, true);
    const foreign = hostRefusal(request, this.#parts.admission);
    return foreign === null ? then : this.#refusal(foreign, false);
  }

  #refusal(problem: Problem, isLast: boolean): Handler {
    return {
      overlap: () => 'none',
      handle: (request, response) => {
        if (isLast) response.setHeader('connection', 'close');
        this.fail(problem, request, response);
        return 'none';
      },
    };
  }

  #upgrade(request: IncomingMessage, connection: Duplex, head: Buffer): void {
    const { socket } = request;
    const before = socket.bytesWritten;
    const failed = (error: unknown): void => {
      this.#log(error, request, null);
      // Behind the handshake no HTTP may follow.
      if (socket.bytesWritten !== before) connection.destroy();
      else this.#end(connection, unexpectedProblem(), request);
    };
    try {
      const problem = normalizeTarget(request);
      const { upgrade } = this.#parts;
      if (problem !== null) this.#end(connection, problem, request);
      else if (upgrade !== null) {
        upgrade(request, connection, head, () => this.places.keep(request))?.catch(failed);
      } else this.#end(connection, new Problem('UNKNOWN_PATH', 'this listener has no WebSockets'), request);
    } catch (error) {
      failed(error);
    }
  }

  /** Node has let go of the socket: calls `then` once the answers before are out. */
  #handedOver(socket: Socket, then: () => void): void {
    const line = this.#lineOf(socket);
    this.#reads.forget(socket);
    socket.on('error', () => socket.destroy());
    if (!line.idle) line.keepServing();
    line.end(() => {
      if (!socket.destroyed) then();
    });
  }

  #end(connection: Duplex, problem: Problem, request: IncomingMessage | null): void {
    connection.on('error', () => connection.destroy());
    // HTTP's time-outs do not cover what Node has let go of.
    connection.once('finish', () => connection.destroy());
    try {
      if (request !== null) {
        this.#parts.refused?.(request, problem.status);
        this.#parts.counts.upgrade(request.method, this.#parts.shown(request), problem.status);
      }
      connection.end(this.#parts.rawAnswer(problem, request));
    } catch (error) {
      this.#parts.log.error('request-failed', { error: textOf(error) });
      connection.destroy();
    }
  }

  /** Counts an answer. */
  #closed(response: ServerResponse, arrivedAt: number): void {
    const { counts, log, logsRequests, shown } = this.#parts;
    const { req: request } = response;
    if (this.#lineOf(request.socket).idle) this.places.rest(request);
    const path = counts.answered(response, arrivedAt, shown);
    if (!logsRequests()) return;
    const ms = Math.round((performance.now() - arrivedAt) * 1_000) / 1_000;
    const status = response.headersSent ? response.statusCode : null;
    log.debug('request', { method: request.method, path, status, ms, ...traceOf(request) });
  }

  #lineOf(socket: Lined): Line {
    socket[LINE] ??= new Line(socket, this.rounds, this.#whenClosed);
    return socket[LINE];
  }

  #log(error: unknown, request: IncomingMessage, response: ServerResponse | null): void {
    const { method } = request;
    const path = (response === null ? null : notedRoute(response)) ?? this.#parts.shown(request);
    this.#parts.log.error('request-failed', { method, path, error: textOf(error), ...traceOf(request) });
  }
}

function serverWith(options: ServerOptions, tls: TlsOptions | null): Server {
  if (tls === null) return createServer(options);
  // Node's HTTP server lets a client close its side of a connection first, and its HTTPS server has to be told to.
  const both = { ...options, ...tls, allowHalfOpen: true };
  return process.getBuiltinModule('node:https').createServer(both);
}

/** Whether the handshake has failed: nothing can be sent then. */
function isOfTls({ code = '' }: { readonly code?: string }): boolean {
  return code.startsWith('ERR_SSL_') || code.startsWith('ERR_TLS_');
}

/** Answers plain HTTP on a port with TLS. Node has given the connection up, but not the one below TLS. */
function answerPlain(socket: Socket): void {
  const plain = belowTls(socket);
  if (plain === undefined || !plain.writable) return;
  plain.on('error', () => plain.destroy());
  plain.write(
    'HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\n' +
      `content-length: ${HTTPS_PORT_ANSWER.length}\r\n\r\n${HTTPS_PORT_ANSWER}`,
  );
  plain.destroySoon();
}

function isIdle(socket: Lined): boolean {
  return socket[LINE]?.idle ?? true;
}

/** HTTP/1.0 has no upgrades (RFC 9110, 7.8). */
function isWebSocket({ headers, httpVersion }: IncomingMessage): boolean {
  return headers.upgrade?.toLowerCase() === 'websocket' && httpVersion !== '1.0';
}

function textOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
