/** Requests over TLS, with and without a certificate of the client. */
import { readFileSync } from 'node:fs';
import { request } from 'node:https';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import type { Pair } from './certificates.ts';

export interface Identity {
  /** Path of the CA that the client trusts. */
  readonly ca: string;
  readonly pair?: Pair | undefined;
  readonly token?: string | undefined;
}

export interface TlsAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

/** What Node's TLS client takes. */
export function tlsOptions({ ca, pair }: Identity): ConnectionOptions {
  return {
    ca: readFileSync(ca),
    ...(pair === undefined ? {} : { cert: readFileSync(pair.cert), key: readFileSync(pair.key) }),
  };
}

/** Sends one request on a connection of its own. */
export function tlsCall(
  url: string,
  identity: Identity,
  method = 'GET',
  body = '',
  headers: Readonly<Record<string, string>> = {},
): Promise<TlsAnswer> {
  const { token } = identity;
  return new Promise((resolve, reject) => {
    const sent = request(
      url,
      {
        ...tlsOptions(identity),
        agent: false,
        method,
        headers: {
          ...headers,
          ...(body === '' ? {} : { 'content-length': Buffer.byteLength(body) }),
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        },
      },
      (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => {
          text += chunk;
        });
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text }),
        );
        response.on('error', reject);
      },
    );
    sent.on('error', reject);
    sent.end(body);
  });
}

/**
 * Opens a connection, for requests as bytes.
 * @returns once the handshake is over @throws Error if there is none
 */
export function tlsConnected(
  port: number,
  options: ConnectionOptions & { readonly allowHalfOpen?: boolean },
): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, ...options }, () => resolve(socket));
    socket.once('error', reject);
  });
}
