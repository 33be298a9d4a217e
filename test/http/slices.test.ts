import assert from 'node:assert/strict';
import test from 'node:test';
import { setImmediate as nextTick } from 'node:timers/promises';
import type { FastifyReply } from 'fastify';
import { AT_ONCE_BYTES, ClientLines, inSlices, Line, slices } from '../../src/http/request/slices.ts';
import type { Steps } from '../../src/keyspace/json/json.ts';

test('in each turn of the event loop one slice is done, however many requests have some', async () => {
  const done: number[] = [];
  const all = Promise.all(
    Array.from({ length: 5 }, (_, index) =>
      slices()
        .pass()
        .then(() => done.push(index)),
    ),
  );
  for (let ticks = 0; done.length < 5; ticks += 1) {
    assert.ok(done.length <= ticks);
    await nextTick();
  }
  await all;
  assert.deepEqual(done, [0, 1, 2, 3, 4]);
});

test('small work is done at once, and large work lets the event loop turn between its slices', async (t) => {
  let turns = 0;
  let counting = true;
  t.after(() => {
    counting = false;
  });
  const count = (): void => {
    turns += 1;
    if (counting) setImmediate(count);
  };
  setImmediate(count);
  function* busy(ms: number, isDone = () => false): Steps<string> {
    const end = performance.now() + ms;
    while (performance.now() < end && !isDone()) yield;
    return 'done';
  }
  assert.equal(await inSlices(AT_ONCE_BYTES, busy(50)), 'done');
  assert.ok(turns <= 1, `${turns}`);
  // Where other processes have the processors, a slice may last for long.
  assert.equal(
    await inSlices(
      AT_ONCE_BYTES + 1,
      busy(20_000, () => turns >= 3),
    ),
    'done',
  );
  assert.ok(turns >= 3, `${turns}`);
});

test('large values are handled one at a time, and not for a client that has disconnected', async () => {
  const line = new Line();
  const reply = (destroyed: boolean): FastifyReply =>
    ({ raw: { destroyed }, request: { standing: { mustGoOn: () => undefined } } }) as unknown as FastifyReply;
  const log: string[] = [];
  const work = (name: string, fails: boolean) => async () => {
    log.push(`${name} begins`);
    await nextTick();
    log.push(`${name} ends`);
    if (fails) throw new Error(name);
  };
  const results = await Promise.allSettled([
    line.run(reply(false), work('a', true)),
    line.run(reply(true), work('gone', false)),
    line.run(reply(false), work('b', false)),
  ]);
  assert.deepEqual(log, ['a begins', 'a ends', 'b begins', 'b ends']);
  assert.deepEqual(
    results.map(({ status }) => status),
    ['rejected', 'rejected', 'fulfilled'],
  );
});

test('large reads of one client wait for each other, and not for those of another client', async () => {
  const lines = new ClientLines();
  const log: string[] = [];
  const ends: (() => void)[] = [];
  const run = (client: string, name: string): Promise<void> => {
    const standing = { client, mustGoOn: () => undefined };
    const reply = { raw: { destroyed: false }, request: { standing } } as unknown as FastifyReply;
    return lines.run(reply, () => {
      log.push(name);
      return new Promise((resolve) => ends.push(resolve));
    });
  };
  const all = [run('a', 'a1'), run('a', 'a2'), run('a', 'a3'), run('b', 'b1')];
  assert.deepEqual(log, ['a1', 'b1']);
  all.push(run('c', 'c1'), run('d', 'd1'), run('e', 'e1'));
  assert.deepEqual(log, ['a1', 'b1', 'c1', 'd1']);
  for (let ended = 0; ended < all.length; ended += 1) {
    while (ends.length <= ended) await nextTick();
    ends[ended]?.();
    await nextTick();
  }
  await Promise.all(all);
  assert.deepEqual(log, ['a1', 'b1', 'c1', 'd1', 'a2', 'e1', 'a3']);
});

test('patches of large values are made one at a time, and clients take turns', async () => {
  const lines = new ClientLines(1);
  const log: string[] = [];
  let running = 0;
  const run = (client: string, name: string): Promise<void> => {
    const standing = { client, mustGoOn: () => undefined };
    const reply = { raw: { destroyed: false }, request: { standing } } as unknown as FastifyReply;
    return lines.run(reply, async () => {
      running += 1;
      assert.equal(running, 1);
      log.push(name);
      await nextTick();
      running -= 1;
    });
  };
  await Promise.all([run('a', 'a1'), run('a', 'a2'), run('a', 'a3'), run('a', 'a4'), run('b', 'b1')]);
  assert.deepEqual(log, ['a1', 'a2', 'b1', 'a3', 'a4']);
});
