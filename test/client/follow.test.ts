/** The follower against a scripted node: real sockets, and every way to lose them. */
import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { retryDelayMs } from '../../src/client/backoff.ts';
import { endingOf, FollowError, TOO_FAR_BEHIND } from '../../src/client/ending.ts';
import type { FeedEvent } from '../../src/client/event.ts';
import { type ConnectionState, type FollowOptions, follow } from '../../src/client/follow.ts';
import { mirror } from '../../src/client/mirror/mirror.ts';
import type { MirrorOptions } from '../../src/client/mirror/mirror-options.ts';
import { ONLINE_MS } from '../../src/client/within.ts';
import { mutePort, refusingPort } from '../support/dead-ports.ts';
import { FeedModel } from '../support/feed-model.ts';
import { seeded } from '../support/random.ts';
import { emptied, scriptedFeed } from '../support/scripted-feed.ts';

/** No test waits for a retry. */
const AT_ONCE = { retryBaseMs: 1, retryMaxMs: 5 };

/** The events up to and with the first one that `isLast`. */
async function collect(options: FollowOptions, isLast: (event: FeedEvent) => boolean): Promise<FeedEvent[]> {
  const events: FeedEvent[] = [];
  for await (const event of follow({ ...AT_ONCE, ...options })) {
    events.push(event);
    if (isLast(event)) break;
  }
  return events;
}

function at(position: string): (event: FeedEvent) => boolean {
  return (event) => event.type !== 'reset' && 'position' in event && event.position === position;
}

function model(): FeedModel {
  const history = new FeedModel();
  for (const key of ['a', 'b', 'c', 'd', 'e', 'f']) history.set(key, `value of ${key}`);
  history.write({ type: 'delete', key: 'b' }, { type: 'expiry', key: 'a', expiresAt: null });
  return history;
}

test('a snapshot, then the changes as they come; leaving the loop closes the connection', async (t) => {
  const history = model();
  const snapshot = history.from(undefined);
  const feed = await scriptedFeed(t, () => snapshot);
  const events: FeedEvent[] = [];
  for await (const event of follow({ url: `${feed.url}/`, prefix: [...'abcdefg', 'b&='] })) {
    events.push(event);
    if (event.type === 'synced') feed.send(history.set('g', 'more'));
    if (event.type === 'set') break;
  }
  assert.deepEqual(events, [...snapshot, history.events.at(-1)]);
  assert.deepEqual(feed.requests.map(String), [
    `${[...'abcdefg'].map((key) => `prefix=${key}&`).join('')}prefix=b%26%3D`,
  ]);
  await emptied(feed);
});

test('every change comes exactly once, even if the connection is cut after each message', async (t) => {
  const history = model();
  const start = `${'a'.repeat(40)}:0`;
  // The first connection breaks after the first message, the second one after the second, and so on.
  const feed = await scriptedFeed(t, (index, query) => [
    ...history.from(query.get('position') ?? undefined).slice(0, index + 1),
    'CUT',
  ]);
  const events = await collect({ url: feed.url, position: start }, at(history.position));
  assert.deepEqual(
    events.filter(({ type }) => type !== 'continue'),
    history.events,
  );
  assert.equal(feed.requests[0]?.get('position'), start);
});

test('a snapshot that is cut is asked for again, from its beginning', async (t) => {
  const history = model();
  const whole = history.from(undefined);
  for (let cut = 0; cut < whole.length; cut += 1) {
    const feed = await scriptedFeed(t, (index) => (index === 0 ? [...whole.slice(0, cut), 'CUT'] : whole));
    const events = await collect({ url: feed.url }, ({ type }) => type === 'synced');
    assert.deepEqual(events, [...whole.slice(0, cut), ...whole]);
    assert.deepEqual(feed.requests.map(String), ['', '']);
  }
});

test('a reset in the middle of the stream: until `synced` the old position is the one to resume from', async (t) => {
  const history = model();
  const [first, ...rest] = history.events;
  const [old, reset] = [first?.position ?? '', history.snapshot('behind-backlog')];
  const feed = await scriptedFeed(t, (index) => {
    if (index === 0)
      return [
        { type: 'continue', position: `${'a'.repeat(40)}:0` },
        first ?? '',
        ...reset.slice(0, 3),
        'CUT',
      ];
    return index === 1 ? [{ type: 'continue', position: old }, ...rest] : [];
  });
  const events = await collect({ url: feed.url, position: `${'a'.repeat(40)}:0` }, at(history.position));
  assert.deepEqual(
    feed.requests.map((query) => query.get('position')),
    [`${'a'.repeat(40)}:0`, old],
  );
  assert.deepEqual(events.slice(-rest.length), rest);
});

