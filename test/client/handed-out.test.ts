/** What a page is given cannot be changed: entries, arrays and events are the same objects for all who read them. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { until } from '../../src/cli/until.ts';
import { collection } from '../../src/client/collection/collection.ts';
import type { MirrorEvents } from '../../src/client/mirror/mirror-events.ts';
import { memoryStorage } from '../../src/client/mirror/storage.ts';
import { optimistic } from '../../src/client/optimistic/optimistic.ts';
import { set } from '../support/feed-model.ts';
import { scriptedFeed } from '../support/scripted-feed.ts';
import { abc, contents, honest, open } from '../support/scripted-mirror.ts';

/** Some entries, also ones that were changed after the snapshot, with bytes, and with a moved time of expiry. */
const CHANGES = [
  set('text', 'new', 40),
  { type: 'set', key: 'bytes', value: '/w==', encoding: 'base64', version: 40, expiresAt: null },
  { type: 'expiry', key: 'a', expiresAt: 8e15 },
] as const;

/**
 * Asserts that nothing in it can be changed but bytes, what `decode` has made, and the descriptions of changes: to freeze 100,000 of these
 * at once takes too long, and only those who are told of the same change would see it.
 */
function isFixed(value: unknown, path = ''): void {
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array || value instanceof Error)
    return;
  const isChange = 'key' in value && !('version' in value);
  assert.ok(Object.isFrozen(value) || isChange, path);
  for (const [name, each] of Object.entries(value)) isFixed(each, `${path}.${name}`);
}

test('nothing that a mirror hands out can be changed', async (t) => {
  const history = abc();
  const feed = await honest(t, history);
  const storage = memoryStorage();
  const mirror = open(t, { url: feed.url, storage });
  isFixed(mirror.state);
  const told: unknown[] = [];
  for (const name of ['change', 'state', 'position', 'reset', 'synced'] as const)
    mirror.on(name, (event: MirrorEvents[typeof name]) => told.push(event));
  mirror.subscribe((changes) => told.push(changes));
  await mirror.ready;
  feed.send(history.write(...CHANGES));
  await mirror.waitFor(history.position);
  const read = [mirror.state, mirror.prefixes, mirror.snapshot(), mirror.getEntry('bytes')];
  for (const [index, each] of [...read, ...told.splice(0)].entries()) isFixed(each, `${index}`);
  await mirror.close();
  const next = open(t, { url: (await scriptedFeed(t, () => [])).url, storage });
  next.subscribe((changes) => told.push(changes));
  await until('the stored copy', () => next.size === 5);
  for (const each of [...told, next.snapshot()]) isFixed(each);
});

test('nothing that a collection or an optimistic mirror hands out can be changed, except decoded values', async (t) => {
  const history = abc();
  const feed = await honest(t, history);
  const mirror = open(t, { url: feed.url });
  const never = (): Promise<never> => new Promise(() => undefined);
  const writes = optimistic(mirror, { set: never, patch: never, batch: never });
  const decode = (value: unknown): string => {
    if (value === 'value of c') throw new Error('no');
    return `${value}`;
  };
  const all = collection(writes, { decode, onFault: (fault) => told.push(fault) });
  const told: unknown[] = [];
  for (const each of [all, writes]) each.subscribe((changes) => told.push(changes));
  for (const name of ['pending', 'state'] as const) writes.on(name, (event: unknown) => told.push(event));
  await mirror.ready;
  void writes.set('d', 'pending');
  void writes.set('e', Uint8Array.of(255));
  feed.send(history.write(...CHANGES));
  await mirror.waitFor(history.position);
  assert.deepEqual([all.size, writes.snapshot().length], [6, 7]);
  feed.send(history.set('f', '1'));
  await mirror.waitFor(history.position);
  const read = [all.snapshot(), writes.snapshot(), all.fault('c'), all.getEntry('a'), writes.getEntry('d')];
  for (const [index, each] of [...read, ...told.splice(0)].entries()) isFixed(each, `${index}`);
});

test('a page that sorts what it is given, or takes from it, gets an error, and what is shown stays right', async (t) => {
  const history = abc();
  const feed = await honest(t, history);
  const mirror = open(t, { url: feed.url });
  const all = collection(mirror, { decode: (value) => `${value}` });
  const errors: unknown[] = [];
  const tried = (act: () => unknown): void => {
    try {
      act();
    } catch (error) {
      errors.push(error instanceof TypeError);
    }
  };
  mirror.subscribe((changes) => tried(() => (changes as unknown[]).pop()));
  await mirror.ready;
  const shown = (): unknown => all.snapshot().map(({ key, value }) => `${key} ${value}`);
  assert.deepEqual(shown(), ['a value of a', 'b value of b', 'c value of c']);
  tried(() => (all.snapshot() as unknown[]).reverse());
  tried(() => (mirror.snapshot() as unknown[]).splice(0, 2));
  tried(() => Object.assign(mirror.getEntry('a') as object, { value: 'edited' }));
  tried(() => Object.assign(all.getEntry('b') as object, { value: 'edited' }));
  feed.send(history.write({ type: 'delete', key: 'a' }, set('c', 'new', 40)));
  await mirror.waitFor(history.position);
  assert.deepEqual([shown(), contents(mirror)], [['b value of b', 'c new'], { b: 'value of b', c: 'new' }]);
  assert.deepEqual(errors, Array(6).fill(true));
});
