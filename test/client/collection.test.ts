/** Collections: typed entries of a mirror, by prefix and in order, over one connection. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { type } from 'arktype';
import * as v from 'valibot';
import { z } from 'zod';
import { until } from '../../src/cli/until.ts';
import { collection, type DecodeFault } from '../../src/client/collection/collection.ts';
import type { StandardSchema } from '../../src/client/collection/decoder.ts';
import { compareKeys } from '../../src/client/collection/key-order.ts';
import type { Value } from '../../src/client/mirror/entry.ts';
import { optimistic } from '../../src/client/optimistic/optimistic.ts';
import { FeedModel, set } from '../support/feed-model.ts';
import { seeded } from '../support/random.ts';
import { abc, honest, open } from '../support/scripted-mirror.ts';

const USER = z.object({ name: z.string(), age: z.number() });
type User = z.infer<typeof USER>;

/** A history of users and orders. */
function shop(): FeedModel {
  const history = new FeedModel();
  history.set('user:2', '{"name":"Grace","age":85}');
  history.set('order:1', '12');
  history.set('user:1', '{"name":"Ada","age":36}');
  return history;
}

test('collections of one mirror have their own prefixes and types, over one connection', async (t) => {
  const history = shop();
  const feed = await honest(t, history);
  const mirror = open(t, { url: feed.url, prefix: ['user:', 'order:'] });
  const users = collection(mirror, { prefix: 'user:', decode: USER });
  const orders = collection(mirror, { prefix: 'order:', decode: Number });
  const raw = collection(mirror);
  await mirror.ready;
  const ada: User | undefined = users.get('user:1');
  const twelve: number | undefined = orders.get('order:1');
  const text: Value | undefined = raw.get('order:1');
  assert.deepEqual([ada, twelve, text], [{ name: 'Ada', age: 36 }, 12, '12']);
  assert.deepEqual([users.get('order:1'), users.has('order:1'), orders.size], [undefined, false, 1]);
  assert.deepEqual([...users.keys()], ['user:1', 'user:2']);
  assert.deepEqual([...raw.keys()], ['order:1', 'user:1', 'user:2']);
  assert.deepEqual(users.getEntry('user:1'), {
    key: 'user:1',
    value: { name: 'Ada', age: 36 },
    version: 30,
    expiresAt: null,
  });
  assert.equal(users.state, mirror.state);
  assert.equal(feed.requests.length, 1);
});

const SCHEMAS: Readonly<Record<string, StandardSchema<User>>> = {
  zod: USER,
  valibot: v.object({ name: v.string(), age: v.number() }),
  arktype: type({ name: 'string', age: 'number' }),
};
for (const [library, schema] of Object.entries(SCHEMAS)) {
  test(`a schema of ${library} gives the type, and says what is wrong with a value`, async (t) => {
    const history = shop();
    history.set('user:3', '{"name":"Alan","age":"41"}');
    const mirror = open(t, { url: (await honest(t, history)).url });
    const faults: DecodeFault[] = [];
    const users = collection(mirror, {
      prefix: 'user:',
      decode: schema,
      onFault: (fault) => faults.push(fault),
    });
    await mirror.ready;
    const names: string[] = users.snapshot().map(({ value }) => value.name);
    assert.deepEqual(names, ['Ada', 'Grace']);
    await until('the fault is told', () => faults.length > 0);
    assert.match(String(faults[0]?.error), /^TypeError: .*age.*number/i);
  });
}

/** What the compiler knows; nobody calls it. */
const TYPED = {
  valibot: (): string | undefined =>
    collection({} as never, { decode: v.object({ name: v.string() }) }).get('k')?.name,
  arktype: (): number | undefined =>
    collection({} as never, { decode: type({ age: 'number' }) }).get('k')?.age,
  zod: (): unknown =>
    // @ts-expect-error the schema has no such member
    collection({} as never, { decode: USER }).get('k')?.email,
  bytes: (): unknown => {
    const value = collection({} as never).get('k');
    // @ts-expect-error not every value is text
    return value?.toUpperCase();
  },
};
void TYPED;

