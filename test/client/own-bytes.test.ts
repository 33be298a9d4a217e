/** Bytes that a page gets or gives are its own: whatever it does with them changes neither the copy nor what is sent. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import test, { type TestContext } from 'node:test';
import { until } from '../../src/cli/until.ts';
import { Client as FullClient } from '../../src/client/full/client.ts';
import type { Value } from '../../src/client/mirror/entry.ts';
import type { Mirror } from '../../src/client/mirror/mirror.ts';
import { type MirrorStorage, memoryStorage } from '../../src/client/mirror/storage.ts';
import { optimistic } from '../../src/client/optimistic/optimistic.ts';
import { Client } from '../../src/client/rest.ts';
import { FeedModel } from '../support/feed-model.ts';
import { scriptedFeed } from '../support/scripted-feed.ts';
import { honest, open } from '../support/scripted-mirror.ts';

const BYTES = Uint8Array.of(255, 0, 240, 15);
const POSITION = `${'a'.repeat(40)}:10`;

/** Transfers the bytes, as to a worker, which leaves none of them here. */
function transfer(value: Value | Uint8Array | undefined): void {
  assert.ok(value instanceof Uint8Array && value.length === BYTES.length);
  structuredClone(value, { transfer: [value.buffer as ArrayBuffer] });
  assert.equal(value.length, 0);
}

/** What a mirror can hand out, by where it does. */
const HANDED_OUT: Readonly<Record<string, (copy: Mirror) => Value | undefined>> = {
  get: (copy) => copy.get('img'),
  getBytes: (copy) => copy.getBytes('img'),
  getEntry: (copy) => copy.getEntry('img')?.value,
  snapshot: (copy) => copy.snapshot()[0]?.value,
};

function picture(): FeedModel {
  const history = new FeedModel();
  const value = Buffer.from(BYTES).toString('base64');
  history.write({ type: 'set', key: 'img', value, encoding: 'base64', version: 10, expiresAt: null });
  return history;
}

/** @returns what a storage has of the picture */
async function stored(storage: MirrorStorage): Promise<Value | undefined> {
  return [...((await storage.load())?.entries ?? [])].find(({ key }) => key === 'img')?.value;
}

for (const [name, read] of Object.entries(HANDED_OUT)) {
  test(`bytes of ${name} that a page transfers are still in the copy, and are stored`, async (t) => {
    const storage = memoryStorage();
    const failures: unknown[] = [];
    const copy = open(t, { url: (await honest(t, picture())).url, storage });
    copy.on('storage-error', ({ error }) => failures.push(error));
    await copy.ready;
    transfer(read(copy));
    assert.deepEqual(copy.getBytes('img'), BYTES);
    await copy.close();
    assert.deepEqual(await stored(storage), BYTES);
    const next = open(t, { url: (await scriptedFeed(t, () => [])).url, storage });
    await until('the stored copy', () => next.has('img'));
    transfer(read(next));
    assert.deepEqual([next.getBytes('img'), await stored(storage), failures], [BYTES, BYTES, []]);
  });
}

test('bytes that a listener is told can be transferred too, and so can those of a stored copy', async (t) => {
  const history = picture();
  const storage = memoryStorage();
  const feed = await honest(t, history);
  const told: (Value | undefined)[] = [];
  const copy = open(t, {
    url: feed.url,
    storage,
    onChange: ({ changes }) => {
      for (const { entry, before } of changes) told.push(entry?.value, before?.value);
    },
  });
  await copy.ready;
  transfer(told[0]);
  assert.deepEqual(copy.getBytes('img'), BYTES);
  const value = Buffer.from(BYTES.toReversed()).toString('base64');
  feed.send(
    history.write({ type: 'set', key: 'img', value, encoding: 'base64', version: 20, expiresAt: null }),
  );
  await copy.waitFor(history.position);
  transfer(told[2]);
  assert.deepEqual(copy.getBytes('img'), BYTES.toReversed());
  await copy.close();
  assert.deepEqual(await stored(storage), BYTES.toReversed());
});

test('an entry with bytes stays the same object, with the same bytes, while it does not change', async (t) => {
  const history = picture();
  const feed = await honest(t, history);
  const copy = open(t, { url: feed.url });
  await copy.ready;
  const entry = copy.getEntry('img');
  feed.send(history.set('other', '1'));
  await copy.waitFor(history.position);
  assert.deepEqual([copy.getEntry('img') === entry, copy.get('img') === entry?.value], [true, true]);
  assert.equal(copy.snapshot()[0], entry);
  assert.notEqual(copy.getBytes('img'), copy.getBytes('img'));
});

test('a storage that a mirror fills keeps what it got, whatever becomes of it', async (t) => {
  const given: Value[] = [];
  const storage: MirrorStorage = {
    load: async () => null,
    save: async ({ kind, ...update }) => {
      for (const { value } of kind === 'replace' && 'entries' in update ? update.entries : [])
        given.push(value);
    },
    close: async () => undefined,
  };
  const copy = open(t, { url: (await honest(t, picture())).url, storage });
  await copy.ready;
  await until('the update', () => given.length > 0);
  transfer(given[0]);
  assert.deepEqual(copy.getBytes('img'), BYTES);
});

test('a pending write sends its own bytes in each attempt, whatever a page does with those that it shows', async (t) => {
  const copy = open(t, { url: (await honest(t, picture())).url });
  await copy.ready;
  const sent: Value[] = [];
  const fails = (): Promise<never> => Promise.reject(new TypeError('fetch failed'));
  const writes = optimistic(copy, {
    set: (_key, value) => {
      sent.push(value instanceof Uint8Array ? value.slice() : value);
      if (value instanceof Uint8Array) transfer(value);
      return fails();
    },
    patch: fails,
    batch: fails,
  });
  const given = BYTES.toReversed();
  void writes.set('img', given);
  transfer(given);
  transfer(writes.get('img'));
  await until('the second attempt', () => sent.length > 1);
  assert.deepEqual(sent.slice(0, 2), [BYTES.toReversed(), BYTES.toReversed()]);
});

/** @returns the URL of a node that is loading at first, and the bodies that it got */
async function late(t: TestContext): Promise<{ readonly url: string; readonly bodies: Uint8Array[] }> {
  const bodies: Uint8Array[] = [];
  const server = createServer(async (request, response) => {
    bodies.push(new Uint8Array(Buffer.concat(await request.toArray())));
    const isLoading = bodies.length % 2 === 1;
    response.writeHead(isLoading ? 503 : 200, {
      'content-type': isLoading ? 'application/problem+json' : 'application/json',
      'psync-position': POSITION,
    });
    response.end(JSON.stringify(isLoading ? { code: 'LOADING' } : { position: POSITION, version: 10 }));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  t.after(() => server.closeAllConnections());
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, bodies };
}

test('a client sends the bytes that it was given when it was called, also when it repeats the call', async (t) => {
  const { url, bodies } = await late(t);
  for (const call of ['set', 'append'] as const) {
    for (const client of [new Client(url), new FullClient(url)]) {
      for (const given of [BYTES.slice(), Buffer.from(BYTES)]) {
        bodies.length = 0;
        const done = client[call]('img', given).catch(() => undefined);
        given.fill(9);
        await done;
        for (const body of bodies) assert.deepEqual(body, BYTES);
        assert.equal(bodies.length > 0, true);
      }
    }
  }
});
