/** Entries that expire: they vanish at their time, with one event, whatever the node says and whenever. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { until } from '../../src/cli/until.ts';
import type { FeedChange, FeedEvent } from '../../src/client/event.ts';
import { alarm } from '../../src/client/mirror/alarm.ts';
import { type Change, Copy } from '../../src/client/mirror/copy.ts';
import { ExpiryQueue } from '../../src/client/mirror/expiry-queue.ts';
import type { MirrorEvents } from '../../src/client/mirror/mirror-events.ts';
import { View } from '../../src/client/mirror/view.ts';
import { FeedModel, set } from '../support/feed-model.ts';
import { scriptedFeed } from '../support/scripted-feed.ts';
import { contents, honest, open } from '../support/scripted-mirror.ts';

test('an entry that expires is a change at its time, even if the node is away, and its deletion is none', async (t) => {
  let now = Date.now();
  t.mock.method(Date, 'now', () => now);
  const history = new FeedModel();
  history.set('stays', '1');
  history.set('short', '2', now + 50);
  history.set('long', '3', now + 1e12);
  const feed = await honest(t, history);
  const told: MirrorEvents['change'][] = [];
  const copy = open(t, { url: feed.url, retryBaseMs: 1e6, retryMaxMs: 1e6 });
  await copy.ready;
  const entry = copy.getEntry('short');
  const before = copy.snapshot();
  const gone = new Promise<void>((resolve) => copy.subscribe(resolve, { key: 'short' }));
  copy.on('change', (event) => told.push(event));
  for (const socket of feed.sockets) socket.terminate();
  now += 50;
  await gone;
  assert.deepEqual(told, [
    { position: history.position, changes: [{ key: 'short', entry: null, before: entry }] },
  ]);
  assert.deepEqual([copy.has('short'), copy.size, before.length, copy.snapshot().length], [false, 2, 3, 2]);
  assert.deepEqual(contents(copy), { stays: '1', long: '3' });
});

function copied(...changes: readonly FeedChange[]): Copy {
  const model = new FeedModel();
  if (changes.length > 0) model.write(...changes);
  const copy = new Copy();
  for (const event of model.snapshot('first-sync')) copy.take(event);
  return copy;
}

/** Applies changes at this time. @returns the keys whose shown state has changed, with the shown values */
function take(copy: Copy, view: View, now: number, ...changes: readonly FeedChange[]): unknown[] {
  const event: FeedEvent = { type: 'batch', changes, position: `${'a'.repeat(40)}:${now}` };
  return copy
    .take(event)
    .flatMap((effect) => (effect.kind === 'changed' ? view.changed(effect.changes, now) : []))
    .map(told);
}

function told({ key, before, entry }: Change): unknown {
  return [key, before?.value, entry?.value];
}

test('an expired entry that is written again or whose time is moved is there again', () => {
  const copy = copied(set('a', '1', 1, 10), set('b', '2', 2, 20), set('c', '3', 3, 30));
  const view = new View(copy, 5);
  assert.deepEqual(view.expire(9), []);
  assert.equal(view.nextExpiry, 10);
  assert.deepEqual(view.expire(20).map(told), [
    ['a', '1', undefined],
    ['b', '2', undefined],
  ]);
  assert.deepEqual(take(copy, view, 21, { type: 'delete', key: 'a' }), []);
  assert.deepEqual(take(copy, view, 22, { type: 'expiry', key: 'b', expiresAt: 40 }), [
    ['b', undefined, '2'],
  ]);
  assert.deepEqual(take(copy, view, 23, { type: 'expiry', key: 'c', expiresAt: null }), [['c', '3', '3']]);
  assert.deepEqual(take(copy, view, 24, set('d', '4', 4, 23)), []);
  assert.deepEqual(view.expire(39), []);
  assert.deepEqual(view.expire(40).map(told), [['b', '2', undefined]]);
  assert.deepEqual(
    [view.nextExpiry, view.snapshot(40).map(({ key }) => key)],
    [Number.POSITIVE_INFINITY, ['c']],
  );
});

