/** The expiry cycle takes its share of the event loop, whatever a step costs. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { StreamHead } from '../../src/node/head/stream-head.ts';
import type { DueCursor } from '../../src/node/ports/keyspace.ts';
import { BACKGROUND_SHARE } from '../../src/node/turns.ts';
import { DUE_KEYS, ExpiryCycle } from '../../src/node/write/expiry-cycle.ts';
import type { WriteTurn } from '../../src/node/write/write-turn.ts';
import { FakeWorld } from '../support/feed-stage.ts';
import { SILENT } from '../support/silent-log.ts';

/** Its order is that of the numbers. */
function keyOf(number: number): string {
  return String(number).padStart(8, '0');
}

/** A cycle over keys that are all due; looking for a step's keys and deleting them take as long as the test says. */
class Stage {
  readonly world = new FakeWorld();
  readonly cycle: ExpiryCycle;
  workedMs = 0;
  deleted = 0;
  readonly #due: number;

  constructor(due: number, lookMs: number, turnMs: number) {
    this.#due = due;
    const work = (ms: number): void => {
      this.world.ms += ms;
      this.workedMs += ms;
    };
    const keysAfter = (after: DueCursor | null): number => (after === null ? 0 : Number(after.key) + 1);
    const head = {
      due: (_now: number, after: DueCursor | null, limit: number) => {
        work(lookMs);
        const first = keysAfter(after);
        const keys = Array.from({ length: Math.min(limit, this.#due - first) }, (_, index) =>
          keyOf(first + index),
        );
        const last = keys.at(-1);
        return { keys, cursor: last === undefined ? null : { expiresAt: 1, key: last } };
      },
      countDue: (_now: number, after: DueCursor | null, most: number) =>
        Math.min(most, this.#due - keysAfter(after)),
    };
    const writes = {
      lastTurnMs: turnMs,
      submit: async ({ keys }: { keys: readonly string[] }) => {
        work(turnMs);
        this.deleted += keys.length;
      },
    };
    this.cycle = new ExpiryCycle({
      world: this.world,
      log: SILENT,
      head: head as unknown as StreamHead,
      writes: writes as unknown as WriteTurn,
      isMaster: () => true,
    });
  }
}

for (const [lookMs, turnMs] of [
  [1, 2],
  [5, 40],
] as const) {
  test(`steps of ${lookMs + turnMs} ms take a quarter of the event loop while many entries are due`, async () => {
    const stage = new Stage(1_000_000, lookMs, turnMs);
    stage.cycle.start();
    await stage.world.pass(5_000);
    const share = stage.workedMs / 5_000;
    assert.ok(stage.deleted > 20 * DUE_KEYS, `${stage.deleted} were deleted`);
    assert.ok(share <= BACKGROUND_SHARE * 1.05, `the share is ${share}`);
    stage.cycle.stop();
  });
}

test('the expired backlog is the number of expired entries that are not deleted yet', async () => {
  const stage = new Stage(20 * DUE_KEYS, 1, 1);
  assert.equal(stage.cycle.backlog, 20 * DUE_KEYS);
  stage.cycle.start();
  await stage.world.pass(150);
  assert.ok(stage.deleted > 0 && stage.deleted < 20 * DUE_KEYS, `${stage.deleted} were deleted`);
  assert.equal(stage.cycle.backlog, 20 * DUE_KEYS - stage.deleted);
  await stage.world.pass(5_000);
  assert.equal(stage.cycle.backlog, 0);
  stage.cycle.stop();
});

test('the expired backlog stays correct after the wall clock was set forward by hours, and back', async () => {
  const world = new FakeWorld();
  let due = [world.ms + 4_000_000];
  const isDue = (now: number, after: DueCursor | null, at: number): boolean =>
    at <= now && (after === null || at > after.expiresAt);
  const head = {
    due: (now: number, after: DueCursor | null) => {
      const found = due.filter((at) => isDue(now, after, at));
      const last = found.at(-1);
      const cursor = last === undefined ? null : { expiresAt: last, key: keyOf(last) };
      return { keys: found.map(keyOf), cursor };
    },
    countDue: (now: number, after: DueCursor | null) => due.filter((at) => isDue(now, after, at)).length,
  };
  const writes = {
    lastTurnMs: 1,
    submit: async ({ keys }: { keys: readonly string[] }) => {
      due = due.filter((at) => !keys.includes(keyOf(at)));
    },
  };
  const cycle = new ExpiryCycle({
    world,
    log: SILENT,
    head: head as unknown as StreamHead,
    writes: writes as unknown as WriteTurn,
    isMaster: () => true,
  });
  cycle.start();
  world.skewMs = 5_000_000;
  await world.pass(1_000);
  assert.deepEqual(due, []);
  world.skewMs = 0;
  await world.pass(1_000);
  due = [world.ms - 1];
  assert.equal(cycle.backlog, 1);
  await world.pass(1_000);
  assert.deepEqual([due, cycle.backlog], [[], 0]);
  cycle.stop();
});
