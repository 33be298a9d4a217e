import { setTimeout as wait } from 'node:timers/promises';

const WITHIN_MS = 300_000;

/**
 * Asks again and again until there is an answer: more often than `until`, because what is timed may take only some
 * milliseconds.
 * @param probe null, undefined or false: not yet
 */
export async function polled<T>(
  everyMs: number,
  probe: () => Promise<T | null | undefined | false>,
): Promise<T> {
  const deadline = performance.now() + WITHIN_MS;
  for (;;) {
    const answer = await probe();
    if (answer !== null && answer !== undefined && answer !== false) return answer;
    if (performance.now() > deadline) throw new Error(`not within ${WITHIN_MS} ms`);
    await wait(everyMs);
  }
}
