/** The mirror against a scripted node. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage, RequestListener } from 'node:http';
import test, { type TestContext } from 'node:test';
import { until } from '../../src/cli/until.ts';
import type { Entry } from '../../src/client/mirror/entry.ts';
import { mirror } from '../../src/client/mirror/mirror.ts';
import {
  MirrorClosedError,
  type MirrorEvents,
  type MirrorState,
} from '../../src/client/mirror/mirror-events.ts';
import { type MirrorStorage, memoryStorage, StorageConflict } from '../../src/client/mirror/storage.ts';
import { FeedModel, set } from '../support/feed-model.ts';
import { scriptedFeed } from '../support/scripted-feed.ts';
import { abc, contents, expected, honest, open } from '../support/scripted-mirror.ts';

test('a mirror holds what the node holds, and follows', async (t) => {
  const history = abc();
  const feed = await honest(t, history);
  const changes: MirrorEvents['change'][] = [];
  const copy = open(t, { url: feed.url, onChange: (event) => changes.push(event) });
  assert.deepEqual([copy.position, copy.size, copy.get('a')], [null, 0, undefined]);
  await copy.ready;
  assert.deepEqual(contents(copy), expected(history));
  assert.deepEqual(copy.state, { kind: 'live', url: feed.url });
  feed.send(history.set('a', 'ü'), history.write({ type: 'delete', key: 'b' }));
  await copy.waitFor(history.position);
  assert.deepEqual([contents(copy), copy.position], [expected(history), history.position]);
  assert.deepEqual([copy.has('a'), copy.has('b'), copy.size, [...copy.keys()]], [true, false, 2, ['a', 'c']]);
  assert.deepEqual(copy.getBytes('a'), Uint8Array.of(0xc3, 0xbc));
  assert.deepEqual(copy.getEntry('a'), { key: 'a', value: 'ü', version: 40, expiresAt: null });
  const told = changes.map(({ changes: each }) => each.map(({ key, entry }) => `${key}=${entry?.value}`));
  assert.deepEqual(told.slice(1), [['a=ü'], ['b=undefined']]);
  assert.deepEqual(told[0]?.length, 3);
});

test('an expired entry is hidden, even before the node deletes it', async (t) => {
  const history = new FeedModel();
  history.set('old', '1', 1_000);
  history.set('young', '2', 8e15);
  const copy = open(t, { url: (await honest(t, history)).url });
  await copy.ready;
  assert.deepEqual([copy.get('old'), copy.has('old'), copy.size], [undefined, false, 1]);
  assert.deepEqual(contents(copy), { young: '2' });
});

test('a batch is applied as a whole before a listener is called', async (t) => {
  const history = abc();
  const feed = await honest(t, history);
  const copy = open(t, { url: feed.url });
  await copy.ready;
  const seen: unknown[] = [];
  copy.on('change', ({ changes }) => seen.push([changes.length, contents(copy)]));
  feed.send(history.write(set('a', 'x', 31), { type: 'delete', key: 'b' }, set('d', 'y', 32)));
  await copy.waitFor(history.position);
  assert.deepEqual(seen, [[3, { a: 'x', c: 'value of c', d: 'y' }]]);
});

test('during a reset the old copy is served, and the new one is there at once', async (t) => {
  const history = abc();
  const other = new FeedModel('b'.repeat(40));
  other.set('a', 'other');
  const feed = await honest(t, history);
  const copy = open(t, { url: feed.url });
  await copy.ready;
  const events: string[] = [];
  copy.on('reset', ({ reason }) => events.push(`reset ${reason}`));
  copy.on('synced', () => events.push('synced'));
  copy.on('change', ({ changes }) => events.push(`change ${changes.length}`));
  const snapshot = other.snapshot('unknown-run-id');
  feed.send(...snapshot.slice(0, -1));
  await until('the entry of the snapshot is here', () => {
    const { state } = copy;
    return state.kind === 'syncing' && state.received === 1 && state.expected === 1;
  });
  assert.deepEqual([contents(copy), copy.position], [expected(history), history.position]);
  feed.send(snapshot.at(-1) ?? '');
  await copy.waitFor(other.position);
  assert.deepEqual(contents(copy), { a: 'other' });
  assert.deepEqual(events, ['reset unknown-run-id', 'synced', 'change 3']);
});

test('what a listener throws or rejects with is reported, and stops nothing', async (t) => {
  const reported = t.mock.method(console, 'error', () => undefined);
  const history = abc();
  const copy = open(t, { url: (await honest(t, history)).url, onChange: () => assert.fail('thrown') });
  const called: string[] = [];
  const rejects: () => unknown = async () => assert.fail('rejected');
  copy.on('change', rejects);
  copy.on('change', () => called.push('change'));
  copy.subscribe(() => assert.fail('subscriber'));
  copy.subscribe(() => called.push('subscribed'), { key: 'a' });
  await copy.ready;
  assert.deepEqual(called, ['subscribed', 'change']);
  const messages = reported.mock.calls.map(({ arguments: [error] }) => (error as Error).message);
  assert.deepEqual(messages.sort(), ['rejected', 'subscriber', 'thrown']);
});

test('a mirror ends with the same entries, wherever the connection is cut', async (t) => {
  const history = abc();
  history.write({ type: 'flush' });
  for (const key of ['d', 'e', 'f']) history.set(key, key);
  for (let cut = 0; cut < 9; cut += 1) {
    const early = new FeedModel();
    for (const event of history.events.slice(0, 3))
      early.write(event.type === 'batch' ? { type: 'flush' } : event);
    const feed = await scriptedFeed(t, (index, query) => {
      const position = query.get('position') ?? undefined;
      // The first snapshot is of half the history; everything is cut after `cut` messages at first.
      const said =
        position === undefined
          ? [...early.snapshot('first-sync'), ...history.events.slice(3)]
          : history.from(position);
      return index < 2 ? [...said.slice(0, cut), 'CUT'] : said;
    });
    const copy = open(t, { url: feed.url });
    await copy.waitFor(history.position);
    assert.deepEqual(contents(copy), expected(history), `cut after ${cut}`);
    await copy.close();
  }
});

test('a broken connection is reported, and the entries stay', async (t) => {
  const history = abc();
  const feed = await scriptedFeed(t, (index) => (index === 0 ? [...history.from(undefined), 4503] : []));
  const copy = open(t, { url: feed.url, retryBaseMs: 1e6, retryMaxMs: 1e6 });
  const states: string[] = [];
  copy.on('state', ({ kind }) => states.push(kind));
  await until('a second connection', () => feed.requests.length === 2);
  assert.deepEqual(states, ['connecting', 'syncing', 'live', 'waiting', 'connecting']);
  assert.deepEqual(contents(copy), expected(history));
});

test('reconnect ends the pause before the next attempt', async (t) => {
  const history = abc();
  const feed = await scriptedFeed(t, (index, query) =>
    index < 2 ? [4503] : history.from(query.get('position') ?? undefined),
  );
  const copy = open(t, { url: feed.url, retryBaseMs: 1e6, retryMaxMs: 1e6 });
  copy.on('state', ({ kind }) => {
    if (kind === 'waiting') setImmediate(() => copy.reconnect());
  });
  await copy.ready;
  assert.deepEqual([contents(copy), feed.requests.length], [expected(history), 3]);
});

test('reconnect replaces a connection, and the mirror goes on from its position', async (t) => {
  const history = abc();
  const feed = await honest(t, history);
  const copy = open(t, { url: feed.url });
  copy.reconnect();
  await copy.ready;
  const [socket] = feed.sockets;
  assert.ok(socket !== undefined);
  const gone = once(socket, 'close');
  const position = history.position;
  // The scripted node tells what has happened when somebody connects.
  history.set('d', 'while it was away');
  copy.reconnect();
  await gone;
  await copy.waitFor(history.position);
  assert.deepEqual(contents(copy), expected(history));
  assert.equal(feed.requests.at(-1)?.get('position'), position);
  await copy.close();
  copy.reconnect();
  assert.equal(copy.state.kind, 'closed');
});

test('a final refusal is a failure that every listener and waiting call receives', async (t) => {
  const feed = await scriptedFeed(t, () => [{ type: 'error', code: 'FORBIDDEN', detail: 'not you' }, 4403]);
  const copy = open(t, { url: feed.url });
  const waiting = copy.waitFor(`${'a'.repeat(40)}:5`);
  const isForbidden = { name: 'FollowError', code: 'FORBIDDEN', message: 'not you' };
  await assert.rejects(waiting, isForbidden);
  await assert.rejects(copy.ready, isForbidden);
  await assert.rejects(copy.waitFor(`${'a'.repeat(40)}:5`), isForbidden);
  assert.equal(copy.state.kind, 'failed');
});

test('close ends the connection and all waiting calls, and may be called twice', async (t) => {
  const history = abc();
  const feed = await honest(t, history);
  const copy = open(t, { url: feed.url });
  await copy.ready;
  const [socket] = feed.sockets;
  assert.ok(socket !== undefined);
  const gone = once(socket, 'close');
  const waiting = copy.waitFor(`${'a'.repeat(40)}:999`);
  await Promise.all([assert.rejects(waiting, MirrorClosedError), copy.close(), gone]);
  await copy.close();
  assert.deepEqual(copy.state, { kind: 'closed' } satisfies MirrorState);
  await assert.rejects(copy.waitFor(history.position), MirrorClosedError);
  assert.deepEqual(contents(copy), expected(history));
  assert.throws(() => mirror({ urls: [] }), TypeError);
});

test('a write from before a promotion is waited for across it', async (t) => {
  const history = abc();
  const before = history.position;
  history.promote('b'.repeat(40));
  history.set('d', '4');
  const lineage = [{ runId: 'a'.repeat(40), validTo: 30 }];
  const feed = await scriptedFeed(t, () => history.from(undefined), lineage);
  const copy = open(t, { url: feed.url });
  await copy.waitFor(before);
  await assert.rejects(copy.waitFor(`${'a'.repeat(40)}:31`), { name: 'LostPositionError' });
});

test('waiting across a promotion shows the token of the mirror', async (t) => {
  const history = abc();
  const before = history.position;
  history.promote('b'.repeat(40));
  history.set('d', '4');
  const shown: unknown[] = [];
  const feed = await scriptedFeed(
    t,
    () => history.from(undefined),
    ({ headers }, response) => {
      shown.push(headers.authorization);
      response.setHeader('content-type', 'application/json').setHeader('psync-position', history.position);
      response.end(
        JSON.stringify({ runId: 'b'.repeat(40), lineage: [{ runId: 'a'.repeat(40), validTo: 30 }] }),
      );
    },
  );
  const copy = open(t, { url: feed.url, token: async () => 'secret' });
  await copy.waitFor(before);
  assert.deepEqual(shown, ['Bearer secret']);
});

const OTHERS: Readonly<Record<string, object>> = {
  'has not heard of the promotion': { runId: 'a'.repeat(40), lineage: [] },
  'has left the history earlier': {
    runId: 'c'.repeat(40),
    lineage: [{ runId: 'a'.repeat(40), validTo: 5 }],
  },
};
for (const [what, other] of Object.entries(OTHERS)) {
  test(`waiting across a promotion believes only a node with the history of the copy, and no node that ${what}`, async (t) => {
    const history = abc();
    const before = history.position;
    history.promote('b'.repeat(40));
    history.set('d', '4');
    let answers = 0;
    const feed = await scriptedFeed(
      t,
      () => history.from(undefined),
      (_request, response) => {
        // Another machine behind the same URL answers first.
        const own = { runId: 'b'.repeat(40), lineage: [{ runId: 'a'.repeat(40), validTo: 30 }] };
        answers += 1;
        response.setHeader('content-type', 'application/json').setHeader('psync-position', history.position);
        response.end(JSON.stringify(answers === 1 ? other : own));
      },
    );
    const copy = open(t, { url: feed.url });
    await copy.waitFor(before);
    assert.equal(answers, 2);
  });
}

const NO_LINEAGE: Readonly<Record<string, RequestListener>> = {
  'never answers': () => undefined,
  'begins an answer and never ends it': (_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json', 'psync-position': `${'b'.repeat(40)}:40` });
    response.write('{"lineage":');
  },
  'answers without a lineage': (_request, response) => {
    response
      .setHeader('content-type', 'application/json')
      .setHeader('psync-position', `${'b'.repeat(40)}:40`);
    response.end('{}');
  },
  'answers with a page': (_request, response) => {
    response.setHeader('content-type', 'text/html').end('<!doctype html>');
  },
  'breaks the connection': ({ socket }) => socket.destroy(),
};
for (const [what, answer] of Object.entries(NO_LINEAGE)) {
  test(`no promise rejects unseen, and close ends everything, if the node ${what}`, async (t) => {
    const unseen: unknown[] = [];
    const see = (error: unknown): unknown => unseen.push(error);
    process.on('unhandledRejection', see);
    t.after(() => process.off('unhandledRejection', see));
    const history = abc();
    history.promote('b'.repeat(40));
    history.set('d', '4');
    const requests: IncomingMessage[] = [];
    const feed = await scriptedFeed(
      t,
      () => history.from(undefined),
      (request, response) => {
        requests.push(request);
        return answer(request, response);
      },
    );
    const copy = open(t, { url: feed.url });
    await copy.ready;
    const earlier = `${'a'.repeat(40)}:5`;
    const ignored = [
      copy.waitFor(earlier),
      copy.waitFor(earlier, { signal: AbortSignal.abort() }),
      copy.waitFor('nonsense'),
    ];
    await until('the node is asked', () => requests.length > 0);
    // A position of the present history needs no answer.
    await copy.waitFor(history.position);
    const [{ socket }] = requests as [IncomingMessage];
    // Not `once`, which rejects for an error of the socket.
    const gone = new Promise<void>((resolve) => {
      if (socket.destroyed) resolve();
      else socket.once('close', () => resolve());
    });
    await copy.close();
    if (/never/.test(what)) await gone;
    ignored.push(copy.waitFor(earlier));
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual([ignored.length, unseen], [4, []]);
  });
}

test('a mirror that resumes is ready, and live, when it has what the node had', async (t) => {
  const history = abc();
  const storage = memoryStorage();
  await storage.save({ kind: 'replace', scope: '[""]', position: history.position, entries: [] });
  history.set('a', 'missed');
  history.set('b', 'missed too');
  const said = history.from(`${'a'.repeat(40)}:30`);
  const feed = await scriptedFeed(t, () => said.slice(0, 2));
  const copy = open(t, { url: feed.url, storage });
  let isReady = false;
  const ready = copy.ready.then(() => {
    isReady = true;
  });
  await until('the first change', () => copy.has('a'));
  assert.deepEqual(copy.state, { kind: 'catching-up', url: feed.url, head: history.position });
  assert.equal(isReady, false);
  feed.send(...said.slice(2));
  await ready;
  assert.deepEqual(contents(copy), { a: 'missed', b: 'missed too' });
  assert.deepEqual(copy.state, { kind: 'live', url: feed.url });
});

test('with a storage, the next mirror goes on where the last one was', async (t) => {
  const history = abc();
  const feed = await honest(t, history);
  const storage = memoryStorage();
  const first = open(t, { url: feed.url, storage });
  await first.ready;
  feed.send(history.set('a', 'changed'), history.write({ type: 'delete', key: 'b' }));
  await first.waitFor(history.position);
  await first.close();
  const left = history.position;
  history.set('d', 'while it was away');
  const resets: unknown[] = [];
  const second = open(t, { url: feed.url, storage });
  second.on('reset', (event) => resets.push(event));
  await second.waitFor(history.position);
  assert.deepEqual([contents(second), resets], [expected(history), []]);
  assert.deepEqual(
    feed.requests.map((query) => query.get('position')),
    [null, left],
  );
});

test('stored entries can be read before there is a connection', async (t) => {
  const history = abc();
  const feed = await honest(t, history);
  const storage = memoryStorage();
  const first = open(t, { url: feed.url, storage });
  await first.ready;
  await first.close();
  const second = open(t, { url: 'http://127.0.0.1:1', storage });
  await second.waitFor(history.position);
  assert.deepEqual(contents(second), expected(history));
});

test('what shows of a stored copy is told as one change', async (t) => {
  const history = abc();
  const storage = memoryStorage();
  const { position } = history;
  const entries: Entry[] = ['a', 'b', 'gone'].map((key) => ({
    key,
    value: `value of ${key}`,
    version: 10,
    expiresAt: key === 'gone' ? 1 : null,
  }));
  await storage.save({ kind: 'replace', scope: '[""]', position, entries });
  const told: MirrorEvents['change'][] = [];
  const copy = open(t, {
    url: (await honest(t, history)).url,
    storage,
    onChange: (change) => told.push(change),
  });
  await copy.ready;
  const changes = entries.slice(0, 2).map((entry) => ({ key: entry.key, entry, before: null }));
  assert.deepEqual(told, [{ position, changes }]);
});

test('a stored copy of other prefixes is not used', async (t) => {
  const history = abc();
  const feed = await honest(t, history);
  const storage = memoryStorage();
  for (const prefix of ['a', ['a', 'b'], ['b', 'a']]) {
    const copy = open(t, { url: feed.url, storage, prefix });
    await copy.ready;
    await copy.close();
  }
  const positions = feed.requests.map((query) => query.get('position'));
  assert.deepEqual(positions, [null, null, history.position]);
});

test('a mirror stores its entries while it runs, before it is closed', async (t) => {
  const history = abc();
  const feed = await honest(t, history);
  const storage = memoryStorage();
  const copy = open(t, { url: feed.url, storage });
  await copy.ready;
  feed.send(history.set('d', '4'));
  await until('it is stored', async () => (await storage.load())?.position === history.position);
  const stored = [...((await storage.load())?.entries ?? [])].map(({ key }) => key);
  assert.deepEqual(stored.sort(), ['a', 'b', 'c', 'd']);
});

/** A storage of which the saves of these numbers fail, counted from 0. */
function failing(
  inner: MirrorStorage,
  failures: ReadonlyMap<number, Error>,
): MirrorStorage & { kinds: string[] } {
  const kinds: string[] = [];
  return {
    kinds,
    load: () => inner.load(),
    close: () => inner.close(),
    save: (update) => {
      kinds.push(update.kind);
      const error = failures.get(kinds.length - 1);
      return error === undefined ? inner.save(update) : Promise.reject(error);
    },
  };
}

