/** WebSocket close codes of `psync.v1`: 4000 plus the HTTP status that says the same. */
export const CloseCode = {
  goingAway: 1001,
  protocolError: 4400,
  timedOut: 4408,
  historyChanged: 4409,
  tooFarBehind: 4413,
  tooMany: 4429,
  notReady: 4503,
} as const;
export type CloseCode = (typeof CloseCode)[keyof typeof CloseCode];
