/**
 * The peer sent bytes that are not RESP, or RESP beyond a limit. The node closes the connection. The message says what is wrong and
 * quotes none of the bytes, which may be keys and values: others see it in the status of a replica, and it stands in logs.
 */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
}