async function savesOf(
  t: TestContext,
  error: Error,
): Promise<{ kinds: string[]; stored: unknown; errors: unknown[]; history: FeedModel }> {
  const history = abc();
  const feed = await honest(t, history);
  const inner = memoryStorage();
  const storage = failing(inner, new Map([[1, error]]));
  const errors: unknown[] = [];
  const copy = open(t, { url: feed.url, storage });
  copy.on('storage-error', ({ error: each }) => errors.push(each));
  await copy.ready;
  await until('the first save', async () => (await inner.load()) !== null);
  feed.send(history.set('a', 'lost'));
  await until('the failure is told', () => errors.length === 1);
  feed.send(history.set('b', 'kept'));
  await copy.waitFor(history.position);
  await copy.close();
  const loaded = await inner.load();
  const stored = loaded && Object.fromEntries([...loaded.entries].map(({ key, value }) => [key, value]));
  return { kinds: storage.kinds, stored, errors, history };
}

test('after a failure to store, everything is stored anew', async (t) => {
  const error = new Error('disk full');
  const { kinds, stored, errors, history } = await savesOf(t, error);
  assert.deepEqual([kinds, errors], [['replace', 'patch', 'replace'], [error]]);
  assert.deepEqual(stored, expected(history));
});

test('when another mirror stores in the same place, this one leaves it alone', async (t) => {
  const { kinds, stored } = await savesOf(t, new StorageConflict());
  assert.deepEqual(kinds, ['replace', 'patch']);
  assert.deepEqual(stored, { a: 'value of a', b: 'value of b', c: 'value of c' });
});

