/** A link that was up reconnects at once: waiting would only let the backlog move on (psync-rules.md, 61). */
export const FIRST_RETRY_MS = 0;
export const BASE_RETRY_MS = 100;
export const MAX_RETRY_MS = 5_000;

/**
 * How long a replica waits before it dials its master again, in milliseconds.
 * Doubles from 100 ms to 5 s; jitter takes up to half away, so that a hundred replicas of one master that comes
 * back do not all arrive in the same moment.
 * @param failures how many attempts have failed since the link was last up
 * @param random a number in [0, 1)
 */
export function retryDelayMs(failures: number, random: number): number {
  if (failures === 0) return FIRST_RETRY_MS;
  const ceiling = Math.min(MAX_RETRY_MS, BASE_RETRY_MS * 2 ** Math.min(failures - 1, 16));
  return Math.round(ceiling * (1 - random / 2));
}