test('a clock that is ahead for a moment hides entries for that moment only', () => {
  const copy = copied(set('a', '1', 1, 10), set('b', '2', 2, 20), set('c', '3', 3));
  const view = new View(copy, 5);
  const all = view.snapshot(5);
  assert.deepEqual(view.snapshot(30).length, 1);
  assert.equal(view.expire(30).length, 2);
  assert.deepEqual([view.get('b', 30), view.nextExpiry], [undefined, Number.POSITIVE_INFINITY]);
  assert.deepEqual([view.get('b', 12)?.value, view.snapshot(12).length, view.snapshot(9)], ['2', 2, all]);
  assert.deepEqual(view.expire(12).map(told), [['b', undefined, '2']]);
  assert.equal(view.nextExpiry, 20);
  assert.deepEqual(take(copy, view, 13, { type: 'delete', key: 'b' }), [['b', '2', undefined]]);
  assert.deepEqual(view.expire(9).map(told), [['a', undefined, '1']]);
  assert.deepEqual(view.expire(10).map(told), [['a', '1', undefined]]);
  const late = new View(copy, 100);
  assert.deepEqual(late.expire(1).map(told), [['a', undefined, '1']]);
});

test('a mirror tells that an entry is there again when the clock was ahead as the copy came', async (t) => {
  const real = Date.now();
  let now = real + 7_200_000;
  t.mock.method(Date, 'now', () => now);
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const history = new FeedModel();
  history.set('session', '1', real + 3_600_000);
  const feed = await honest(t, history);
  const copy = open(t, { url: feed.url });
  await copy.ready;
  assert.deepEqual([copy.has('session'), copy.size], [false, 0]);
  const told: unknown[] = [];
  copy.subscribe(() => told.push(copy.get('session')), { key: 'session' });
  now = real;
  assert.deepEqual([copy.get('session'), copy.size], ['1', 1]);
  t.mock.timers.tick(60_000);
  assert.deepEqual(told, ['1']);
});

test('a clock that is set back a little brings no entry back, and the others expire once, at their time', async (t) => {
  const real = Date.now();
  let now = real;
  t.mock.method(Date, 'now', () => now);
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const history = new FeedModel();
  history.set('first', '1', real + 1_000);
  history.set('second', '2', real + 5_000);
  const feed = await honest(t, history);
  const copy = open(t, { url: feed.url });
  await copy.ready;
  const changes: unknown[] = [];
  copy.on('change', (event) => changes.push(...event.changes.map(told)));
  now = real + 1_000;
  t.mock.timers.tick(1_000);
  assert.deepEqual(changes.splice(0), [['first', '1', undefined]]);
  for (const back of [1, 900, 30_000]) {
    now = real + 1_000 - back;
    feed.send(history.set('other', `${back}`));
    await copy.waitFor(history.position);
    t.mock.timers.tick(60_000);
    assert.deepEqual([copy.has('first'), copy.get('second'), copy.size], [false, '2', 2]);
  }
  assert.deepEqual(
    changes.splice(0).filter((change) => (change as unknown[])[0] !== 'other'),
    [],
  );
  now = real + 4_999;
  t.mock.timers.tick(60_000);
  assert.deepEqual([copy.has('second'), changes], [true, []]);
  now = real + 5_000;
  t.mock.timers.tick(10_000);
  assert.deepEqual([copy.has('second'), changes], [false, [['second', '2', undefined]]]);
});

test('a snapshot is right at each moment, also between the expiry of an entry and its event', () => {
  const view = new View(copied(set('a', '1', 1, 10), set('b', '2', 2, 20)), 5);
  const both = view.snapshot(9);
  assert.equal(view.snapshot(9), both);
  const one = view.snapshot(10);
  assert.deepEqual(
    one.map(({ key }) => key),
    ['b'],
  );
  assert.equal(view.snapshot(19), one);
});

test('a snapshot has an entry that came while the clock was ahead, as soon as the clock is set right', () => {
  const copy = copied(set('a', '1', 1));
  const view = new View(copy, 5);
  assert.equal(view.snapshot(100).length, 1);
  assert.deepEqual(take(copy, view, 100, set('b', '2', 2, 50)), []);
  const ahead = view.snapshot(100);
  assert.deepEqual([ahead.length, view.snapshot(50) === ahead], [1, true]);
  const right = view.snapshot(49);
  assert.deepEqual([view.get('b', 49)?.value, right.length, view.snapshot(10) === right], ['2', 2, true]);
});

test('an alarm at a time that is over rings at once', (t) => {
  const set = t.mock.method(globalThis, 'setTimeout');
  let rings = 0;
  const ring = alarm(() => {
    rings += 1;
  });
  ring(Date.now() - 1_000);
  // Node complains of a negative time.
  assert.deepEqual([set.mock.calls.map(({ arguments: [, ms] }) => ms), rings], [[0], 0]);
  ring();
});

