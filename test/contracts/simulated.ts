/** One machine of the simulation without its node: a disk, and a process on an event loop that runs by itself. */
import type { TestContext } from 'node:test';
import { emptyDisk } from '../simulation/calm.ts';
import { Chance } from '../simulation/chance.ts';
import type { Disk } from '../simulation/disk.ts';
import { EventLoop, settled } from '../simulation/event-loop.ts';
import { Process } from '../simulation/process.ts';
import { runId } from '../support/arbitraries.ts';
import { seeded } from '../support/random.ts';

/** How far the event loop looks ahead at a time, in virtual milliseconds. */
const STEP_MS = 1_000;

export interface Simulated {
  readonly loop: EventLoop;
  readonly chance: Chance;
  readonly disk: Disk;
  readonly process: Process;
}

/** The loop runs until the test is over; what a callback throws fails the test. */
export function simulated(t: TestContext): Simulated {
  const { seed } = seeded();
  t.diagnostic(`PSYNCD_SEED=${seed}`);
  let failure: unknown = null;
  const loop = new EventLoop((error) => {
    failure ??= error;
  });
  const chance = new Chance(seed);
  const process = new Process(
    loop,
    chance,
    () => 0,
    () => undefined,
  );
  let isOver = false;
  const run = async (): Promise<void> => {
    while (!isOver) if (!(await loop.step(loop.now + STEP_MS))) await settled();
  };
  const ran = run();
  t.after(async () => {
    isOver = true;
    await ran;
    if (failure !== null) throw failure;
  });
  return { loop, chance, disk: emptyDisk(runId('a')), process };
}
