/** Longest wait before the first attempt after a good connection, in milliseconds. */
export const FIRST_RETRY_MS = 100;
/** Longest wait before the second attempt, in milliseconds; it doubles with each round over all URLs that fails. */
export const BASE_RETRY_MS = 500;
export const MAX_RETRY_MS = 10_000;

export interface RetryBounds {
  readonly baseMs: number;
  readonly maxMs: number;
}

/**
 * Returns the wait before the next connection, in milliseconds. It is short because the backlog moves on, and random so
 * that a thousand pages do not return to a restarted node at the same moment.
 * @param failures number of failed connections in a row
 * @param urls number of nodes to try
 * @param random a number in [0, 1)
 */
export function retryDelayMs(failures: number, urls: number, random: number, bounds: RetryBounds): number {
  // Tries each other node before waiting for this one.
  if (failures < urls) return Math.round(Math.min(FIRST_RETRY_MS, bounds.maxMs, bounds.baseMs) * random);
  const round = Math.floor(failures / urls) - 1;
  return Math.round(Math.min(bounds.maxMs, bounds.baseMs * 2 ** round) * (1 - random / 2));
}
