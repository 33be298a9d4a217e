/** A link that was up reconnects at once: waiting would only let the backlog move on (docs/design/redis-rules.md, R11). */
export const FIRST_RETRY_MS = 0;
export const BASE_RETRY_MS = 100;
export const MAX_RETRY_MS = 5_000;
/** Until somebody has upgraded one of two nodes. */
export const SCHEMA_RETRY_MS = 30_000;
export const BASE_DAMAGE_RETRY_MS = 1_000;
export const MAX_DAMAGE_RETRY_MS = 300_000;

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
  return jittered(ceiling, random);
}

/** The same, when the master can send no snapshot that this node understands. @param random a number in [0, 1) */
export function schemaRetryDelayMs(random: number): number {
  return jittered(SCHEMA_RETRY_MS, random);
}

/**
 * The same, after a snapshot that was received and is damaged: each costs the whole transfer. Doubles from 1 s to 5 min.
 * @param failures how many such snapshots have come one after the other, this one included
 * @param random a number in [0, 1)
 */
export function damageRetryDelayMs(failures: number, random: number): number {
  return jittered(
    Math.min(MAX_DAMAGE_RETRY_MS, BASE_DAMAGE_RETRY_MS * 2 ** Math.min(failures - 1, 16)),
    random,
  );
}

function jittered(ceilingMs: number, random: number): number {
  return Math.round(ceilingMs * (1 - random / 2));
}
