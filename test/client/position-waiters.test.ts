import assert from 'node:assert/strict';
import test from 'node:test';
import {
  type Lineage,
  LostPositionError,
  PositionWaiters,
} from '../../src/client/mirror/position-waiters.ts';

const [A, B, C] = ['a', 'b', 'c'].map((digit) => digit.repeat(40)) as [string, string, string];
/** The node is at history B, which shares A up to byte 80. */
const LINEAGE: Lineage = [{ runId: A, validTo: 80 }];

/** What has become of a wait, when everything that could happen has. */
async function outcome(waiting: Promise<void>): Promise<'reached' | 'waiting' | 'lost'> {
  const later = new Promise<'waiting'>((resolve) => setImmediate(resolve, 'waiting'));
  return Promise.race([
    waiting.then(
      () => 'reached' as const,
      (error: unknown) => {
        assert.ok(error instanceof LostPositionError, String(error));
        return 'lost' as const;
      },
    ),
    later,
  ]);
}

type Case = readonly [name: string, at: string | null, wanted: string, 'reached' | 'waiting' | 'lost'];
const CASES: readonly Case[] = [
  ['nothing is there yet', null, `${A}:0`, 'waiting'],
  ['exactly there', `${A}:50`, `${A}:50`, 'reached'],
  ['past it', `${A}:51`, `${A}:50`, 'reached'],
  ['before it', `${A}:49`, `${A}:50`, 'waiting'],
  ['written before the promotion, on the shared part', `${B}:90`, `${A}:80`, 'reached'],
  ['written before the promotion, not here yet', `${B}:70`, `${A}:75`, 'waiting'],
  ['written to the old master after the two parted: 81 of 80 shared', `${B}:90`, `${A}:81`, 'lost'],
  ['written to a master that the node has not heard of', `${B}:90`, `${C}:20`, 'waiting'],
];

for (const [name, at, wanted, expected] of CASES) {
  test(`waiting for a position: ${name}`, async () => {
    const waiters = new PositionWaiters(async () => LINEAGE);
    if (at !== null) waiters.moved(at);
    const waiting = waiters.wait(wanted);
    assert.equal(await outcome(waiting), expected);
    if (expected !== 'waiting') return;
    waiters.rejectAll(new LostPositionError(wanted));
    assert.equal(await outcome(waiting), 'lost');
  });
}

test('a waiting call resolves when the mirror reaches the position, even across a promotion', async () => {
  const waiters = new PositionWaiters(async () => LINEAGE);
  const [first, second] = [waiters.wait(`${A}:60`), waiters.wait(`${A}:80`)];
  waiters.moved(`${A}:59`);
  assert.deepEqual([await outcome(first), await outcome(second)], ['waiting', 'waiting']);
  waiters.moved(`${A}:61`);
  assert.deepEqual([await outcome(first), await outcome(second)], ['reached', 'waiting']);
  waiters.moved(`${B}:79`);
  assert.equal(await outcome(second), 'waiting');
  waiters.moved(`${B}:80`);
  assert.equal(await outcome(second), 'reached');
});

test('a node that cannot be asked for its lineage is asked again when the mirror moves', async () => {
  let asked = 0;
  const waiters = new PositionWaiters(async () => {
    asked += 1;
    if (asked === 1) throw new Error('not now');
    return LINEAGE;
  });
  waiters.moved(`${B}:90`);
  const waiting = waiters.wait(`${A}:80`);
  assert.equal(await outcome(waiting), 'waiting');
  waiters.moved(`${B}:91`);
  assert.equal(await outcome(waiting), 'reached');
});

test('a signal ends the waiting with its reason', async () => {
  const waiters = new PositionWaiters(async () => LINEAGE);
  const abort = new AbortController();
  const waiting = waiters.wait(`${A}:1`, abort.signal);
  abort.abort(new Error('enough'));
  await assert.rejects(waiting, /enough/);
  await assert.rejects(waiters.wait(`${A}:1`, abort.signal), /enough/);
  await assert.rejects(waiters.wait('yesterday'), TypeError);
});