test('an event that a node repeats is delivered once', async (t) => {
  const history = model();
  const twice = history.events.flatMap((event) => [event, event]);
  const feed = await scriptedFeed(t, () => [
    { type: 'continue', position: `${'a'.repeat(40)}:0` },
    ...twice,
    history.events[0] ?? '',
    { type: 'bookmark', position: `${'a'.repeat(40)}:900` },
  ]);
  const events = await collect({ url: feed.url, position: 'now' }, ({ type }) => type === 'bookmark');
  assert.deepEqual(events.slice(1, -1), history.events);
});

test('the next node is asked when one goes away, is not ready, or is not there', async (t) => {
  const history = model();
  const leaving = await scriptedFeed(t, () => [...history.from(undefined), 1001]);
  const notReady = await scriptedFeed(t, () => [
    { type: 'error', code: 'NOT_REACHED', detail: 'not yet' },
    4503,
  ]);
  const gone = await refusingPort();
  const last = await scriptedFeed(t, (_index, query) => history.from(query.get('position') ?? undefined));
  const states: ConnectionState[] = [];
  const urls = [leaving.url, notReady.url, `http://127.0.0.1:${gone}`, last.url];
  const isContinue = ({ type }: FeedEvent): boolean => type === 'continue';
  await collect({ urls, onConnection: (state) => states.push(state) }, isContinue);
  assert.deepEqual(
    states.filter(({ kind }) => kind === 'connecting').map(({ url }) => url),
    urls,
  );
  assert.deepEqual(
    states.filter((state) => state.kind === 'waiting').map(({ detail }) => detail),
    ['closed with 1001', 'not yet', 'cannot connect'],
  );
  for (const feed of [notReady, last]) assert.equal(feed.requests[0]?.get('position'), history.position);
});

test('after being too far behind, or one follower too many, it reconnects with its position', async (t) => {
  const history = model();
  const feed = await scriptedFeed(t, (index, query) => {
    if (index === 0) return [...history.from(undefined), 4413];
    return index === 1
      ? [{ type: 'error', code: 'TOO_MANY_REQUESTS', detail: 'full' }, 4429]
      : history.from(query.get('position') ?? undefined);
  });
  await collect({ url: feed.url }, ({ type }) => type === 'continue');
  assert.deepEqual(
    feed.requests.map((query) => query.get('position')),
    [null, history.position, history.position],
  );
});

const FINAL = [
  [4400, 'BAD_REQUEST', 'prefix is too long'],
  [4403, 'FORBIDDEN', 'not from this page'],
  [4409, 'POSITION_LOST', 'behind-backlog'],
] as const;
for (const [closeCode, code, detail] of FINAL) {
  test(`${code} is final`, async (t) => {
    const feed = await scriptedFeed(t, () => [{ type: 'error', code, detail }, closeCode]);
    const following = collect({ url: feed.url, snapshot: false, position: 'now' }, () => false);
    await assert.rejects(following, (error) => {
      assert.ok(error instanceof FollowError);
      assert.deepEqual([error.code, error.message, error.closeCode], [code, detail, closeCode]);
      return true;
    });
    assert.deepEqual(feed.requests.map(String), ['position=now&snapshot=false']);
  });
}

test('a node that goes silent is disconnected', async (t) => {
  const history = model();
  const feed = await scriptedFeed(t, (_index, query) => history.from(query.get('position') ?? undefined));
  const events = await collect({ url: feed.url, silenceMs: 50 }, ({ type }) => type === 'continue');
  assert.equal(events.at(-1)?.type, 'continue');
  // On a busy machine the snapshot may come too late on the first connections.
  assert.equal(feed.requests.at(-1)?.get('position'), history.position);
});

test('a node that goes silent is disconnected, even if the clock is set back', async (t) => {
  const now = Date.now();
  let looks = 0;
  t.mock.method(Date, 'now', () => {
    looks += 1;
    return now - looks * 7_200_000;
  });
  const history = model();
  const feed = await scriptedFeed(t, (_index, query) => history.from(query.get('position') ?? undefined));
  const events = await collect({ url: feed.url, silenceMs: 50 }, ({ type }) => type === 'continue');
  assert.equal(events.at(-1)?.type, 'continue');
});

