/** Followers of nodes that are broken, and how to stop following them. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { until } from '../../src/cli/until.ts';
import type { FeedEvent } from '../../src/client/event.ts';
import { type ConnectionState, type FollowOptions, follow } from '../../src/client/follow.ts';
import { mutePort, refusingPort } from '../support/dead-ports.ts';
import { FeedModel } from '../support/feed-model.ts';
import { emptied, type Step, scriptedFeed } from '../support/scripted-feed.ts';
import { abc, contents, expected, honest, open } from '../support/scripted-mirror.ts';

/** Follows with short pauses, until an event that `isLast`. @returns why each connection before has ended */
async function endings(
  options: FollowOptions,
  isLast: (event: FeedEvent) => boolean,
): Promise<readonly string[]> {
  const details: string[] = [];
  const onConnection = (state: ConnectionState): void => {
    if (state.kind === 'waiting') details.push(state.detail);
  };
  const events = follow({ retryBaseMs: 1, retryMaxMs: 5, ...options, onConnection });
  for await (const event of events) if (isLast(event)) break;
  return details;
}

const ENDS = {
  return: (events: AsyncGenerator<FeedEvent, void, undefined>) => events.return(),
  throw: (events: AsyncGenerator<FeedEvent, void, undefined>) => events.throw(new Error('thrown in')),
};
for (const [name, end] of Object.entries(ENDS)) {
  test(`${name}() ends the iteration at once, whatever it waits for`, async (t) => {
    const feed = await scriptedFeed(t, () => [{ type: 'waiting' }]);
    const mute = await mutePort(t);
    const never = { url: feed.url, token: () => new Promise<string>(() => undefined) };
    const waits: Readonly<Record<string, FollowOptions>> = {
      'an event': { url: feed.url },
      'a connection': { url: `http://127.0.0.1:${mute}` },
      'a token': never,
      'the next attempt': {
        url: `http://127.0.0.1:${await refusingPort()}`,
        retryBaseMs: 1e6,
        retryMaxMs: 1e6,
      },
    };
    for (const [what, options] of Object.entries(waits)) {
      const reached = Promise.withResolvers<void>();
      const onConnection = ({ kind }: ConnectionState): void => {
        const isThere = what === 'the next attempt' ? kind === 'waiting' : kind === 'connecting';
        if (isThere) setImmediate(reached.resolve);
      };
      const events = follow({ ...options, onConnection });
      if (what === 'an event') assert.deepEqual((await events.next()).value, { type: 'waiting' });
      const next = events.next();
      await reached.promise;
      const ended = end(events);
      if (name === 'throw') await assert.rejects(ended, /thrown in/, what);
      else assert.deepEqual(await ended, { done: true, value: undefined }, what);
      assert.deepEqual(await next, { done: true, value: undefined }, what);
    }
    await emptied(feed);
  });
}

test('an abort in a callback ends the loop', async (t) => {
  const feed = await scriptedFeed(t, () => [4503]);
  for (const last of ['connecting', 'open', 'waiting']) {
    const abort = new AbortController();
    const onConnection = ({ kind }: ConnectionState): void => {
      if (kind === last) abort.abort();
    };
    const following = follow({
      url: feed.url,
      signal: abort.signal,
      retryBaseMs: 1e6,
      retryMaxMs: 1e6,
      onConnection,
    });
    assert.deepEqual(await following.next(), { done: true, value: undefined }, last);
  }
});

const NOTHING_NEW: Readonly<Record<string, object>> = {
  'only events that nobody knows': { type: 'weather', sunny: true },
  'only that it is about to end': { type: 'error', code: 'SOON', detail: 'really' },
  'only what it has sent before': { type: 'flush', position: `${'a'.repeat(40)}:5` },
  'only that the token expires': { type: 'expiring', expiresAt: 1 },
  'only that the follower has to wait, and is not the only one,': { type: 'waiting' },
};
for (const [what, event] of Object.entries(NOTHING_NEW)) {
  test(`a node that sends ${what} is left, after the time of a silent one`, async (t) => {
    const position = `${'a'.repeat(40)}:9`;
    const isLate = what.includes('before');
    const bad = await scriptedFeed(t, () => (isLate ? [{ type: 'continue', position }] : []));
    const timer = setInterval(() => bad.send(event), 5);
    t.after(() => clearInterval(timer));
    const good = await scriptedFeed(t, () => [{ type: 'continue', position }, 4409]);
    const urls = [bad.url, good.url];
    const details = await endings({ urls, position, silenceMs: 500 }, () => good.requests.length > 0);
    assert.equal(details.at(0), 'nothing came in time');
  });
}

test('a follower of one node waits as long as that says so', async (t) => {
  const silenceMs = 500;
  const history = abc();
  const feed = await scriptedFeed(t, () => []);
  const startedAt = performance.now();
  const timer = setInterval(() => {
    const isOver = performance.now() - startedAt > 3 * silenceMs;
    if (isOver) clearInterval(timer);
    feed.send(...(isOver ? history.from(undefined) : [{ type: 'waiting' }]));
  }, 10);
  t.after(() => clearInterval(timer));
  assert.deepEqual(await endings({ url: feed.url, silenceMs }, ({ type }) => type === 'synced'), []);
  assert.equal(feed.requests.length, 1);
});