test('entries of a mirror that has failed still expire with an event, until it is closed', async (t) => {
  let now = Date.now();
  t.mock.method(Date, 'now', () => now);
  const history = new FeedModel();
  history.set('young', '1', now + 500);
  history.set('old', '2', 8e15);
  const feed = await scriptedFeed(t, (index) => (index === 0 ? [...history.from(undefined), 4403] : [4403]));
  const copy = open(t, { url: feed.url });
  const gone: string[] = [];
  copy.on('change', ({ changes }) => {
    for (const { key, entry } of changes) if (entry === null) gone.push(key);
  });
  await until('the mirror has failed', () => copy.state.kind === 'failed');
  assert.deepEqual([copy.size, gone], [2, []]);
  now += 1_000;
  await until('it is told', () => gone.length > 0);
  assert.deepEqual([copy.size, gone], [1, ['young']]);
});

test('many entries that expire together are hidden in several steps', () => {
  const changes = Array.from({ length: 5_000 }, (_, index) => set(`k${index}`, 'v', index + 1, 10));
  const view = new View(copied(...changes), 5);
  const steps: number[] = [];
  while (view.nextExpiry === 10) steps.push(view.expire(10).length);
  assert.deepEqual([steps.length > 1, steps.reduce((sum, step) => sum + step, 0)], [true, 5_000]);
  assert.deepEqual(view.snapshot(10), []);
});

test('many entries that a clock brings back are shown in several steps, and those that have expired are not', () => {
  const changes = Array.from({ length: 6_000 }, (_, index) =>
    set(`k${index}`, 'v', index + 1, index % 6 ? 10 : 4),
  );
  const view = new View(copied(...changes), 20);
  const steps: number[] = [];
  do steps.push(view.expire(5).length);
  while (view.nextExpiry <= 5);
  assert.deepEqual(
    steps.filter((step) => step > 0),
    [2_000, 2_000, 1_000],
  );
  assert.deepEqual([view.snapshot(5).length, view.nextExpiry, view.expire(5)], [5_000, 10, []]);
  assert.equal(view.expire(3).length, 1_000);
});

test('an entry whose time is moved again and again does not fill the memory with old times', (t) => {
  const { mock } = t.mock.method(ExpiryQueue.prototype, 'add');
  const copy = copied(set('a', '1', 1, 1e9));
  const view = new View(copy, 0);
  for (let index = 0; index < 20_000; index += 1) {
    take(copy, view, 1, { type: 'expiry', key: 'a', expiresAt: 1e9 - index });
  }
  const queue = mock.calls.at(-1)?.this as ExpiryQueue;
  assert.ok(queue.length < 2_000, `${queue.length}`);
  assert.deepEqual(view.expire(1e9).map(told), [['a', '1', undefined]]);
});

test('the told changes lead to what is shown, in any order of writes, expiries and looks, whatever the clock does', () => {
  const key = fc.constantFrom('a', 'b', 'c');
  const at = fc.option(fc.nat({ max: 30 }));
  const change: fc.Arbitrary<FeedChange> = fc.oneof(
    fc.tuple(key, at).map(([each, expiresAt]) => set(each, `${each} ${expiresAt}`, 1, expiresAt)),
    key.map((each) => ({ type: 'delete', key: each }) as const),
    fc.tuple(key, at).map(([each, expiresAt]) => ({ type: 'expiry', key: each, expiresAt }) as const),
    fc.constant({ type: 'flush' } as const),
  );
  const step = fc.record({
    changes: fc.array(change, { maxLength: 3 }),
    pause: fc.integer({ min: -9, max: 9 }),
    expires: fc.boolean(),
  });
  const property = fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
    const copy = copied();
    const view = new View(copy, 0);
    const known = new Map<string, unknown>();
    let now = 0;
    let at = 0;
    const learn = (changes: readonly Change[]): void => {
      for (const { key: each, entry, before } of changes) {
        assert.equal(known.get(each), before ?? undefined);
        if (entry === null) known.delete(each);
        else known.set(each, entry);
      }
    };
    for (const { changes, pause, expires } of steps) {
      now += pause;
      at += 1;
      const event: FeedEvent = { type: 'batch', changes, position: `${'a'.repeat(40)}:${at}` };
      for (const effect of copy.take(event))
        if (effect.kind === 'changed') learn(view.changed(effect.changes, now));
      if (!expires) continue;
      learn(view.expire(now));
      const shown = [...copy.entries.keys()].map((each) => view.get(each, now));
      const entries = shown.filter((entry) => entry !== undefined);
      assert.deepEqual(new Set(known.values()), new Set(entries));
      assert.deepEqual(view.snapshot(now), entries);
    }
  });
  // The seed is in the message of a failure.
  fc.assert(property, { numRuns: 300 });
});