test('a mirror whose storage cannot be read starts over', async (t) => {
  const history = abc();
  const feed = await honest(t, history);
  const storage = { ...memoryStorage(), load: () => Promise.reject(new Error('unreadable')) };
  const copy = open(t, { url: feed.url, storage });
  const errors: unknown[] = [];
  copy.on('storage-error', ({ error }) => errors.push(String(error)));
  await copy.ready;
  assert.deepEqual([contents(copy), errors], [expected(history), ['Error: unreadable']]);
});

test('a storage that never answers delays a mirror for a while only, and its close too', async (t) => {
  const history = abc();
  const feed = await honest(t, history);
  const never = (): Promise<never> => new Promise(() => undefined);
  const copy = open(t, { url: feed.url, storage: { load: never, save: never, close: never }, storageMs: 5 });
  const errors: unknown[] = [];
  copy.on('storage-error', ({ error }) => errors.push(String(error)));
  await copy.ready;
  assert.deepEqual(
    [contents(copy), errors],
    [expected(history), ['TimeoutError: the storage did not answer within 5 ms']],
  );
  await copy.close();
  assert.equal(errors.length, 3);
});

const ENDLESS: Readonly<Record<string, (count: number) => string>> = {
  'are all the same': () => 'key',
  'are ever new ones': (count) => `key ${count}`,
};
for (const [what, keyOf] of Object.entries(ENDLESS)) {
  test(`a stored copy whose entries never end and ${what} delays a mirror for a while only`, async (t) => {
    const history = abc();
    const feed = await honest(t, history);
    const entry = { key: '', value: 'v', version: 1, expiresAt: null };
    let isRead = true;
    function* entries(): Generator<Entry> {
      try {
        for (let count = 0; ; count += 1) yield { ...entry, key: keyOf(count) };
      } finally {
        isRead = false;
      }
    }
    const load = async () => ({ scope: '[""]', position: history.position, entries: entries() });
    const copy = open(t, { url: feed.url, storage: { ...memoryStorage(), load }, storageMs: 50 });
    const errors: unknown[] = [];
    copy.on('storage-error', ({ error }) => errors.push(String(error)));
    await copy.ready;
    await until('the entries are read no more', () => !isRead);
    const late = 'TimeoutError: the storage did not answer within 50 ms';
    assert.deepEqual([contents(copy), errors], [expected(history), [late]]);
  });
}

