/** The clocks, the chance and the event loop of this process. */
import { randomBytes } from 'node:crypto';
import type { World } from '../node/ports/world.ts';
import type { RunId } from '../replication/position.ts';
import { EVENT_LOOP } from './event-loop.ts';

export const systemWorld: World = {
  ...EVENT_LOOP,
  now: () => Date.now(),
  random: () => Math.random(),
  newRunId: () => randomBytes(20).toString('hex') as RunId,
};
