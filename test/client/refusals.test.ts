/** Nodes that refuse the request of a follower: what it tries then, and when it gives up. */
import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import type { FeedEvent } from '../../src/client/event.ts';
import { type ConnectionState, type FollowOptions, follow } from '../../src/client/follow.ts';
import type { MirrorState } from '../../src/client/mirror/mirror-events.ts';
import type { FeedModel } from '../support/feed-model.ts';
import { type ScriptedFeed, type Step, scriptedFeed } from '../support/scripted-feed.ts';
import { abc, contents, expected, open } from '../support/scripted-mirror.ts';

const AT_ONCE = { retryBaseMs: 1, retryMaxMs: 5 };
const CODES = { 4400: 'BAD_REQUEST', 4401: 'UNAUTHORIZED', 4403: 'FORBIDDEN', 4409: 'POSITION_LOST' };
type Code = keyof typeof CODES;

function refusing(t: TestContext, code: Code, ...before: readonly Step[]): Promise<ScriptedFeed> {
  return scriptedFeed(t, () => [...before, { type: 'error', code: CODES[code], detail: 'no' }, code]);
}

/** The positions that a node was asked for; null: a snapshot. */
function asked({ requests }: ScriptedFeed): (string | null)[] {
  return requests.map((query) => query.get('position'));
}

async function collect(options: FollowOptions, isLast: (event: FeedEvent) => boolean): Promise<FeedEvent[]> {
  const events: FeedEvent[] = [];
  for await (const event of follow({ ...AT_ONCE, ...options })) {
    events.push(event);
    if (isLast(event)) break;
  }
  return events;
}

function serving(t: TestContext, history: FeedModel, ...after: readonly Step[]): Promise<ScriptedFeed> {
  return scriptedFeed(t, (index, query) => [
    ...history.from(query.get('position') ?? undefined),
    ...(index < 3 ? after : []),
  ]);
}

for (const code of [4400, 4401, 4403, 4409] as const) {
  test(`${code} of one node ends nothing that another one serves, and costs no snapshot`, async (t) => {
    const history = abc();
    // Its connection breaks three times, so the refusing node is asked again each time.
    const good = await serving(t, history, 'CUT');
    const bad = await refusing(t, code);
    const states: ConnectionState[] = [];
    const urls = [bad.url, good.url];
    await collect({ urls, onConnection: (state) => states.push(state) }, () => good.requests.length === 4);
    const { position } = history;
    assert.deepEqual(asked(good), [null, position, position, position]);
    assert.deepEqual(asked(bad), [null, position, position, position]);
    const waits = states.filter(({ kind }) => kind === 'waiting');
    assert.deepEqual(
      waits.map(({ url }) => url),
      [...urls, ...urls, ...urls, bad.url],
    );
  });
}

test('a refusal is no end while another node cannot be reached', async (t) => {
  const history = abc();
  const bad = await refusing(t, 4403);
  // The other node is not ready at first.
  const late = await scriptedFeed(t, (index) => (index < 5 ? [4503] : history.from(undefined)));
  await collect({ urls: [bad.url, late.url] }, ({ type }) => type === 'synced');
  assert.deepEqual([bad.requests.length, late.requests.length], [6, 6]);
});

test('when all nodes refuse, following ends with that error', async (t) => {
  const feeds = [await refusing(t, 4403), await refusing(t, 4409), await refusing(t, 4401)];
  const urls = feeds.map(({ url }) => url);
  const following = collect({ urls }, () => false);
  await assert.rejects(following, { name: 'FollowError', code: 'UNAUTHORIZED', closeCode: 4401 });
  assert.deepEqual(
    feeds.map(({ requests }) => requests.length),
    [1, 1, 1],
  );
});

test('a position that all nodes refuse is given up once, after the other nodes and a pause', async (t) => {
  const history = abc();
  const wrong = { type: 'error', code: 'BAD_REQUEST', detail: 'that is no position' };
  const script = (_index: number, query: URLSearchParams): readonly Step[] =>
    query.has('position') ? [wrong, 4400] : history.from(undefined);
  const feeds = [await scriptedFeed(t, script), await scriptedFeed(t, script)] as const;
  const kinds: string[] = [];
  const urls = feeds.map(({ url }) => url);
  const onConnection = ({ kind }: ConnectionState): unknown => kinds.push(kind);
  const position = `${'f'.repeat(40)}:7`;
  await collect({ urls, position, onConnection }, ({ type }) => type === 'synced');
  assert.deepEqual(feeds.map(asked), [[position, null], [position]]);
  const attempt = ['connecting', 'open', 'waiting'];
  assert.deepEqual(kinds, [...attempt, ...attempt, 'connecting', 'open']);
});

test('a position that all nodes refuse is not given up by a follower that takes no snapshot', async (t) => {
  const bad = await refusing(t, 4400);
  const position = `${'f'.repeat(40)}:7`;
  const following = collect({ url: bad.url, position, snapshot: false }, () => false);
  await assert.rejects(following, { code: 'BAD_REQUEST' });
  assert.deepEqual(asked(bad), [position]);
});