test('an entry that does not decode is not shown, is reported once, and harms no other', async (t) => {
  const history = abc();
  history.set('b', 'bad');
  const feed = await honest(t, history);
  const mirror = open(t, { url: feed.url });
  const faults: DecodeFault[] = [];
  const decode = (value: Value): string => {
    if (value === 'bad') throw new RangeError('no');
    return `<${value}>`;
  };
  const all = collection(mirror, { decode, onFault: (fault) => faults.push(fault) });
  await mirror.ready;
  assert.deepEqual([all.get('b'), all.getEntry('b'), all.has('b')], [undefined, undefined, false]);
  assert.deepEqual(
    all.snapshot().map(({ value }) => value),
    ['<value of a>', '<value of c>'],
  );
  assert.deepEqual([all.size, mirror.get('b')], [2, 'bad']);
  assert.deepEqual(
    [String(all.fault('b')?.error), all.fault('a'), all.fault('z')],
    ['RangeError: no', undefined, undefined],
  );
  await until('the fault is told', () => faults.length > 0);
  assert.deepEqual(faults, [{ key: 'b', entry: mirror.getEntry('b'), error: new RangeError('no') }]);
  feed.send(history.set('b', 'good'));
  await mirror.waitFor(history.position);
  assert.deepEqual([all.get('b'), all.size, all.fault('b'), faults.length], ['<good>', 3, undefined, 1]);
});

test('without a listener a fault is reported as an error that nobody has caught', async (t) => {
  const reported = t.mock.method(console, 'error', () => undefined);
  const mirror = open(t, { url: (await honest(t, abc())).url });
  const slow = z.string().refine(async () => true);
  const all = collection(mirror, { prefix: 'a', decode: slow });
  const json = collection(mirror, { prefix: 'b', decode: USER });
  await mirror.ready;
  assert.deepEqual([all.get('a'), json.get('b')], [undefined, undefined]);
  await until('both are reported', () => reported.mock.callCount() === 2);
  const messages = reported.mock.calls.map(({ arguments: [error] }) => (error as Error).message);
  assert.deepEqual(messages, ['the value of "a" does not decode', 'the value of "b" does not decode']);
});

test('bytes do not decode with a schema, and a schema that takes time neither', async (t) => {
  const history = new FeedModel();
  const bytes = { key: 'k', value: '/w==', encoding: 'base64', version: 10, expiresAt: null } as const;
  history.write({ type: 'set', ...bytes });
  history.set('n', '1');
  const mirror = open(t, { url: (await honest(t, history)).url });
  const schema = v.pipeAsync(
    v.number(),
    v.checkAsync(async () => true),
  );
  const all = collection(mirror, { decode: schema, onFault: () => undefined });
  await mirror.ready;
  assert.deepEqual([all.size, String(all.fault('k')?.error)], [0, 'TypeError: the value is no text']);
  assert.match(String(all.fault('n')?.error), /takes time/);
  // A promise of another library, or of another realm.
  const then = (_: unknown, failed: (error: Error) => void): void => failed(new Error('later'));
  const foreign = collection(mirror, { decode: () => ({ then }), onFault: () => undefined });
  assert.match(String(foreign.fault('n')?.error), /takes time/);
});

test('keys are in the order of their UTF-8, as in the pages of a node', () => {
  const keys = ['', 'a', 'a\0', 'b', 'é', '\ud7ff', '\ue000', '\uffff', '😀', '😀\uffff', '😁', '\u{10ffff}'];
  const bytes = (left: string, right: string): number =>
    Buffer.compare(Buffer.from(left), Buffer.from(right));
  for (const left of keys) {
    for (const right of keys) assert.equal(Math.sign(compareKeys(left, right)), bytes(left, right));
  }
});

test('entries come by prefix, and behind a key', async (t) => {
  const history = new FeedModel();
  for (const key of ['b', 'a:\uffff', 'a:😀', 'a:1', 'a:10', 'a:2', 'a']) history.set(key, key);
  const mirror = open(t, { url: (await honest(t, history)).url });
  const all = collection(mirror);
  await mirror.ready;
  assert.deepEqual([...all.keys()], ['a', 'a:1', 'a:10', 'a:2', 'a:\uffff', 'a:😀', 'b']);
  assert.deepEqual([...all.keys({ prefix: 'a:1' })], ['a:1', 'a:10']);
  assert.deepEqual([...all.keys({ prefix: 'a:', after: 'a:10' })], ['a:2', 'a:\uffff', 'a:😀']);
  assert.deepEqual([...all.keys({ prefix: 'a:', after: 'b' })], []);
  assert.deepEqual([...all.keys({ prefix: 'c' })], []);
});