test('each member of a stored copy is read once, and a storage whose lock cannot be read is not written to', async (t) => {
  const history = abc();
  const feed = await honest(t, history);
  const readOnce = (member: unknown): (() => unknown) => {
    const answers = [member];
    return () => {
      if (answers.length === 0) throw new Error('read twice');
      return answers.pop();
    };
  };
  const members = { key: 'stored', value: 'v', version: 1, expiresAt: null };
  const entry = Object.defineProperties(
    {},
    Object.fromEntries(Object.entries(members).map(([name, member]) => [name, { get: readOnce(member) }])),
  ) as Entry;
  const position = readOnce(history.position);
  const stored = {
    scope: '[""]',
    entries: [entry],
    get position() {
      return position() as string;
    },
  };
  let saved = 0;
  const storage: MirrorStorage = {
    get lock(): never {
      throw new Error('no lock');
    },
    load: async () => stored,
    save: async () => {
      saved += 1;
    },
    close: async () => undefined,
  };
  const copy = open(t, { url: feed.url, storage });
  const errors: string[] = [];
  copy.on('storage-error', ({ error }) => errors.push(String(error)));
  await copy.ready;
  assert.deepEqual([copy.getEntry('stored'), errors], [members, ['Error: no lock']]);
  await copy.close();
  assert.equal(saved, 0);
});

