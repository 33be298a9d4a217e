/**
 * WebSocket close codes of both subprotocols: those of RFC 6455, and 4000 plus the HTTP status with the same meaning.
 */
export const CloseCode = {
  /** The follower has received everything it asked for. */
  done: 1000,
  goingAway: 1001,
  /** Never sent: there is no connection, because its TLS handshake failed (RFC 6455, 7.4.1). */
  tlsFailed: 1015,
  protocolError: 4400,
  /** The token is unknown, revoked or expired, or there is none. */
  unauthorized: 4401,
  forbidden: 4403,
  timedOut: 4408,
  historyChanged: 4409,
  tooFarBehind: 4413,
  /** The replica refuses the snapshot: the data was damaged before the master sent it. */
  damagedSnapshot: 4422,
  tooMany: 4429,
  notReady: 4503,
} as const;
export type CloseCode = (typeof CloseCode)[keyof typeof CloseCode];
export type CloseName = keyof typeof CloseCode;

const NAMES: ReadonlyMap<CloseCode, CloseName> = new Map(
  Object.entries(CloseCode).map(([name, code]) => [code, name as CloseName]),
);

export function closeNameOf(code: CloseCode): CloseName {
  // The map has every code of the table.
  return NAMES.get(code) as CloseName;
}
