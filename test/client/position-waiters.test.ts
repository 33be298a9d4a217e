import assert from 'node:assert/strict';
import test, { mock, type TestContext } from 'node:test';
import {
  checkedLineage,
  type Lineage,
  LostPositionError,
  PositionWaiters,
} from '../../src/client/mirror/position-waiters.ts';

const [A, B, C] = ['a', 'b', 'c'].map((digit) => digit.repeat(40)) as [string, string, string];
/** The node is at history B, which shares A up to byte 80. */
const LINEAGE: Lineage = new Map([[A, 80]]);

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

/** Lets the time of the waits be in the hands of the test. */
function fakeTime(t: TestContext): void {
  mock.timers.enable({ apis: ['setTimeout'] });
  t.after(() => mock.timers.reset());
}

/** Lets time pass until the wait is over. */
async function over(waiting: Promise<void>): Promise<void> {
  for (let seconds = 0; seconds < 60 && (await outcome(waiting)) === 'waiting'; seconds += 1) {
    mock.timers.tick(1_000);
  }
  assert.equal(await outcome(waiting), 'reached');
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
    waiters.end(new LostPositionError(wanted));
    assert.equal(await outcome(waiting), 'lost');
    assert.equal(await outcome(waiters.wait(wanted)), 'lost');
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

test('a node that does not say its lineage, or not in time, is asked again, even if the mirror stands still', async (t) => {
  fakeTime(t);
  const answers: ((signal: AbortSignal) => Promise<Lineage>)[] = [
    () => Promise.reject(new Error('not now')),
    // It never answers: only the signal ends it.
    (signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
    async () => LINEAGE,
  ];
  let asked = 0;
  const waiters = new PositionWaiters(async (_runId, signal) => {
    asked += 1;
    return (answers[asked - 1] ?? assert.fail('asked too often'))(signal);
  });
  waiters.moved(`${B}:90`);
  await over(waiters.wait(`${A}:80`));
  assert.equal(asked, 3);
});

test('a question that never ends and heeds no signal is asked again after its time', async (t) => {
  fakeTime(t);
  let asked = 0;
  const lineageOf = async (): Promise<Lineage> => {
    asked += 1;
    return asked === 1 ? new Promise(() => undefined) : LINEAGE;
  };
  const waiters = new PositionWaiters(lineageOf);
  waiters.moved(`${B}:90`);
  await over(waiters.wait(`${A}:80`));
  assert.equal(asked, 2);
});

test('a node that refuses to say its lineage is not asked at each move', async () => {
  let asked = 0;
  const waiters = new PositionWaiters(async () => {
    asked += 1;
    throw new Error('not now');
  });
  const waiting = waiters.wait(`${A}:80`);
  for (let offset = 1; offset < 100; offset += 1) {
    waiters.moved(`${B}:${offset}`);
    assert.equal(await outcome(waiting), 'waiting');
  }
  assert.equal(asked, 1);
  waiters.end(new LostPositionError(`${A}:80`));
});

test('the end of the mirror ends the question', async () => {
  const ended = Promise.withResolvers<unknown>();
  const waiters = new PositionWaiters((_runId, signal) => {
    signal.addEventListener('abort', () => ended.resolve(signal.reason));
    return new Promise(() => undefined);
  });
  waiters.moved(`${B}:90`);
  const waiting = waiters.wait(`${A}:80`);
  const error = new Error('over');
  waiters.end(error);
  await assert.rejects(waiting, error);
  assert.equal(await ended.promise, error);
});

test('a lineage is checked', () => {
  const lineage = [{ runId: A, validTo: 80, reason: 'promoted' }];
  assert.deepEqual(checkedLineage({ runId: B, lineage }, B), LINEAGE);
  for (const runId of [A, C, '', undefined, 1])
    assert.throws(() => checkedLineage({ runId, lineage }, B), TypeError);
  for (const wrong of [
    undefined,
    null,
    {},
    [null],
    [{}],
    [{ runId: A }],
    [{ runId: 1, validTo: 1 }],
    [{ runId: A, validTo: '1' }],
    [{ runId: A, validTo: -1 }],
  ]) {
    assert.throws(() => checkedLineage({ runId: B, lineage: wrong }, B), TypeError);
  }
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

test('a node that changes its run ID with every answer is asked again only after a pause', async (t) => {
  fakeTime(t);
  let asked = 0;
  const change = (): void => {
    asked += 1;
    waiters.moved(`${String(asked).padStart(40, '0')}:5`);
  };
  const waiters: PositionWaiters = new PositionWaiters(async () => {
    change();
    return LINEAGE;
  });
  waiters.moved(`${'b'.repeat(40)}:5`);
  const waiting = waiters.wait(`${'c'.repeat(40)}:5`);
  for (let turn = 0; turn < 100; turn += 1) await new Promise(setImmediate);
  assert.equal(asked, 1);
  waiters.end(new Error('closed'));
  await assert.rejects(waiting, /closed/);
});
