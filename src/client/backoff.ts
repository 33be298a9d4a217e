/** Longest wait before the first attempt after a good connection, and before the attempt at another node, in milliseconds. */
export const FIRST_RETRY_MS = 100;
/**
 * Longest wait before the second attempt, in milliseconds; it doubles with each round over all URLs that fails. Also the
 * longest wait, from the beginning of an attempt whose connection was good and soon broke, until the next one.
 */
export const BASE_RETRY_MS = 500;
export const MAX_RETRY_MS = 10_000;

interface Bounds {
  readonly retryBaseMs: number;
  readonly retryMaxMs: number;
}

/**
 * Returns the wait before the next connection, in milliseconds. It is short because the backlog moves on, and random so
 * that a thousand pages do not return to a restarted node at the same moment. It is at least half of the longest wait, so
 * a node gets at most four attempts a second (with the bounds above), also if all its connections break at once.
 * @param failures number of failed connections in a row
 * @param urls number of nodes to try
 * @param random a number in [0, 1)
 * @param lastedMs time since the last attempt began
 */
export function retryDelayMs(
  failures: number,
  urls: number,
  random: number,
  { retryBaseMs, retryMaxMs }: Bounds,
  lastedMs: number,
): number {
  const round = Math.max(0, Math.floor(failures / urls) - 1);
  const longest = Math.min(retryMaxMs, retryBaseMs * 2 ** round);
  // Tries each other node before waiting for this one.
  const first = failures < urls ? Math.min(FIRST_RETRY_MS, longest) : longest;
  const again = failures ? 0 : Math.min(BASE_RETRY_MS, longest);
  const part = 1 - random / 2;
  return Math.round(Math.max(first * part, again * part - lastedMs));
}
