/** The process and its fakes keep the same promises. */
import { systemWorld } from '../../src/runtime/system-world.ts';
import { FakeWorld } from '../support/feed-stage.ts';
import { simulated } from './simulated.ts';
import { describeWorld } from './world.ts';

const PASS_MS = 10;

describeWorld('the process', () => ({ world: systemWorld, advance: async () => undefined }));

describeWorld('a process of the simulation', (t) => {
  return { world: simulated(t).process, advance: async () => undefined };
});

describeWorld('the world that tests move by hand', () => {
  const world = new FakeWorld();
  return {
    world,
    advance: async () => {
      await world.turn();
      await world.pass(PASS_MS);
    },
  };
});
