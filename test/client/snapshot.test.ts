/** What pages render from: snapshots that stay the same objects while nothing changes, and subscriptions to changes. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { until } from '../../src/cli/until.ts';
import { memoryStorage } from '../../src/client/mirror/storage.ts';
import { Subscriptions } from '../../src/client/mirror/subscriptions.ts';
import { FeedModel, set } from '../support/feed-model.ts';
import { scriptedFeed } from '../support/scripted-feed.ts';
import { abc, expected, honest, open } from '../support/scripted-mirror.ts';

test('snapshot and state are the same objects while nothing changes, and others after a change', async (t) => {
  const history = abc();
  const feed = await honest(t, history);
  const copy = open(t, { url: feed.url });
  const empty = copy.snapshot();
  assert.deepEqual([empty, copy.revision], [[], 0]);
  assert.equal(copy.snapshot(), empty);
  await copy.ready;
  const { snapshot } = copy;
  const [first, revision, state] = [snapshot(), copy.revision, copy.state];
  assert.equal(snapshot(), first);
  assert.equal(copy.state, state);
  assert.deepEqual(Object.fromEntries(first.map(({ key, value }) => [key, value])), expected(history));
  // A position alone is no change.
  feed.send({ type: 'bookmark', position: `${'a'.repeat(40)}:35` });
  await copy.waitFor(`${'a'.repeat(40)}:35`);
  assert.deepEqual([snapshot() === first, copy.revision === revision], [true, true]);
  feed.send({ ...set('a', 'x', 40), position: `${'a'.repeat(40)}:40` });
  await copy.waitFor(`${'a'.repeat(40)}:40`);
  const second = snapshot();
  assert.deepEqual([second === first, copy.revision === revision], [false, false]);
  const [other, before] = [second, first].map((entries) => entries.find(({ key }) => key === 'b'));
  assert.equal(other, before);
  assert.equal(copy.state, state);
});

test('the state is the same object until the next entry of a snapshot arrives', async (t) => {
  const history = abc();
  const events = history.snapshot('first-sync');
  const feed = await scriptedFeed(t, () => events.slice(0, 2));
  const copy = open(t, { url: feed.url });
  const received = (): number => (copy.state.kind === 'syncing' ? copy.state.received : 0);
  await until('the first entry', () => received() === 1);
  const { state } = copy;
  assert.equal(copy.state, state);
  feed.send(...events.slice(2, 3));
  await until('the second entry', () => received() === 2);
  assert.notEqual(copy.state, state);
});

test('a listener for the state is told how much of a snapshot has arrived', async (t) => {
  let now = performance.now();
  t.mock.method(performance, 'now', () => now);
  const history = abc();
  const events = history.snapshot('first-sync');
  const feed = await scriptedFeed(t, () => events.slice(0, 1));
  const copy = open(t, { url: feed.url });
  const told: unknown[] = [];
  copy.on('state', (state) => {
    if (state.kind !== 'syncing') return;
    assert.equal(copy.state, state);
    told.push([state.received, state.expected]);
  });
  await until('the snapshot has begun', () => told.length === 1);
  const arrived = (entries: number): Promise<unknown> =>
    until('the entry', () => copy.state.kind === 'syncing' && copy.state.received === entries);
  feed.send(...events.slice(1, 2));
  await arrived(1);
  now += 100;
  feed.send(...events.slice(2, 3));
  await arrived(2);
  feed.send(...events.slice(3));
  await copy.ready;
  assert.deepEqual(told, [
    [0, 3],
    [2, 3],
  ]);
});

test('a resync in which nothing has changed leaves every object as it was, and tells no change', async (t) => {
  const history = abc();
  const binary = Buffer.from([0, 255, 1]).toString('base64');
  history.write({
    type: 'set',
    key: 'bytes',
    value: binary,
    encoding: 'base64',
    version: 40,
    expiresAt: null,
  });
  const feed = await honest(t, history);
  const copy = open(t, { url: feed.url });
  await copy.ready;
  const [entry, snapshot, { revision }] = [copy.getEntry('bytes'), copy.snapshot(), copy];
  const told: unknown[] = [];
  copy.on('change', (event) => told.push(event));
  copy.subscribe(() => told.push('called'));
  const synced = new Promise<void>((resolve) => copy.on('synced', () => resolve()));
  feed.send(...history.snapshot('behind-backlog'));
  await synced;
  assert.ok(entry !== undefined && copy.getEntry('bytes') === entry);
  assert.deepEqual([copy.snapshot() === snapshot, copy.revision, told], [true, revision, []]);
});

test('a subscription is called once for each change of its key, its prefix, or any entry', async (t) => {
  const history = abc();
  const feed = await honest(t, history);
  const copy = open(t, { url: feed.url });
  await copy.ready;
  const called: string[] = [];
  const { subscribe } = copy;
  subscribe(() => called.push('all'));
  subscribe(() => called.push('key a'), { key: 'a' });
  const end = subscribe(() => called.push('prefix a'), { prefix: 'a' });
  subscribe(() => called.push('prefix z'), { prefix: 'z' });
  subscribe(() => called.push(`sees ${copy.get('ab')} ${copy.snapshot().length}`), { key: 'ab' });
  feed.send(history.write(set('a', 'x', 40), set('ab', 'y', 40)));
  await copy.waitFor(history.position);
  assert.deepEqual(called.splice(0).sort(), ['all', 'key a', 'prefix a', 'sees y 4']);
  end();
  end();
  feed.send(history.set('ab', 'z'));
  await copy.waitFor(history.position);
  assert.deepEqual(called.sort(), ['all', 'sees z 4']);
});

test('subscriptions are called when a stored copy is loaded', async (t) => {
  const history = abc();
  const storage = memoryStorage();
  const first = open(t, { url: (await honest(t, history)).url, storage });
  await first.ready;
  await first.close();
  const second = open(t, { url: 'http://127.0.0.1:1', storage });
  const called = new Promise<number>((resolve) =>
    second.subscribe(() => resolve(second.snapshot().length), { key: 'b' }),
  );
  assert.deepEqual([await called, second.revision], [3, 1]);
});

test('a listener that removes another one while it is called: the other is not called any more', () => {
  const subscriptions = new Subscriptions();
  const called: string[] = [];
  subscriptions.add(
    () => {
      called.push('first');
      end();
      subscriptions.add(() => called.push('new'), { key: 'k' });
    },
    { key: 'k' },
  );
  const end = subscriptions.add(() => called.push('removed'), { key: 'k' });
  subscriptions.notify([{ key: 'k' }]);
  assert.deepEqual(called, ['first']);
});

test('a node without entries leaves the empty snapshot as it was', async (t) => {
  const feed = await honest(t, new FeedModel());
  const copy = open(t, { url: feed.url });
  const before = copy.snapshot();
  await copy.ready;
  assert.deepEqual([copy.snapshot() === before, copy.revision], [true, 0]);
});