/** A snapshot of 2,000 characters and more, for `snapshotLength: 1_000`. */
function large(history: FeedModel): readonly object[] {
  const [reset, entry, ...rest] = history.snapshot('forced');
  return [reset, { ...entry, value: 'x'.repeat(2_000) }, ...rest] as readonly object[];
}

test('a snapshot that is too large ends a mirror, which keeps its old copy', async (t) => {
  const history = abc();
  const feed = await scriptedFeed(t, () => [...history.from(undefined), ...large(history)]);
  const copy = open(t, { url: feed.url, snapshotLength: 1_000 });
  const failed = Promise.withResolvers<Error>();
  copy.on('state', (state) => {
    if (state.kind === 'failed') failed.resolve(state.error);
  });
  await copy.ready;
  const { name, message } = await failed.promise;
  assert.deepEqual([name, message], ['FollowError', 'the snapshot is too large']);
  assert.deepEqual(contents(copy), expected(history));
  assert.equal(feed.requests.length, 1);
});

test('a mirror leaves a node with a snapshot that is too large, and asks each one once', async (t) => {
  const history = abc();
  const feeds = [await scriptedFeed(t, () => large(history)), await honest(t, history)] as const;
  const urls = feeds.map(({ url }) => url);
  const copy = open(t, { urls, snapshotLength: 1_000 });
  await copy.ready;
  assert.deepEqual(contents(copy), expected(history));

  const other = await scriptedFeed(t, () => large(history));
  const failing = open(t, { urls: [feeds[0].url, other.url], snapshotLength: 1_000 });
  await assert.rejects(failing.ready, { name: 'FollowError', code: 'REFUSED' });
  assert.deepEqual([feeds[0].requests.length, other.requests.length], [2, 1]);
  assert.throws(
    () => open(t, { urls, snapshotLength: 0 }),
    /^TypeError: snapshotLength: expected a number above 0/,
  );
});

test('a snapshot without an end, and a first word that is none, end the attempt', async (t) => {
  const history = abc();
  const entry = (index: number): object => ({ ...history.snapshot('forced')[1], key: `k${index}` });
  const reset = { type: 'reset', position: history.position, reason: 'forced', keys: 2 };
  const firsts: readonly (readonly Step[])[] = [
    [reset, ...Array.from({ length: 5_000 }, (_, index) => entry(index))],
    [{ type: 'synced', position: history.position }],
    [{ type: 'continue', position: history.position }],
    [{ type: 'bookmark', position: history.position }],
    history.events.slice(0, 1),
    [reset, { type: 'synced', position: `${'b'.repeat(40)}:1` }],
    [{ ...reset, keys: 'many' }],
    [{ ...reset, keys: 1e15 }, ...Array.from({ length: 5_000 }, (_, index) => entry(index))],
    Array(2_000).fill(reset),
    ['{"type":"reset"'],
  ];
  const feed = await scriptedFeed(t, (index) => firsts[index] ?? history.from(undefined));
  let entries = 0;
  const details = await endings({ url: feed.url }, ({ type }) => {
    if (type === 'entry') entries += 1;
    return type === 'synced';
  });
  assert.equal(feed.requests.length, firsts.length + 1);
  assert.equal(entries, 2 * 2 + 1_000 + history.entries.size);
  for (const detail of details) assert.match(detail, / out of turn$|^no event: /);
});

test('what a node says of itself is shortened, however long it is', async (t) => {
  const long = 'x'.repeat(1_000_000);
  const error = { type: 'error', code: 'SOON', detail: long };
  const firsts: readonly (readonly Step[])[] = [[error, 4503], [`{${long}`]];
  const feed = await scriptedFeed(t, (index) => firsts[index] ?? abc().from(undefined));
  const details = await endings({ url: feed.url }, ({ type }) => type === 'synced');
  assert.deepEqual(
    details.map(({ length }) => length),
    [300, 300],
  );
});

test('a deeply nested member that nobody knows is skipped', async (t) => {
  const history = abc();
  const nested = `${'['.repeat(20_000)}${']'.repeat(20_000)}`;
  const snapshot = history
    .snapshot('forced')
    .map((event) => `${JSON.stringify(event).slice(0, -1)},"unknown":${nested}}`);
  const feed = await scriptedFeed(t, () => snapshot);
  const types: string[] = [];
  const details = await endings({ url: feed.url }, ({ type }) => types.push(type) > 0 && type === 'synced');
  assert.deepEqual(details, []);
  assert.equal(types.filter((type) => type === 'entry').length, history.entries.size);
});