test('a machine that accepts connections and sends nothing is disconnected', async (t) => {
  const feed = await scriptedFeed(t, () => model().from(undefined));
  const urls = [`http://127.0.0.1:${await mutePort(t)}`, feed.url];
  const events = await collect({ urls, connectMs: 50 }, ({ type }) => type === 'synced');
  assert.equal(events.length, 7);
});

test('a server that does not send the feed is disconnected, and nothing of it is delivered', async (t) => {
  const history = model();
  const wrong = [
    'nonsense',
    { type: 'entry', key: 'k', value: 'v', encoding: 'utf8', version: 1, expiresAt: null },
  ];
  const feed = await scriptedFeed(t, (index) => {
    const step = wrong[index];
    return step === undefined ? history.from(undefined) : [step, ...history.from(undefined)];
  });
  const events = await collect({ url: feed.url }, ({ type }) => type === 'synced');
  assert.deepEqual(events, history.from(undefined));
  assert.equal(feed.requests.length, 3);
});

test('a slow application gets everything, over several connections, with bounded memory', async (t) => {
  const history = new FeedModel();
  for (let index = 0; index < 200; index += 1) history.set('k', `value ${index}`);
  const start = `${'a'.repeat(40)}:0`;
  const feed = await scriptedFeed(t, (_index, query) => history.from(query.get('position') ?? undefined));
  const seen: FeedEvent[] = [];
  for await (const event of follow({ ...AT_ONCE, url: feed.url, position: start, queueLength: 1_000 })) {
    if (event.type !== 'continue') seen.push(event);
    // More than it takes is still to come: it is closed while this one looks away.
    else if (seen.length < 180) await emptied(feed);
    if (seen.length === 200) break;
  }
  assert.deepEqual(seen, history.events);
  assert.ok(feed.requests.length > 2, `${feed.requests.length}`);
});

test('a slow application does not gather a snapshot without an end, nor beginnings of snapshots', async (t) => {
  const history = model();
  const entry = history.snapshot('forced')[1] as FeedEvent;
  const reset: FeedEvent = { type: 'reset', position: history.position, reason: 'forced', keys: 1e9 };
  const floods: readonly (readonly FeedEvent[])[] = [
    [reset, ...Array<FeedEvent>(5_000).fill(entry)],
    Array.from({ length: 10 }, () => [reset, ...Array<FeedEvent>(20).fill(entry)]).flat(),
  ];
  const { length } = JSON.stringify(entry);
  const most = [(64 * 1_000) / length + 2, 1_000 / length + 21];
  const feed = await scriptedFeed(t, (index) => floods[index] ?? history.from(undefined));
  const received: FeedEvent[][] = [];
  const details: string[] = [];
  const onConnection = (state: ConnectionState): void => {
    if (state.kind === 'connecting') received.push([]);
    if (state.kind === 'waiting') details.push(state.detail);
  };
  for await (const event of follow({ ...AT_ONCE, url: feed.url, queueLength: 1_000, onConnection })) {
    received.at(-1)?.push(event);
    // The client closes it while the application looks away.
    if (received.length <= floods.length && received.at(-1)?.length === 1) await emptied(feed);
    if (event.type === 'synced') break;
  }
  assert.deepEqual(details, Array(floods.length).fill('the application is too slow'));
  assert.deepEqual(received.at(-1), history.from(undefined));
  for (const [index, count] of most.entries()) {
    const events = received[index] ?? [];
    assert.ok(events.length > 1 && events.length <= count + 1, `${events.length} of ${count}`);
  }
});

test('an abort ends the loop, wherever it is', async (t) => {
  const history = model();
  const feed = await scriptedFeed(t, () => history.from(undefined));
  await t.test('while waiting for an event', async () => {
    const abort = new AbortController();
    for await (const event of follow({ url: feed.url, signal: abort.signal })) {
      if (event.type === 'synced') queueMicrotask(() => abort.abort());
    }
    await emptied(feed);
  });
  await t.test('while waiting to connect again', async () => {
    const abort = new AbortController();
    const url = `http://127.0.0.1:${await refusingPort()}`;
    const onConnection = ({ kind }: ConnectionState): void => {
      if (kind === 'waiting') queueMicrotask(() => abort.abort());
    };
    const following = follow({ url, signal: abort.signal, retryBaseMs: 1e6, retryMaxMs: 1e6, onConnection });
    assert.deepEqual(await following.next(), { done: true, value: undefined });
  });
  await t.test('before it begins', async () => {
    const following = follow({ url: feed.url, signal: AbortSignal.abort() });
    assert.deepEqual(await following.next(), { done: true, value: undefined });
  });
});

