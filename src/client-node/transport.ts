/** Connections of psyncd/client with CAs and certificates of the caller's choice. */
import { createSecureContext, getCACertificates } from 'node:tls';
import { Agent, fetch, type RequestInit, WebSocket } from 'undici';
import type { Transport } from '../client/token.ts';

/** PEM, as text or bytes. */
type Pem = string | Buffer;

export interface TlsMaterial {
  /** CAs to trust, beside those of Node and of the system. */
  readonly ca?: Pem | undefined;
  /** Certificate to show, and its key without a pass phrase. */
  readonly cert?: Pem | undefined;
  readonly key?: Pem | undefined;
}

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
  const dispatcher = new Agent({ connect: { secureContext, rejectUnauthorized: true } });
  class Socket extends WebSocket {
    constructor(url: string | URL, protocols: string | string[] = []) {
      super(url, { protocols, dispatcher });
    }
  }
  // Undici's own types and those of the platform describe the same things.
  return {
    fetch: (input: string, init: RequestInit = {}) => fetch(input, { ...init, dispatcher }),
    WebSocket: Socket,
  } as unknown as Transport;
}
