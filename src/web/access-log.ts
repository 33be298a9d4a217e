/**
 * `--access-log`: one line for each request that was answered or broke off, and two for each WebSocket. Lines hold no tokens, no
 * values and no keys: a path stands there as the API's description has it.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Access } from '../access/access.ts';
import type { Principal } from '../access/principal.ts';
import type { Proxies } from './proxies.ts';
import { traceOf } from './record/traceparent.ts';

/** Status of an answer to a token that is no good. */
const UNAUTHORIZED = 401;

/** Where the lines go. */
export interface Lines {
  write(event: string, fields: object): void;
}

/** An answer that counts the bytes of its body. */
export interface CountedResponse extends ServerResponse {
  readonly bodyBytes: number;
}

export interface AccessLogParts {
  readonly lines: Lines;
  readonly access: Pick<Access, 'begunBy' | 'find' | 'isOpen'>;
  readonly proxies: Proxies;
  /** Position of the node now. */
  readonly position: () => string;
  /** Milliseconds. */
  readonly monotonic: () => number;
}

/** What is known of a request when it arrives. */
interface Arrived {
  readonly method: string | undefined;
  readonly path: string;
  readonly principal?: { readonly id: string; readonly name: string };
  readonly address: string;
  readonly traceparent?: string;
}

export class AccessLog {
  readonly #parts: AccessLogParts;

  constructor(parts: AccessLogParts) {
    this.#parts = parts;
  }

  /**
   * Writes a line once the answer is sent, or its connection has ended.
   * @param path without keys
   */
  request(request: IncomingMessage, response: ServerResponse, path: string): void {
    const { lines, monotonic, position } = this.#parts;
    const arrived = this.#arrived(request, path, request.headers.authorization);
    const since = monotonic();
    response.once('close', () => {
      lines.write('request', {
        ...this.#ended(arrived, request, response.statusCode),
        status: response.headersSent ? response.statusCode : null,
        bytes: (response as CountedResponse).bodyBytes ?? null,
        ms: rounded(monotonic() - since),
        ...(response.writableFinished ? {} : { aborted: true }),
        position: position(),
      });
    });
  }

  /** Writes the line of a request that was answered past Node's server: a WebSocket that was refused, for example. */
  refused(request: IncomingMessage, path: string, status: number, authorization?: string): void {
    const { lines, position } = this.#parts;
    lines.write('request', { ...this.#arrived(request, path, authorization), status, position: position() });
  }

  /**
   * Writes the line of a WebSocket that is open now.
   * @param authorization the `Authorization` header, or what stands for it
   * @returns a function that writes the line of its end, with the close code
   */
  opened(request: IncomingMessage, path: string, authorization?: string): (code: number) => void {
    const { lines, monotonic, position } = this.#parts;
    const arrived = this.#arrived(request, path, authorization);
    const { socket } = request;
    const [since, before] = [monotonic(), socket.bytesWritten];
    lines.write('websocket-opened', { ...arrived, status: 101, position: position() });
    return (code) => {
      const bytes = socket.bytesWritten - before;
      const ms = rounded(monotonic() - since);
      lines.write('websocket-closed', { ...arrived, code, bytes, ms, position: position() });
    };
  }

  #arrived(request: IncomingMessage, path: string, authorization: string | undefined): Arrived {
    const address = this.#parts.proxies.addressOf(request);
    const arrived = { method: request.method, path, address, ...traceOf(request) };
    return this.#identified(arrived, request, authorization);
  }

  /** Adds the sender, if its token is known. */
  #identified(arrived: Arrived, { socket }: IncomingMessage, authorization: string | undefined): Arrived {
    const { access } = this.#parts;
    return access.isOpen ? arrived : by(access.find(authorization, socket), arrived);
  }

  /** Adds the sender of a request that came with a new signed token: it was verified later, and may have expired meanwhile. */
  #ended(arrived: Arrived, { socket, headers }: IncomingMessage, status: number): Arrived {
    const { access } = this.#parts;
    if (arrived.principal !== undefined || access.isOpen || status === UNAUTHORIZED) return arrived;
    return by(access.begunBy(headers.authorization, socket), arrived);
  }
}

function by(principal: Principal | null, arrived: Arrived): Arrived {
  return principal === null ? arrived : { ...arrived, principal: { id: principal.id, name: principal.name } };
}

/** @returns the milliseconds with at most three digits after the point */
function rounded(ms: number): number {
  return Math.round(ms * 1_000) / 1_000;
}
