/** Connections of psyncd/client with CAs and certificates of the caller's choice. */
import type { Socket } from 'node:net';
import { createSecureContext, getCACertificates } from 'node:tls';
import { Agent, buildConnector, fetch, type RequestInit, WebSocket } from 'undici';
import type { Transport } from '../client/request/token.ts';

/** PEM, as text or bytes. */
type Pem = string | Buffer;

export interface TlsMaterial {
  /** CAs to trust, beside those of Node and of the system. */
  readonly ca?: Pem | undefined;
  /** Certificate to show, and its key without a pass phrase. */
  readonly cert?: Pem | undefined;
  readonly key?: Pem | undefined;
}

/** Longest message of the feed, also after it is decompressed: as long as the protocol allows. Undici's own limit is half of it. */
export const MAX_MESSAGE_BYTES = 256 * 1024 * 1024;
/** Most time that a node may take to close a connection, in milliseconds. */
const CLOSE_MS = 2_000;

/**
 * @returns the option `transport` of `Client`, `follow` and `mirror`
 * @throws Error if the certificate or the key cannot be used
 */
export function nodeTransport({ ca, cert, key }: TlsMaterial): Transport {
  const trusted = new Set([...getCACertificates('default'), ...getCACertificates('system')]);
  const secureContext = createSecureContext({
    ca: [...trusted, ...(ca === undefined ? [] : [ca])],
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  });
  // Without it NODE_TLS_REJECT_UNAUTHORIZED would decide whether the node is checked.
  const connect = { secureContext, rejectUnauthorized: true };
  const dispatcher = new Agent({ connect });
  const connector = buildConnector(connect);
  class ClosingWebSocket extends WebSocket {
    #connection: Socket | undefined;

    constructor(url: string | URL, protocols: string | string[] = []) {
      const ownConnection = new Agent({
        webSocket: { maxPayloadSize: MAX_MESSAGE_BYTES },
        connect: (options, callback) =>
          connector(options, (...result) => {
            this.#connection = result[1] ?? undefined;
            callback(...result);
          }),
      });
      super(url, { protocols, dispatcher: ownConnection });
    }

    override close(code?: number, reason?: string): void {
      super.close(code, reason);
      // Undici waits for the peer's close frame without a limit, and keeps the program running.
      setTimeout(() => this.#connection?.destroy(), CLOSE_MS).unref();
    }
  }
  // Undici's own types and those of the platform describe the same things.
  return {
    fetch: (input: string, init: RequestInit = {}) => fetch(input, { ...init, dispatcher }),
    WebSocket: ClosingWebSocket,
  } as unknown as Transport;
}
