/** The peer sent bytes that are not RESP, or RESP beyond a limit. The connection that brought them is closed. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
}