test('a node that serves and then refuses gets one start-over for each position, with pauses that grow', async (t) => {
  const history = abc();
  const bad = await refusing(t, 4400, ...history.from(undefined));
  const copy = open(t, { url: bad.url });
  const states: MirrorState[] = [];
  copy.on('state', (state) => states.push(state));
  await assert.rejects(
    copy.ready.then(() => copy.waitFor(`${'a'.repeat(40)}:999`)),
    { code: 'BAD_REQUEST' },
  );
  assert.deepEqual(asked(bad), [null, null]);
  assert.deepEqual(contents(copy), expected(history));
  const kinds = states.map(({ kind }) => kind).filter((kind) => !/syncing|live/.test(kind));
  assert.deepEqual(kinds, ['connecting', 'waiting', 'connecting', 'failed']);
});

test('a mirror keeps its copy while one node refuses and the other one restarts', async (t) => {
  const history = abc();
  const bad = await refusing(t, 4400);
  const good = await scriptedFeed(t, (index, query) =>
    index === 0
      ? [...history.from(undefined), 1001]
      : index < 5
        ? [4503]
        : history.from(query.get('position') ?? undefined),
  );
  const copy = open(t, { urls: [bad.url, good.url] });
  const resets: unknown[] = [];
  copy.on('reset', (reset) => resets.push(reset));
  await copy.ready;
  const { position } = history;
  history.set('d', 'after the restart');
  await copy.waitFor(history.position);
  assert.deepEqual([contents(copy), resets.length], [expected(history), 1]);
  assert.deepEqual(asked(good), [null, ...Array(5).fill(position)]);
});

test('a token that is refused is asked for once more, and again after a connection that was served', async (t) => {
  const history = abc();
  const refusal = [{ type: 'error', code: 'UNAUTHORIZED', detail: 'expired' }, 4401];
  const feed = await scriptedFeed(t, (index, query) =>
    index > 0 && index < 5 ? [...history.from(query.get('position') ?? undefined), ...refusal] : refusal,
  );
  let tokens = 0;
  const token = (): string => {
    tokens += 1;
    return `t${tokens}`;
  };
  await assert.rejects(
    collect({ url: feed.url, token }, () => false),
    { code: 'UNAUTHORIZED' },
  );
  assert.deepEqual([feed.requests.length, tokens], [6, 6]);
  await assert.rejects(
    collect({ url: feed.url, token: 'fixed' }, () => false),
    { code: 'UNAUTHORIZED' },
  );
  assert.equal(feed.requests.length, 7);
});

const NO_TOKENS: Readonly<Record<string, () => string | Promise<string>>> = {
  'never comes': () => new Promise(() => undefined),
  'is rejected': () => Promise.reject(new Error('no session')),
  'is an exception': () => {
    throw new Error('no session');
  },
  'cannot be sent': () => 'é→',
  'is the page of a gateway': () => '<h1>Bad gateway</h1>',
};
for (const [what, answer] of Object.entries(NO_TOKENS)) {
  test(`a token that ${what} ends the attempt, and the next one asks for it again`, async (t) => {
    const history = abc();
    const feed = await serving(t, history);
    let calls = 0;
    const token = (): string | Promise<string> => {
      calls += 1;
      return calls < 3 ? answer() : 'right';
    };
    const details: string[] = [];
    const onConnection = (state: ConnectionState): void => {
      if (state.kind === 'waiting') details.push(state.detail);
    };
    const connectMs = what === 'never comes' ? 20 : 10_000;
    await collect({ url: feed.url, token, connectMs, onConnection }, ({ type }) => type === 'synced');
    // On a busy machine the time for a connection that has its token may be over too.
    assert.ok(what === 'never comes' ? calls >= 3 : calls === 3, `asked ${calls} times`);
    assert.equal(details.length, calls - 1);
    if (what !== 'never comes') assert.equal(feed.requests.length, 1);
    for (const detail of details.slice(0, 2)) assert.match(detail, /^no token in time$|^cannot connect: /);
  });
}

test('a node that says again and again that the token expires makes the application fetch one token', async (t) => {
  const expiring = { type: 'expiring', expiresAt: Date.now() + 1_000 };
  const feed = await scriptedFeed(t, () => [
    { type: 'continue', position: `${'a'.repeat(40)}:0` },
    ...Array(100).fill(expiring),
    { type: 'bookmark', position: `${'a'.repeat(40)}:9` },
  ]);
  let calls = 0;
  const token = (): Promise<string> => {
    calls += 1;
    return calls === 1 ? Promise.resolve('t') : Promise.reject(new Error('no session'));
  };
  await collect({ url: feed.url, position: 'now', token }, ({ type }) => type === 'bookmark');
  assert.equal(calls, 2);
});
