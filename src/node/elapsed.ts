/** Durations in whole milliseconds, for reports and for limits. */
import type { World } from './ports/world.ts';

/** @param at a moment of the world's monotonic clock @returns whole milliseconds since then */
export function msSince(world: Pick<World, 'monotonic'>, at: number): number {
  return Math.floor(world.monotonic() - at);
}
