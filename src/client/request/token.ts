/** The token that a client shows to its node, and what it calls the node with. */

import type { Fetch, SocketClass } from '../platform.ts';

/** `fetch` and `WebSocket` in the place of those of the platform. In Node, `psyncd/client/node` makes one with certificates. */
export interface Transport {
  readonly fetch: Fetch;
  readonly WebSocket: SocketClass;
}

/** The token itself, or a function that is asked anew for every request and every connection. */
export type Token = string | (() => string | Promise<string>);

/**
 * @returns the token of now; undefined: there is none
 * @throws what the function throws; TypeError for text that cannot be a token, such as the page of a gateway
 */
export async function tokenOf(token: Token | undefined): Promise<string | undefined> {
  const shown = typeof token === 'function' ? await token() : token;
  // `fetch` would name the token in its error.
  if (/[^!-~]/.test(shown as string)) throw new TypeError('the token cannot be sent');
  return shown;
}

/** The subprotocol that brings a token: pages cannot set headers of a WebSocket. */
export function tokenProtocol(token: string): string {
  return `bearer.${btoa(token).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')}`;
}
