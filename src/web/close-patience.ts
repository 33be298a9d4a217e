import { CloseCode } from '../replication/close-code.ts';

/** Somebody who has got what was asked for may still be taking the last of it: a value of 16 MiB, over a slow line. */
const DONE_MS = 30_000;
const LEFT_MS = 5_000;

/** How long a follower's connection may go on after its end was sent, in milliseconds; then it is dropped. */
export function closePatienceMs(code: CloseCode): number {
  return code === CloseCode.done ? DONE_MS : LEFT_MS;
}