test('close does not wait for a storage that is still loading', async () => {
  const never = (): Promise<never> => new Promise(() => undefined);
  const storage = { ...memoryStorage(), load: never };
  const copy = mirror({ url: 'http://127.0.0.1:1', storage, storageMs: 1e9 });
  await copy.close();
  assert.equal(copy.state.kind, 'closed');
});

const DAMAGED: readonly (readonly [string, unknown])[] = [
  ['is nothing', undefined],
  ['has no entries', { scope: '[""]', position: 'p' }],
  ['has no position', { scope: '[""]', entries: [] }],
  [
    'has a value that is none',
    { scope: '[""]', position: 'p', entries: [{ key: 'k', value: 1, version: 1, expiresAt: null }] },
  ],
];
for (const [what, stored] of DAMAGED) {
  test(`a mirror starts over if its stored copy ${what}`, async (t) => {
    const history = abc();
    const feed = await honest(t, history);
    const storage = { ...memoryStorage(), load: async () => stored as never };
    const copy = open(t, { url: feed.url, storage });
    const errors: unknown[] = [];
    copy.on('storage-error', ({ error }) => errors.push(error));
    await copy.ready;
    assert.deepEqual([contents(copy), errors.length], [expected(history), 1]);
    assert.deepEqual(feed.requests.map(String), ['']);
  });
}

