/** How long something has taken, for whoever tells it or holds it against a limit. */
import type { World } from './ports.ts';

/** @param at a moment of the world's monotonic clock @returns whole milliseconds since then */
export function msSince(world: Pick<World, 'monotonic'>, at: number): number {
  return Math.floor(world.monotonic() - at);
}
