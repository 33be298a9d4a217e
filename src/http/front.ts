/**
 * Node's HTTP server with what stands in front of Fastify: every request, upgrade and broken message of every address comes
 * through here. It brings the target into one form, keeps the order of each connection, and turns whatever throws into a 500
 * and a line in the log.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Log } from '../node/ports.ts';
import { Problem } from '../node/problem.ts';
import { type Handler, Line } from './in-order.ts';
import { normalizeTarget } from './request-target.ts';

// An import statement would read everything that the module exports, and so load Node's WebSocket client (undici).
const { createServer } = process.getBuiltinModule('node:http');

/**
 * A client that has closed its side still gets its answers, as long as some of them is sent at least so often; in
 * milliseconds. Most clients that close their side have gone.
 */
export const HALF_CLOSED_MS = 2_000;

/** Takes a request for a WebSocket, with what has come behind it. */
export type UpgradeListener = (request: IncomingMessage, connection: Duplex, head: Buffer) => void;

export interface FrontParts {
  readonly log: Log;
  /** Answers a request that cannot be carried out, and logs what is no fault of the client's. */
  readonly refuse: (error: Error, request: IncomingMessage, response: ServerResponse) => void;
  /** The bytes of such an answer, where Node has no answer to write into; the connection ends behind it. */
  readonly rawAnswer: (problem: Problem) => string;
  readonly upgrade: UpgradeListener;
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
  readonly #parts: FrontParts;
  #handler: Handler = { overlap: () => 'none', handle: () => 'none' };

  constructor(parts: FrontParts) {
    this.#parts = parts;
    this.server = createServer({
      joinDuplicateHeaders: true,
      // Requests that offer an upgrade to something else, `curl --http2` for one, are answered as they are; so are those
      // behind answers that are not out yet, because Node lets go of the connection when it hands it over. Node asks since
      // 24.9; before, every request with `Upgrade` counts as one for a WebSocket.
      shouldUpgradeCallback: (request) => isWebSocket(request) && isIdle(request.socket),
    });
    // Without it Node closes a connection as soon as the client has closed its side, and pending answers are lost.
    Object.assign(this.server, { httpAllowHalfOpen: true });
    this.server.on('connection', (socket: Socket) => {
      socket.on('end', () => {
        if (!isIdle(socket)) socket.setTimeout(HALF_CLOSED_MS);
      });
    });
    this.server.on('request', (request, response) => this.#request(request, response));
    this.server.on('upgrade', (request, connection, head) => {
      this.#handedOver(connection as Socket, () => this.#upgrade(request, connection, head));
    });
    this.server.on('connect', (_request, connection) => {
      const problem = new Problem('NOT_IMPLEMENTED', 'this is no proxy');
      this.#handedOver(connection as Socket, () => this.#end(connection, problem));
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
      this.#log(error, request);
    } catch (another) {
      this.#log(another, request);
    }
    response.destroy();
    request.socket.destroy();
  }

  /** Answers what is no HTTP: Node has given up on the connection. Answers under way go out before. */
  broken(error: Error & { code?: string }, socket: Socket, problem: Problem): void {
    if (error.code === 'ECONNRESET' || !socket.writable) {
      socket.destroy();
      return;
    }
    lineOf(socket).end((unfinished) => {
      if (unfinished?.headersSent) socket.destroy();
      else this.#end(socket, problem);
    });
  }

  #request(request: IncomingMessage, response: ServerResponse): void {
    try {
      // Node throws away what came in one packet behind an upgrade that is not made.
      if (request.headers.upgrade !== undefined) response.setHeader('connection', 'close');
      const problem = normalizeTarget(request);
      const handler = problem === null ? this.#handler : this.#refusal(problem);
      lineOf(request.socket).take(request, response, handler);
    } catch (error) {
      this.fail(error as Error, request, response);
    }
  }

  #refusal(problem: Problem): Handler {
    return {
      overlap: () => 'none',
      handle: (request, response) => {
        // Where such a request ends, and what comes behind it, others on the way may see otherwise.
        response.setHeader('connection', 'close');
        this.fail(problem, request, response);
        return 'none';
      },
    };
  }

  #upgrade(request: IncomingMessage, connection: Duplex, head: Buffer): void {
    const { socket } = request;
    const before = socket.bytesWritten;
    try {
      const problem = normalizeTarget(request);
      if (problem === null) this.#parts.upgrade(request, connection, head);
      else this.#end(connection, problem);
    } catch (error) {
      this.#log(error, request);
      // Behind the handshake no HTTP may follow.
      if (socket.bytesWritten !== before) connection.destroy();
      else this.#end(connection, new Problem('INTERNAL', 'the log of the node says more'));
    }
  }

  /** Node has let go of the socket: calls `then` once the answers before are out. */
  #handedOver(socket: Socket, then: () => void): void {
    const line = lineOf(socket);
    socket.on('error', () => socket.destroy());
    if (!line.idle) line.keepServing();
    line.end(() => {
      if (!socket.destroyed) then();
    });
  }

  #end(connection: Duplex, problem: Problem): void {
    connection.on('error', () => connection.destroy());
    // HTTP's time-outs do not cover what Node has let go of.
    connection.once('finish', () => connection.destroy());
    try {
      connection.end(this.#parts.rawAnswer(problem));
    } catch (error) {
      this.#parts.log.error('request-failed', { error: textOf(error) });
      connection.destroy();
    }
  }

  #log(error: unknown, { method, url }: IncomingMessage): void {
    this.#parts.log.error('request-failed', { method, url, error: textOf(error) });
  }
}

function lineOf(socket: Lined): Line {
  socket[LINE] ??= new Line(socket);
  return socket[LINE];
}

function isIdle(socket: Lined): boolean {
  return socket[LINE]?.idle ?? true;
}

function isWebSocket({ headers }: IncomingMessage): boolean {
  return headers.upgrade?.toLowerCase() === 'websocket';
}

function textOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
