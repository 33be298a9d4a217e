/** What a client offers when it opens a WebSocket: subprotocols, and a token among them. */
import type { IncomingMessage } from 'node:http';

/** Begins the subprotocol that brings a token. */
const BEARER = 'bearer.';

/** The subprotocols that the client offers. */
export function offeredBy({ headers }: IncomingMessage): readonly string[] {
  return (headers['sec-websocket-protocol'] ?? '').split(',').map((name) => name.trim());
}

/**
 * Finds the token in the subprotocols: `bearer.` and the token in base64url. Pages cannot set headers of a WebSocket.
 * @returns null: there is none; empty: it is not base64url
 */
export function offeredToken(request: IncomingMessage): string | null {
  const offered = offeredBy(request).find((name) => name.startsWith(BEARER));
  if (offered === undefined) return null;
  return Buffer.from(offered.slice(BEARER.length), 'base64url').toString('latin1');
}

/** @returns the `Authorization` header, or what it would be with the token in the subprotocols */
export function authorizationOf(request: IncomingMessage): string | undefined {
  const { authorization } = request.headers;
  if (authorization !== undefined) return authorization;
  const token = offeredToken(request);
  return token === null ? undefined : `Bearer ${token}`;
}