test('a snapshot is the same array, with the same objects, while nothing in it changes', async (t) => {
  const history = shop();
  const feed = await honest(t, history);
  const mirror = open(t, { url: feed.url });
  const users = collection(mirror, { prefix: 'user:', decode: USER });
  const { snapshot } = users;
  const empty = snapshot();
  assert.equal(snapshot(), empty);
  await mirror.ready;
  const [first, revision] = [snapshot(), users.revision];
  feed.send(history.set('order:2', '7'));
  await mirror.waitFor(history.position);
  assert.deepEqual([snapshot() === first, users.revision === revision], [true, true]);
  feed.send(history.set('user:3', '{"name":"Alan","age":41}'));
  await mirror.waitFor(history.position);
  assert.deepEqual([snapshot() === first, users.revision === revision], [false, false]);
  assert.deepEqual([snapshot().length, snapshot()[0] === first[0]], [3, true]);
  assert.equal(users.getEntry('user:1'), first[0]);
});

test('a collection is up to date in every listener, whoever is called first', async (t) => {
  const history = abc();
  const feed = await honest(t, history);
  const mirror = open(t, { url: feed.url });
  const told: unknown[] = [];
  mirror.on('change', () => told.push(all.snapshot().length, all.revision));
  mirror.subscribe(() => told.push(all.snapshot().length), { key: 'd' });
  const all = collection(mirror);
  all.subscribe(() => told.push(all.snapshot().length), { key: 'd' });
  await mirror.ready;
  assert.deepEqual(told.splice(0), [3, 1]);
  feed.send(history.set('d', '4'));
  await mirror.waitFor(history.position);
  assert.deepEqual(told, [4, 4, 4, 2]);
});

test('a collection that is read in a listener of changes looks at what has changed alone', async (t) => {
  const history = abc();
  const feed = await honest(t, history);
  const mirror = open(t, { url: feed.url });
  const told: unknown[] = [];
  mirror.on('change', () => told.push(all.snapshot().length, all.revision));
  mirror.subscribe(() => told.push(all.size), { key: 'd' });
  const all = collection(mirror);
  await mirror.ready;
  told.length = 0;
  const looks = t.mock.method(mirror, 'snapshot');
  feed.send(history.set('d', '4'));
  await mirror.waitFor(history.position);
  assert.deepEqual([told, looks.mock.callCount()], [[4, 4, 2], 0]);
});

test('an entry whose write is pending for longer than its time to live is shown everywhere meanwhile', async (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: 1_000 });
  const history = new FeedModel();
  history.set('young', '2', 3_000);
  const mirror = open(t, { url: (await honest(t, history)).url });
  await mirror.ready;
  const never = () => new Promise<never>(() => undefined);
  const writes = optimistic(mirror, { set: never, patch: never, batch: never });
  const all = collection(writes);
  const giveUp = new AbortController();
  void writes.set('short', '1', { ttl: 1, signal: giveUp.signal });
  assert.deepEqual([...all.keys()], ['short', 'young']);
  for (const [time, keys] of [
    [2_500, ['short', 'young']],
    [3_500, ['short']],
  ] as const) {
    t.mock.timers.setTime(time);
    const shown = all.snapshot();
    assert.deepEqual([[...all.keys()], all.size, all.has('short')], [keys, keys.length, true]);
    assert.equal(all.snapshot(), shown);
  }
  giveUp.abort();
  assert.deepEqual([all.size, all.has('short')], [0, false]);
});

test('a listener of a collection is called for its entries alone, until it or the collection is removed', async (t) => {
  const history = shop();
  const feed = await honest(t, history);
  const mirror = open(t, { url: feed.url });
  const told: string[] = [];
  {
    using users = collection(mirror, { prefix: 'user:' });
    const end = users.subscribe((changes) => told.push([...changes].map(({ key }) => key).join()));
    users.subscribe(() => told.push('second'), { key: 'user:2' });
    await mirror.ready;
    assert.deepEqual(told.splice(0).sort(), ['second', 'user:2,user:1']);
    feed.send(history.write(set('order:1', '13', 40), set('user:1', 'x', 40)));
    await mirror.waitFor(history.position);
    assert.deepEqual(told.splice(0), ['user:1']);
    end();
    end();
    feed.send(history.set('user:1', 'y'));
    await mirror.waitFor(history.position);
  }
  feed.send(history.set('user:2', 'z'));
  await mirror.waitFor(history.position);
  assert.deepEqual(told, []);
});