test('a message that cannot be read ends the attempt, and not the program', async (t) => {
  const history = abc();
  const feed = await scriptedFeed(t, () => history.from(undefined));
  let isFirst = true;
  class Unreadable extends WebSocket {
    override set onmessage(listener: (event: MessageEvent) => void) {
      const bad = isFirst;
      isFirst = false;
      this.addEventListener('message', (event) => {
        const data = {
          toString: () => {
            throw new Error('unreadable');
          },
        };
        listener(bad ? new MessageEvent('message', { data }) : event);
      });
    }
  }
  const transport = { fetch, WebSocket: Unreadable };
  const details = await endings({ url: feed.url, transport }, ({ type }) => type === 'synced');
  assert.deepEqual(details, ['Error: unreadable']);
});

test('a WebSocket that only says `error`, as in a page that may not connect, ends the attempt at once', async (t) => {
  const feed = await scriptedFeed(t, () => abc().from(undefined));
  let attempts = 0;
  class Forbidden {
    onerror: (() => void) | null = null;
    readyState = 0;
    constructor() {
      queueMicrotask(() => this.onerror?.());
    }
    close(): void {
      this.readyState = 3;
    }
  }
  const construct = (target: typeof WebSocket, [url, protocols]: [string, string]): object => {
    attempts += 1;
    if (attempts === 2) throw new DOMException('mixed content', 'SecurityError');
    return attempts === 1 ? new Forbidden() : new target(url, protocols);
  };
  const transport = { fetch, WebSocket: new Proxy(WebSocket, { construct }) };
  const details = await endings(
    { url: feed.url, transport, connectMs: 1e6 },
    ({ type }) => type === 'synced',
  );
  assert.deepEqual(details, ['cannot connect', 'cannot connect: SecurityError: mixed content']);
});

const HELD = { key: 'user:1', value: 'Ada', encoding: 'utf8', version: 1, expiresAt: null } as const;
const FOREIGN = { ...HELD, key: 'order:1' } as const;
const AT = `${'a'.repeat(40)}:40`;
/** What a node says to a follower of `user:` and `team:`, with a key that is neither. */
const FOREIGN_KEYS: Readonly<Record<string, (honest: readonly FeedEvent[]) => readonly object[]>> = {
  'in a snapshot': ([reset, ...rest]) => [{ ...reset, keys: 5 }, { type: 'entry', ...FOREIGN }, ...rest],
  'in a set': (honest) => [...honest, { type: 'set', ...FOREIGN, position: AT }],
  'in a deletion': (honest) => [...honest, { type: 'delete', key: 'order:1', position: AT }],
  'in an expiry': (honest) => [...honest, { type: 'expiry', key: 'order:1', expiresAt: null, position: AT }],
  'in a batch': (honest) => [
    ...honest,
    {
      type: 'batch',
      changes: [
        { type: 'set', ...HELD, value: 'half' },
        { type: 'set', ...FOREIGN },
      ],
      position: AT,
    },
  ],
  'that only begins like one': (honest) => [
    ...honest,
    { type: 'set', ...FOREIGN, key: 'user', position: AT },
  ],
};
for (const [where, lie] of Object.entries(FOREIGN_KEYS)) {
  test(`a key that was not asked for, ${where}, ends the connection, and no mirror shows it`, async (t) => {
    const history = new FeedModel();
    history.set('user:1', 'Ada');
    history.set('team:1', 'compilers');
    const hostile = await scriptedFeed(t, () => lie(history.from(undefined)));
    const next = await honest(t, history);
    const copy = open(t, { urls: [hostile.url, next.url], prefix: ['user:', 'team:'] });
    const ends: string[] = [];
    const shown: unknown[] = [];
    copy.on('state', (state) => {
      if (state.kind === 'waiting') ends.push(state.detail);
    });
    copy.on('change', () => shown.push(contents(copy)));
    await until('the next node is asked', () => next.requests.length === 1);
    next.send(history.set('user:2', 'Grace'));
    await copy.waitFor(history.position);
    const { 'user:2': _, ...before } = expected(history);
    assert.deepEqual(shown, [before, expected(history)]);
    assert.match(String(ends), /^no event: \{"type":"(entry|set|delete|expiry|batch)",/);
  });
}

test('a batch with one change that cannot be decoded is not applied, and the mirror goes on elsewhere', async (t) => {
  const history = abc();
  const before = expected(history);
  const good = { type: 'set', key: 'a', value: 'half', encoding: 'utf8', version: 1, expiresAt: null };
  const bad = { ...good, value: '!', encoding: 'base64' };
  const position = `${'a'.repeat(40)}:40`;
  const broken = await scriptedFeed(t, () => [
    ...history.from(undefined),
    { type: 'batch', changes: [{ type: 'delete', key: 'b' }, good, bad], position },
  ]);
  const next = await honest(t, history);
  const copy = open(t, { urls: [broken.url, next.url] });
  const shown: unknown[] = [];
  copy.on('state', () => shown.push(contents(copy)));
  await copy.ready;
  await until('the next node is asked', () => next.requests.length === 1);
  next.send(history.set('d', 'more'));
  await copy.waitFor(history.position);
  assert.deepEqual(contents(copy), expected(history));
  for (const each of shown.slice(shown.findIndex((one) => 'a' in (one as object))))
    assert.deepEqual(each, before);
  assert.deepEqual(
    next.requests.map((query) => query.get('position')),
    [`${'a'.repeat(40)}:30`],
  );
});