test('a mirror starts over if its stored copy has a key with another prefix', async (t) => {
  const history = abc();
  const feed = await honest(t, history);
  const storage = memoryStorage();
  const entries = ['a', 'z'].map((key) => ({ key, value: 'stored', version: 1, expiresAt: null }));
  await storage.save({ kind: 'replace', scope: '["a","b"]', position: history.position, entries });
  const copy = open(t, { url: feed.url, storage, prefix: ['a', 'b'] });
  const errors: string[] = [];
  copy.on('storage-error', ({ error }) => errors.push(String(error)));
  await copy.ready;
  assert.deepEqual(contents(copy), { a: 'value of a', b: 'value of b' });
  assert.deepEqual(errors, ['TypeError: the stored copy is none']);
  assert.deepEqual(feed.requests.map(String), ['prefix=a&prefix=b']);
});

test('a storage may yield its entries one after the other', async (t) => {
  const storage = memoryStorage();
  const one = { key: 'k', value: 'v', version: 1, expiresAt: null };
  function* entries(): Generator<Entry> {
    yield one;
  }
  const load = async () => ({ scope: '[""]', position: `${'a'.repeat(40)}:1`, entries: entries() });
  const copy = open(t, { url: 'http://127.0.0.1:1', storage: { ...storage, load } });
  await new Promise<void>((resolve) => copy.subscribe(resolve));
  assert.deepEqual(copy.snapshot(), [one]);
});

