import { setTimeout as wait } from 'node:timers/promises';

const POLL_MS = 20;

/**
 * Calls `probe` repeatedly until it returns an answer.
 * @param what named in the message when time is up
 * @param probe null, undefined or false: not yet
 * @throws Error when there is no answer after `timeoutMs`; its cause is the probe's last error, if it threw
 */
export async function until<T>(
  what: string,
  probe: () => Promise<T | null | undefined | false> | T | null | undefined | false,
  timeoutMs = 30_000,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  let cause: unknown;
  while (performance.now() < deadline) {
    try {
      const answer = await probe();
      if (answer !== null && answer !== undefined && answer !== false) return answer;
      cause = undefined;
    } catch (error) {
      cause = error;
    }
    await wait(POLL_MS);
  }
  throw new Error(`${what}: not within ${timeoutMs} ms`, { cause });
}
