/**
 * Wait after a link that was up, in milliseconds: none, because the backlog moves on meanwhile
 * (docs/design/redis-rules.md, R11).
 */
export const FIRST_RETRY_MS = 0;
export const BASE_RETRY_MS = 100;
export const MAX_RETRY_MS = 5_000;
/** Wait between attempts when the nodes' schemas do not match, until a user upgrades one node, in milliseconds. */
export const SCHEMA_RETRY_MS = 30_000;
export const BASE_DAMAGE_RETRY_MS = 1_000;
export const MAX_DAMAGE_RETRY_MS = 300_000;

/**
 * Returns the wait before a replica dials its master again, in milliseconds. It doubles from 100 ms to 5 s; jitter
 * removes up to half, so that a hundred replicas of a restarted master do not all arrive at the same moment.
 * @param failures failed attempts since the link was last up
 * @param random a number in [0, 1)
 */
export function retryDelayMs(failures: number, random: number): number {
  if (failures === 0) return FIRST_RETRY_MS;
  const ceiling = Math.min(MAX_RETRY_MS, BASE_RETRY_MS * 2 ** Math.min(failures - 1, 16));
  return jittered(ceiling, random);
}

/**
 * Returns the wait, in milliseconds, when the master's snapshots have a schema that this node does not know.
 * @param random a number in [0, 1)
 */
export function schemaRetryDelayMs(random: number): number {
  return jittered(SCHEMA_RETRY_MS, random);
}

/**
 * Returns the wait, in milliseconds, after a damaged snapshot, because each costs the whole transfer. It doubles from 1
 * s to 5 min.
 * @param failures damaged snapshots in a row, including this one
 * @param random a number in [0, 1)
 */
export function damageRetryDelayMs(failures: number, random: number): number {
  return jittered(
    Math.min(MAX_DAMAGE_RETRY_MS, BASE_DAMAGE_RETRY_MS * 2 ** Math.min(failures - 1, 16)),
    random,
  );
}

/**
 * Returns the wait, in milliseconds, before a replica asks a master again whose empty keyspace it has refused: the master may be
 * repaired meanwhile. Each answer costs a snapshot. The wait doubles from half of the time-out of links to ten times of it.
 * @param refusals refused snapshots in a row, including this one
 * @param timeoutMs time-out of links, in milliseconds
 * @param random a number in [0, 1)
 */
export function guardRetryDelayMs(refusals: number, timeoutMs: number, random: number): number {
  return jittered(Math.min(10 * timeoutMs, (timeoutMs / 2) * 2 ** Math.min(refusals - 1, 16)), random);
}

function jittered(ceilingMs: number, random: number): number {
  return Math.round(ceilingMs * (1 - random / 2));
}
