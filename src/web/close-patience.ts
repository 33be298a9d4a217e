import { CloseCode } from '../replication/close-code.ts';

/**
 * Time for a client to receive the rest of a complete answer, in milliseconds: it may be a value of 16 MiB over a slow
 * line.
 */
const DONE_MS = 30_000;
const LEFT_MS = 5_000;

/** Time from sending the end of a feed until the server drops the connection, in milliseconds. */
export function closePatienceMs(code: CloseCode): number {
  return code === CloseCode.done ? DONE_MS : LEFT_MS;
}
