/** WebSocket close codes of both subprotocols: RFC 6455's, and 4000 plus the HTTP status that says the same. */
export const CloseCode = {
  /** A follower has got what it asked for. */
  done: 1000,
  goingAway: 1001,
  protocolError: 4400,
  forbidden: 4403,
  timedOut: 4408,
  historyChanged: 4409,
  tooFarBehind: 4413,
  /** A replica refuses the snapshot: it arrived as it was sent, and is damaged. */
  damagedSnapshot: 4422,
  tooMany: 4429,
  notReady: 4503,
} as const;
export type CloseCode = (typeof CloseCode)[keyof typeof CloseCode];
