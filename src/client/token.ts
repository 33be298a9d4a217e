/** The token that a client shows to its node. */

/** The token itself, or a function that is asked anew for every request and every connection. */
export type Token = string | (() => string | Promise<string>);

/** @returns the token of now; undefined: there is none */
export async function tokenOf(token: Token | undefined): Promise<string | undefined> {
  return typeof token === 'function' ? token() : token;
}

/** The subprotocol that brings a token: pages cannot set headers of a WebSocket. */
export function tokenProtocol(token: string): string {
  return `bearer.${btoa(token).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '')}`;
}
