/** What a mirror knows of its nodes when somebody asks it to connect again. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import test, { type TestContext } from 'node:test';
import { until } from '../../src/cli/until.ts';
import type { MirrorState } from '../../src/client/mirror/mirror-events.ts';
import { memoryStorage } from '../../src/client/mirror/storage.ts';
import { scriptedFeed } from '../support/scripted-feed.ts';
import { abc, contents, expected, honest, open } from '../support/scripted-mirror.ts';

const NEVER = { retryBaseMs: 1e6, retryMaxMs: 1e6 };

/** A machine that accepts connections and says nothing. */
async function blackHole(t: TestContext): Promise<string> {
  const sockets = new Set<{ destroy(): unknown }>();
  const server = createServer((socket) => {
    sockets.add(socket.on('error', () => undefined));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test('after an attempt that reconnect has cut short the next URL is tried', async (t) => {
  const history = abc();
  const feed = await honest(t, history);
  const hole = await blackHole(t);
  const copy = open(t, { urls: [hole, feed.url] });
  copy.on('state', (state) => {
    if (state.kind === 'connecting' && state.url === hole) setImmediate(() => copy.reconnect());
  });
  await copy.ready;
  assert.deepEqual(copy.state, { kind: 'live', url: feed.url });
});

test('a snapshot that does not go on is left by reconnect for the next URL', async (t) => {
  const history = abc();
  const stuck = await scriptedFeed(t, () => history.from(undefined).slice(0, 2));
  const good = await honest(t, history);
  const copy = open(t, { urls: [stuck.url, good.url] });
  await until('a snapshot begins', () => copy.state.kind === 'syncing');
  copy.reconnect();
  await copy.ready;
  assert.deepEqual([contents(copy), stuck.requests.length], [expected(history), 1]);
});

test('a live mirror connects again to the node that it follows', async (t) => {
  const history = abc();
  const away = await scriptedFeed(t, () => [4503]);
  const good = await honest(t, history);
  const copy = open(t, { urls: [away.url, good.url] });
  await copy.ready;
  const states: MirrorState[] = [];
  copy.on('state', (state) => states.push(state));
  copy.reconnect();
  await until('it is live again', () => states.at(-1)?.kind === 'live');
  assert.deepEqual(
    states.map(({ kind }) => kind),
    ['connecting', 'live'],
  );
  assert.deepEqual([away.requests.length, good.requests.length], [1, 2]);
});

test('a page that reconnects in each pause reaches the node that serves', async (t) => {
  const history = abc();
  const refusing = await scriptedFeed(t, () => [4403]);
  const good = await honest(t, history);
  const copy = open(t, { urls: [refusing.url, good.url], ...NEVER });
  copy.on('state', ({ kind }) => kind === 'waiting' && copy.reconnect());
  await copy.ready;
  assert.deepEqual(contents(copy), expected(history));
});

test('a page that reconnects in each pause starts over when all nodes refuse the position', async (t) => {
  const history = abc();
  const script = (_index: number, query: URLSearchParams): readonly (object | number)[] =>
    query.has('position') ? [4400] : history.from(undefined);
  const feeds = [await scriptedFeed(t, script), await scriptedFeed(t, script)];
  const storage = memoryStorage();
  const position = `${'c'.repeat(40)}:5`;
  await storage.save({ kind: 'replace', scope: '[""]', position, entries: [] });
  const copy = open(t, { urls: feeds.map(({ url }) => url), storage, ...NEVER });
  copy.on('state', ({ kind }) => kind === 'waiting' && copy.reconnect());
  await copy.ready;
  assert.deepEqual(contents(copy), expected(history));
});

test('changes that have arrived before reconnect are told once', async (t) => {
  const history = abc();
  const feed = await honest(t, history);
  const copy = open(t, { url: feed.url });
  await copy.ready;
  const told: (string | undefined)[] = [];
  copy.on('change', ({ changes }) => {
    if (told.length === 0) copy.reconnect();
    told.push(...changes.map(({ key }) => key));
  });
  feed.send(...['d', 'e', 'f', 'g'].map((key) => history.set(key, key)));
  await copy.waitFor(history.position);
  await until('a second connection', () => feed.requests.length === 2);
  assert.deepEqual(contents(copy), expected(history));
  assert.deepEqual(told, ['d', 'e', 'f', 'g']);
});