test('what `onConnection` throws is reported, and ends nothing', async (t) => {
  const reported = t.mock.method(console, 'error', () => undefined);
  const feed = await scriptedFeed(t, (index) => (index === 0 ? [4503] : model().from(undefined)));
  const onConnection = ({ kind }: ConnectionState): void => assert.fail(kind);
  await collect({ url: feed.url, onConnection }, ({ type }) => type === 'synced');
  const messages = reported.mock.calls.map(({ arguments: [error] }) => (error as Error).message);
  assert.deepEqual(messages, ['connecting', 'open', 'waiting', 'connecting', 'open']);
});

test('where even the report of a fault throws, nothing ends', async (t) => {
  t.mock.method(console, 'error', () => {
    throw new Error('no console');
  });
  const faults = ['thrown', 'rejected'];
  const onConnection = (): unknown => {
    const fault = new Error(faults.shift());
    if (faults.length > 0) throw fault;
    return Promise.reject(fault);
  };
  const feed = await scriptedFeed(t, () => model().from(undefined));
  for await (const { type } of follow({ url: feed.url, onConnection })) if (type === 'synced') break;
  assert.deepEqual([faults, feed.requests.length], [[], 1]);
});

/**
 * Makes this program a page as far as it says when it is online, with the events of jsdom, which know only signals of its
 * own: an option `signal` of another world would be a TypeError.
 * @returns what gets the events, and the listeners that are there
 */
function browser(t: TestContext): { readonly target: EventTarget; readonly listeners: Set<unknown> } {
  const target = new EventTarget();
  const listeners = new Set<unknown>();
  Object.assign(globalThis, {
    addEventListener: (name: string, listener: () => void, options?: object) => {
      if (options !== undefined) throw new TypeError('no AbortSignal of this world');
      listeners.add(listener);
      target.addEventListener(name, listener);
    },
    removeEventListener: (name: string, listener: () => void) => {
      listeners.delete(listener);
      target.removeEventListener(name, listener);
    },
  });
  t.after(() => {
    for (const name of ['addEventListener', 'removeEventListener']) Reflect.deleteProperty(globalThis, name);
  });
  return { target, listeners };
}

test('when the browser is online again, the next attempt comes soon', async (t) => {
  const { target, listeners } = browser(t);
  const feed = await scriptedFeed(t, (index) => (index === 0 ? [4503] : model().from(undefined)));
  const onConnection = ({ kind }: ConnectionState): void => {
    if (kind === 'waiting') setImmediate(() => target.dispatchEvent(new Event('online')));
  };
  const following = follow({ url: feed.url, retryBaseMs: 1e6, retryMaxMs: 1e6, onConnection });
  for await (const { type } of following) if (type === 'synced') break;
  assert.equal(feed.requests.length, 2);
  assert.equal(listeners.size, 0, 'the listener is still there');
});

test('a browser that says again and again that it is online makes few attempts', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { target } = browser(t);
  let attempts = 0;
  class Refused {
    onclose?: (event: object) => void;
    constructor() {
      attempts += 1;
      setImmediate(() => this.onclose?.({ code: 1006, reason: '' }));
    }
    close(): void {}
  }
  const stop = new AbortController();
  const transport = { fetch, WebSocket: Refused as unknown as typeof WebSocket };
  const url = 'http://127.0.0.1:9';
  const following = follow({ url, transport, retryBaseMs: 1e6, retryMaxMs: 1e6, signal: stop.signal }).next();
  for (let round = 1; round < 4; round += 1) {
    for (let event = 0; event < 50; event += 1) {
      await new Promise((resolve) => setImmediate(resolve));
      target.dispatchEvent(new Event('online'));
    }
    assert.equal(attempts, round);
    t.mock.timers.tick(ONLINE_MS);
  }
  stop.abort();
  await following;
});

