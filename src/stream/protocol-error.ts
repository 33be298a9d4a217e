/** The peer sent bytes that are not RESP, or RESP beyond a limit. The node closes the connection. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
}