test('a mirror whose stored position no node accepts starts over', async (t) => {
  const history = abc();
  const wrong = { type: 'error', code: 'BAD_REQUEST', detail: 'that is no position' };
  const feed = await scriptedFeed(t, (_index, query) =>
    query.has('position') ? [wrong, 4400] : history.from(undefined),
  );
  const storage = memoryStorage();
  const old = { key: 'old', value: 'served meanwhile', version: 1, expiresAt: null };
  const position = `${'b'.repeat(40)}:7`;
  await storage.save({ kind: 'replace', scope: '[""]', position, entries: [old] });
  const copy = open(t, { url: feed.url, storage });
  copy.on('reset', () => assert.equal(copy.get('old'), 'served meanwhile'));
  await copy.ready;
  assert.deepEqual(contents(copy), expected(history));
  assert.deepEqual(
    feed.requests.map((query) => query.get('position')),
    [position, null],
  );
});

for (const position of ['', 'now', 'nonsense', 'x'.repeat(20_000), `${'b'.repeat(40)}:`]) {
  test(`a stored copy at ${JSON.stringify(position.slice(0, 50))} is no copy, and is replaced`, async (t) => {
    const history = abc();
    const feed = await scriptedFeed(t, () => history.from(undefined));
    const storage = memoryStorage();
    const stale = { key: 'stale', value: 'v', version: 1, expiresAt: null };
    await storage.save({ kind: 'replace', scope: '[""]', position, entries: [stale] });
    const copy = open(t, { url: feed.url, storage });
    const failed = new Promise((resolve) => copy.on('storage-error', resolve));
    await copy.ready;
    await failed;
    assert.deepEqual(contents(copy), expected(history));
    assert.deepEqual(
      feed.requests.map((query) => query.get('position')),
      [null],
    );
  });
}

test('a request that is wrong without a position too is a failure', async (t) => {
  const wrong = { type: 'error', code: 'BAD_REQUEST', detail: 'that is no prefix' };
  const feed = await scriptedFeed(t, () => [wrong, 4400]);
  const storage = memoryStorage();
  await storage.save({ kind: 'replace', scope: '[""]', position: `${'a'.repeat(40)}:5`, entries: [] });
  await assert.rejects(open(t, { url: feed.url, storage }).ready, { code: 'BAD_REQUEST' });
  assert.equal(feed.requests.length, 2);
});

test('a listener that reconnects at each change of the state does not make the mirror spin', async (t) => {
  const history = abc();
  const feed = await scriptedFeed(t, () => history.from(undefined));
  const copy = open(t, { url: feed.url });
  let calls = 0;
  copy.on('state', () => {
    calls += 1;
    copy.reconnect();
  });
  for (let turn = 0; turn < 1_000; turn += 1) await new Promise(setImmediate);
  assert.ok(calls < 50, `${calls} changes of the state`);
  assert.ok(feed.requests.length <= 2, `${feed.requests.length} connections`);
});