test('wrong options are refused at once, by name', async () => {
  const url = 'http://127.0.0.1:9';
  const wrong: readonly (readonly [object, RegExp])[] = [
    [{}, /^undefined is no URL of the form/],
    [{ urls: [] }, /^undefined is no URL of the form/],
    [{ url: 'localhost:7796' }, /^localhost:7796 is no URL of the form/],
    [{ urls: [url, 'http://'] }, /^http:\/\/ is no URL of the form/],
    [{ url: `${url}/?prefix=a` }, /is no URL of the form/],
    [{ url: 'http://user:pass@word@node:1/a' }, /^node:1\/a is no URL of the form/],
    [{ url, retryBaseMs: -5 }, /^retryBaseMs: expected a number above 0, got -5$/],
    [{ url, retryMaxMs: 0 }, /^retryMaxMs: /],
    [{ url, silenceMs: 'a' }, /^silenceMs: expected a number above 0, got a$/],
    [{ url, connectMs: Number.NaN }, /^connectMs: /],
    [{ url, queueLength: Number.POSITIVE_INFINITY }, /^queueLength: /],
    [{ url, prefix: [] }, /^prefix: no text or list$/],
    [{ url, prefix: '\ud800' }, /^prefix: /],
    [{ url, prefix: ['a', 'b\udc00'] }, /^prefix: /],
  ];
  for (const [options, message] of wrong) {
    await assert.rejects(follow(options as FollowOptions).next(), { name: 'TypeError', message });
    assert.throws(() => mirror(options as MirrorOptions), { name: 'TypeError', message });
  }
});

test('a URL may have a path: a proxy’s, before the node', async (t) => {
  const feed = await scriptedFeed(t, () => model().from(undefined), [], '/here');
  const events = await collect({ url: `${feed.url}/here/` }, ({ type }) => type === 'synced');
  assert.equal(events.at(-1)?.type, 'synced');
});

test('the delays: soon to each node, then doubled round by round up to the bound, at least half of it', () => {
  const bounds = { retryBaseMs: 500, retryMaxMs: 10_000 };
  const delays = (random: number): number[] =>
    [0, 1, 2, 3, 4, 6, 8, 10, 12, 1_000].map((failures) => retryDelayMs(failures, 2, random, bounds, 5_000));
  assert.deepEqual(delays(0), [100, 100, 500, 500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
  assert.deepEqual(delays(0.5), [75, 75, 375, 375, 750, 1_500, 3_000, 6_000, 7_500, 7_500]);
});

test('after a good connection that soon broke, the next one begins no sooner than another attempt would', () => {
  const bounds = { retryBaseMs: 500, retryMaxMs: 10_000 };
  const delays = [0, 100, 300, 450, 60_000].map((lastedMs) => retryDelayMs(0, 2, 0, bounds, lastedMs));
  assert.deepEqual(delays, [500, 400, 200, 100, 100]);
});

test('whatever becomes of its connections, a node gets at most four attempts a second', (t) => {
  const { seed, random } = seeded();
  t.diagnostic(`PSYNCD_SEED=${seed}`);
  const bounds = { retryBaseMs: 500, retryMaxMs: 10_000 };
  for (const urls of [1, 2, 3]) {
    const lastAt: number[] = Array(urls).fill(-1_000);
    let [now, turn, failures] = [0, 0, 0];
    for (let attempt = 0; attempt < 10_000; attempt += 1) {
      const node = turn % urls;
      assert.ok(now - (lastAt[node] as number) >= 250, `attempt ${attempt} of ${urls} nodes`);
      lastAt[node] = now;
      const isGood = random() < 0.5;
      const lastedMs = Math.floor(random() * 100);
      failures = isGood ? 0 : failures + 1;
      // After a good connection the follower may stay at the node.
      if (!isGood || random() < 0.5) turn += 1;
      now += lastedMs + retryDelayMs(failures, urls, random(), bounds, lastedMs);
    }
  }
});

test('what each close code means', () => {
  const endings = [1000, 1001, 1006, 1011, 4400, 4401, 4403, 4408, 4409, 4413, 4429, 4499, 4503].map(
    (code) => {
      const { refusal, closeCode } = endingOf('', code);
      return [code, refusal?.code ?? (closeCode === TOO_FAR_BEHIND ? 'same' : 'next')];
    },
  );
  assert.deepEqual(endings, [
    [1000, 'next'],
    [1001, 'next'],
    [1006, 'next'],
    [1011, 'next'],
    [4400, 'BAD_REQUEST'],
    [4401, 'UNAUTHORIZED'],
    [4403, 'FORBIDDEN'],
    [4408, 'next'],
    [4409, 'POSITION_LOST'],
    [4413, 'same'],
    [4429, 'next'],
    [4499, 'REFUSED'],
    [4503, 'next'],
  ]);
});
