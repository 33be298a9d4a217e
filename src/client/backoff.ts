/** What a follower waits at most before it tries again after a connection that was good. */
export const FIRST_RETRY_MS = 100;
/** What it waits at most before the second try; doubled with each round of the URLs that brings nothing. */
export const BASE_RETRY_MS = 500;
export const MAX_RETRY_MS = 10_000;

export interface RetryBounds {
  readonly baseMs: number;
  readonly maxMs: number;
}

/**
 * How long to wait before the next connection, in milliseconds. At once where it can be, because the backlog moves on
 * meanwhile; but scattered, so that a thousand pages of one node that comes back do not all arrive in the same moment.
 * @param failures how many connections in a row have brought nothing
 * @param urls how many nodes there are to try
 * @param random a number in [0, 1)
 */
export function retryDelayMs(failures: number, urls: number, random: number, bounds: RetryBounds): number {
  const ceiling = Math.min(bounds.maxMs, bounds.baseMs);
  // Each other node is tried before this one is waited for.
  if (failures < urls) return Math.round(Math.min(FIRST_RETRY_MS, ceiling) * random);
  const round = Math.floor(failures / urls) - 1;
  const most = Math.min(bounds.maxMs, bounds.baseMs * 2 ** Math.min(round, 16));
  return Math.round(most * (1 - random / 2));
}