test('entries that have expired are in no snapshot, also before the mirror tells it', async (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: 1_000 });
  const history = new FeedModel();
  history.set('old', '1', 2_000);
  history.set('young', '2', 3_000);
  history.set('ever', '3');
  const mirror = open(t, { url: (await honest(t, history)).url });
  await mirror.ready;
  const all = collection(mirror);
  const shown = (): string => [...all.keys()].join();
  assert.equal(shown(), 'ever,old,young');
  t.mock.timers.setTime(2_000);
  const snapshot = all.snapshot();
  assert.deepEqual([shown(), all.snapshot() === snapshot], ['ever,young', true]);
  t.mock.timers.setTime(3_000);
  assert.equal(shown(), 'ever');
});

test('an entry that has expired is in no snapshot, also if another one changes before the mirror tells it', async (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: 1_000 });
  const history = new FeedModel();
  history.set('old', '1', 2_000);
  history.set('ever', '3');
  const feed = await honest(t, history);
  const mirror = open(t, { url: feed.url });
  await mirror.ready;
  const all = collection(mirror);
  assert.deepEqual([...all.keys()], ['ever', 'old']);
  t.mock.timers.setTime(2_000);
  const told = new Promise<void>((resolve) => all.subscribe(resolve, { key: 'ever' }));
  feed.send(history.set('ever', '4'));
  await told;
  assert.deepEqual([[...all.keys()], all.size, all.has('old')], [['ever'], 1, false]);
});

test('an entry that came while the clock was wrong expires from a collection too', async (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: 700_000 });
  const history = new FeedModel();
  history.set('ever', '1');
  const feed = await honest(t, history);
  const mirror = open(t, { url: feed.url });
  await mirror.ready;
  const all = collection(mirror);
  const change = async (...change: Parameters<FeedModel['set']>): Promise<string> => {
    feed.send(history.set(...change));
    await mirror.waitFor(history.position);
    return [...all.keys()].join();
  };
  assert.equal(await change('ever', '2'), 'ever');
  assert.equal(await change('session', '1', 5_000), 'ever');
  t.mock.timers.setTime(1_000);
  assert.equal(await change('ever', '3'), 'ever,session');
  t.mock.timers.setTime(5_000);
  assert.equal(await change('ever', '4'), 'ever');
});

test('an entry that a wrong clock has let expire is there again when the clock is set right', async (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: 1_000 });
  const history = new FeedModel();
  history.set('session', '1', 5_000);
  history.set('ever', '2');
  const mirror = open(t, { url: (await honest(t, history)).url });
  await mirror.ready;
  const all = collection(mirror);
  for (const [now, shown] of [
    [1_000, 'ever,session'],
    [9_000, 'ever'],
    [1_000, 'ever,session'],
  ] as const) {
    t.mock.timers.setTime(now);
    assert.equal([...all.keys()].join(), shown);
  }
});

test('whatever changes, a collection shows what its mirror holds, in order', async (t) => {
  const { seed, random } = seeded();
  t.diagnostic(`PSYNCD_SEED=${seed}`);
  const below = (end: number): number => Math.floor(random() * end);
  const history = new FeedModel();
  const feed = await honest(t, history);
  const mirror = open(t, { url: feed.url });
  const some = collection(mirror, { prefix: 'k', decode: String });
  await mirror.ready;
  const key = (): string => `${['k', 'K', 'k😀', 'k\uffff'][below(4)]}${below(200)}`;
  for (let round = 0; round < 60; round += 1) {
    const changes = Array.from({ length: 1 + below([3, 30, 3_000][below(3)] as number) }, () =>
      below(3) === 0 ? ({ type: 'delete', key: key() } as const) : set(key(), `${below(9)}`, round),
    );
    feed.send(history.write(...(below(20) === 0 ? [{ type: 'flush' } as const] : changes)));
    await mirror.waitFor(history.position);
    if (below(3) === 0) continue;
    const expected = [...history.entries.values()]
      .filter((entry) => entry.key.startsWith('k'))
      .sort((left, right) => Buffer.compare(Buffer.from(left.key), Buffer.from(right.key)));
    assert.deepEqual(
      some.snapshot().map((entry) => [entry.key, entry.value]),
      expected.map((entry) => [entry.key, entry.value]),
    );
  }
});
