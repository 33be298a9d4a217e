import { setTimeout as wait } from 'node:timers/promises';

const WITHIN_MS = 300_000;

/**
 * Asks repeatedly until there is an answer. It asks more often than `until`, because a measurement may take only some
 * milliseconds.
 * @param probe asks once; null, undefined or false: no answer yet
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
