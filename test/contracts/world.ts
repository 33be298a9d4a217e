/** What `World` promises, for the process itself, for the simulation and for tests that move the time by hand. */
import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { until } from '../../src/cli/until.ts';
import type { World } from '../../src/node/ports/world.ts';
import { parseRunId } from '../../src/replication/position.ts';

export interface WorldPlace {
  readonly world: World;
  /** Lets some time pass, if it does not by itself. */
  advance(): Promise<void>;
}

export function describeWorld(name: string, make: (t: TestContext) => WorldPlace): void {
  const promise = (
    what: string,
    check: (world: World, happens: (what: string, probe: () => boolean) => Promise<void>) => Promise<void>,
  ): void => {
    test(`${name}: ${what}`, async (t) => {
      const { world, advance } = make(t);
      await check(world, async (event, probe) => {
        await until(event, async () => {
          await advance();
          return probe();
        });
      });
    });
  };

  promise(
    'timers run once, never at once, and the one that is due first runs first',
    async (world, happens) => {
      const order: string[] = [];
      world.after(40, () => order.push('late'));
      world.after(5, () => order.push('early'));
      world.after(20, () => order.push('between'));
      assert.equal(order.length, 0);
      await happens('all timers have run', () => order.includes('late'));
      assert.deepEqual(order, ['early', 'between', 'late']);
    },
  );

  promise(
    'a cancelled timer does not run; cancelling twice or too late does nothing',
    async (world, happens) => {
      const ran: string[] = [];
      const cancel = world.after(5, () => ran.push('cancelled'));
      const tooLate = world.after(5, () => ran.push('kept'));
      cancel();
      cancel();
      world.after(10, () => ran.push('last'));
      await happens('the last timer has run', () => ran.includes('last'));
      tooLate();
      assert.deepEqual(ran, ['kept', 'last']);
    },
  );

  promise(
    '`soon` runs callbacks in order, after the pending promises, and never at once',
    async (world, happens) => {
      const order: string[] = [];
      world.soon(() => {
        order.push('first');
        world.soon(() => order.push('next turn'));
      });
      world.soon(() => order.push('second'));
      const settled = Promise.resolve().then(() => order.push('promise'));
      assert.equal(order.length, 0);
      await settled;
      await happens('the last callback has run', () => order.includes('next turn'));
      assert.deepEqual(order, ['promise', 'first', 'second', 'next turn']);
    },
  );

  promise('the monotonic clock never goes back, and moves while timers run', async (world, happens) => {
    const readings = [world.monotonic()];
    for (let timer = 0; timer < 5; timer += 1) {
      world.after(timer * 3, () => readings.push(world.monotonic()));
    }
    await happens('all timers have run', () => readings.length === 6);
    assert.deepEqual(
      readings,
      readings.toSorted((one, other) => one - other),
    );
    assert.ok(Number(readings.at(-1)) > Number(readings[0]));
  });

  promise('chance is below 1, and no two run IDs are equal', async (world) => {
    const ids = new Set<string>();
    for (let draw = 0; draw < 100; draw += 1) {
      const chance = world.random();
      assert.ok(chance >= 0 && chance < 1);
      const id = world.newRunId();
      assert.equal(parseRunId(id), id);
      ids.add(id);
    }
    assert.equal(ids.size, 100);
  });
}
