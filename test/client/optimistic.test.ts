/** Optimistic writes: shown at once, confirmed by position, taken back on refusal. The node is scripted. */
import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { until } from '../../src/cli/until.ts';
import { ApiError } from '../../src/client/api-error.ts';
import { collection } from '../../src/client/collection/collection.ts';
import type { Mirror } from '../../src/client/mirror/mirror.ts';
import { MAX_UNDER_WAY, type OptimisticMirror, optimistic } from '../../src/client/optimistic/optimistic.ts';
import type { Accepted } from '../../src/client/optimistic/pending-write.ts';
import type { Writer } from '../../src/client/optimistic/sending.ts';
import { Client, type Condition } from '../../src/client/rest.ts';
import { FeedModel } from '../support/feed-model.ts';
import { type ScriptedFeed, scriptedFeed } from '../support/scripted-feed.ts';
import { abc, honest, open } from '../support/scripted-mirror.ts';

interface Call {
  readonly text: string;
  readonly condition: Condition;
  readonly answer: PromiseWithResolvers<Accepted>;
}

/** Carries nothing out: the test answers. */
class ScriptedWriter implements Writer {
  readonly calls: Call[] = [];

  set(key: string, value: unknown, { signal: _, ...condition }: Condition & { signal?: unknown } = {}) {
    return this.#called(`set ${key} ${value}`, condition);
  }

  patch(key: string, patch: unknown, { signal: _, ...condition }: Condition & { signal?: unknown } = {}) {
    return this.#called(`patch ${key} ${JSON.stringify(patch)}`, condition);
  }

  batch(ops: readonly object[]) {
    return this.#called(JSON.stringify(ops), {});
  }

  #called(text: string, condition: Condition): Promise<Accepted> {
    const answer = Promise.withResolvers<Accepted>();
    this.calls.push({ text, condition: JSON.parse(JSON.stringify(condition)), answer });
    return answer.promise;
  }

  /** Waits for the call of this number. */
  async call(index: number): Promise<Call> {
    await until(`call ${index}`, () => this.calls.length > index);
    return this.calls[index] as Call;
  }
}

interface Stage {
  readonly history: FeedModel;
  readonly feed: ScriptedFeed;
  readonly mirror: Mirror;
  readonly writer: ScriptedWriter;
  readonly writes: OptimisticMirror;
  readonly refused: unknown[];
}

async function stage(t: TestContext): Promise<Stage> {
  const history = abc();
  const feed = await honest(t, history);
  const mirror = open(t, { url: feed.url });
  await mirror.ready;
  const writer = new ScriptedWriter();
  const writes = optimistic(mirror, writer);
  const refused: unknown[] = [];
  writes.on('refused', ({ key, error }) => refused.push(`${key}: ${error}`));
  return { history, feed, mirror, writer, writes, refused };
}

function at(offset: number): string {
  return `${'a'.repeat(40)}:${offset}`;
}

function problem(status: number, code: string): ApiError {
  return new ApiError(status, { code, detail: code });
}

/** Lets what has been answered arrive. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

test('a write is shown at once, and confirmed when the mirror reaches its position', async (t) => {
  const { history, feed, mirror, writer, writes } = await stage(t);
  const told: unknown[] = [];
  writes.subscribe(() => told.push([writes.get('a'), writes.pending]), { key: 'a' });
  const done = writes.set('a', 'new');
  assert.deepEqual([writes.get('a'), mirror.get('a'), writes.pending], ['new', 'value of a', 1]);
  assert.deepEqual(writes.getEntry('a'), {
    key: 'a',
    value: 'new',
    version: -1,
    expiresAt: null,
    isPending: true,
  });
  const { text, answer } = await writer.call(0);
  assert.equal(text, 'set a new');
  answer.resolve({ position: at(40), version: 40 });
  await settled();
  assert.deepEqual([writes.getEntry('a')?.version, writes.getEntry('a')?.isPending], [40, true]);
  feed.send(history.set('a', 'new'));
  assert.deepEqual(await done, { position: at(40), version: 40 });
  assert.deepEqual([writes.getEntry('a') === mirror.getEntry('a'), writes.pending], [true, 0]);
  assert.deepEqual(told, [
    ['new', 1],
    ['new', 1],
    ['new', 0],
  ]);
});

test('an answer that comes after the change has arrived confirms at once', async (t) => {
  const { history, feed, mirror, writer, writes } = await stage(t);
  const done = writes.set('a', 'new');
  feed.send(history.set('a', 'new'));
  await mirror.waitFor(history.position);
  assert.equal(writes.pending, 1);
  (await writer.call(0)).answer.resolve({ position: at(40), version: 40 });
  await done;
  assert.equal(writes.getEntry('a'), mirror.getEntry('a'));
});

test('a refused write is taken back, and its error is told', async (t) => {
  const { mirror, writer, writes, refused } = await stage(t);
  const [ignored, done] = [writes.delete('b'), writes.set('n', '1', { ifAbsent: true })];
  assert.deepEqual([writes.has('b'), writes.has('n'), writes.snapshot().length], [false, true, 3]);
  for (const index of [0, 1]) (await writer.call(index)).answer.reject(problem(403, 'FORBIDDEN'));
  await assert.rejects(done, { name: 'ApiError', code: 'FORBIDDEN' });
  await assert.rejects(ignored);
  assert.deepEqual(refused, ['b: ApiError: FORBIDDEN', 'n: ApiError: FORBIDDEN']);
  assert.deepEqual([writes.has('b'), writes.has('n'), writes.pending], [true, false, 0]);
  assert.equal(writes.snapshot(), mirror.snapshot());
});

test('writes of one key are sent one after the other, those of other keys meanwhile', async (t) => {
  const { writer, writes } = await stage(t);
  void writes.patch('a', { n: 1 });
  void writes.patch('a', { n: 2 });
  void writes.set('b', 'x');
  assert.deepEqual((await writer.call(1)).text, 'set b x');
  writer.calls[0]?.answer.resolve({ position: at(40), version: 40 });
  assert.deepEqual((await writer.call(2)).text, 'patch a {"n":2}');
});

test('a write that waits gives its place to a later one that leaves nothing of it', async (t) => {
  const { history, feed, writer, writes } = await stage(t);
  const all = [writes.set('a', '1'), writes.set('a', '2'), writes.delete('a'), writes.set('a', '4')];
  assert.deepEqual([writes.get('a'), writes.pending], ['4', 2]);
  (await writer.call(0)).answer.resolve({ position: at(40), version: 40 });
  (await writer.call(1)).answer.resolve({ position: at(50), version: 50 });
  feed.send(history.set('a', '1'), history.set('a', '4'));
  assert.deepEqual(
    (await Promise.all(all)).map(({ version }) => version),
    [40, 50, 50, 50],
  );
  assert.deepEqual(
    writer.calls.map(({ text }) => text),
    ['set a 1', 'set a 4'],
  );
});

test('with several writes of a key, one that is refused leaves the others', async (t) => {
  const { history, feed, mirror, writer, writes, refused } = await stage(t);
  feed.send(history.set('j', '{"a":1,"b":1}'));
  await mirror.waitFor(history.position);
  void writes.patch('j', { a: 2 });
  const done = writes.patch('j', { b: 2, c: [1] });
  assert.equal(writes.get('j'), '{"a":2,"b":2,"c":[1]}');
  (await writer.call(0)).answer.reject(problem(413, 'VALUE_TOO_LARGE'));
  await until('it is taken back', () => writes.get('j') === '{"a":1,"b":2,"c":[1]}');
  (await writer.call(1)).answer.resolve({ position: at(50), version: 50 });
  feed.send(history.set('j', '{"a":1,"b":2,"c":[1]}'));
  await done;
  assert.deepEqual(refused, ['j: ApiError: VALUE_TOO_LARGE']);
});

test('what others write meanwhile shows through a patch, and after the confirmation', async (t) => {
  const { history, feed, mirror, writer, writes } = await stage(t);
  feed.send(history.set('j', '{"a":1}'));
  await mirror.waitFor(history.position);
  const done = writes.patch('j', { mine: true });
  feed.send(history.set('j', '{"a":2}'));
  await mirror.waitFor(history.position);
  assert.equal(writes.get('j'), '{"a":2,"mine":true}');
  const seen: unknown[] = [];
  writes.subscribe(() => seen.push(writes.get('j')), { key: 'j' });
  (await writer.call(0)).answer.resolve({ position: at(60), version: 60 });
  await settled();
  // One connection may bring the write and a later one together: what is pending never hides the later one.
  feed.send(history.set('j', '{"a":2,"mine":true}'), history.set('j', 'theirs'));
  await done;
  await mirror.waitFor(history.position);
  assert.equal(writes.get('j'), 'theirs');
  assert.deepEqual(seen, ['{"a":2,"mine":true}', '{"a":2,"mine":true}', 'theirs']);
});

test('a condition is that of the entry which was shown, also of a pending one', async (t) => {
  const { history, feed, writer, writes } = await stage(t);
  void writes.set('a', '1', { ifVersion: writes.getEntry('a')?.version });
  const first = writes.getEntry('a');
  const done = writes.set('a', '2', { ifVersion: first?.version });
  assert.deepEqual([first?.version, writes.get('a')], [-1, '2']);
  assert.deepEqual((await writer.call(0)).condition, { ifVersion: 10 });
  writer.calls[0]?.answer.resolve({ position: at(40), version: 40 });
  assert.deepEqual((await writer.call(1)).condition, { ifVersion: 40 });
  assert.equal(writes.get('a'), '2');
  writer.calls[1]?.answer.resolve({ position: at(50), version: 50 });
  feed.send(history.set('a', '1'), history.set('a', '2'));
  await done;
});

test('a write that builds on one that was refused is refused too, and never sent', async (t) => {
  const { writer, writes, refused } = await stage(t);
  void writes.set('a', '1');
  const done = writes.set('a', '2', { ifVersion: writes.getEntry('a')?.version });
  (await writer.call(0)).answer.reject(problem(403, 'FORBIDDEN'));
  await assert.rejects(done, { name: 'LostBasisError' });
  assert.deepEqual([writes.get('a'), writer.calls.length, refused.length], ['value of a', 1, 2]);
});

test('a write whose condition does not hold is not shown, and the node decides', async (t) => {
  const { history, feed, mirror, writer, writes } = await stage(t);
  void writes.set('a', 'mine', { ifAbsent: true });
  void writes.set('b', 'mine', { ifVersion: 20 });
  void writes.patch('nobody', { mine: true });
  assert.deepEqual([writes.get('a'), writes.get('b')], ['value of a', 'mine']);
  assert.equal(writes.has('nobody'), false);
  feed.send(history.set('b', 'theirs'));
  await mirror.waitFor(history.position);
  assert.equal(writes.get('b'), 'theirs');
  await writer.call(1);
});

const NO_ANSWERS: Readonly<Record<string, unknown>> = {
  'has lost its connection': new TypeError('fetch failed'),
  'is behind a captive portal': problem(200, 'BAD_ANSWER'),
};
for (const [what, error] of Object.entries(NO_ANSWERS)) {
  test(`a write without an answer is sent again if the page ${what}; one with a condition is given up`, async (t) => {
    const { history, feed, writer, writes } = await stage(t);
    const unanswered: unknown[] = [];
    writes.on('unanswered', (event) => unanswered.push(event));
    const [done, uncertain] = [writes.set('a', '1'), writes.set('b', '1', { ifVersion: 20 })];
    for (const index of [0, 1]) (await writer.call(index)).answer.reject(error);
    await assert.rejects(uncertain, { name: 'UncertainWriteError', cause: error });
    assert.deepEqual([writes.get('a'), writes.get('b')], ['1', 'value of b']);
    (await writer.call(2)).answer.resolve({ position: at(40), version: 40 });
    feed.send(history.set('a', '1'));
    await done;
    assert.equal(writer.calls.length, 3);
    assert.deepEqual(unanswered, [{ key: 'a', error }]);
  });
}

/** Codes with which a node has done nothing, and may do it later or elsewhere. */
const LATER: Readonly<Record<string, number>> = {
  LOADING: 503,
  SHUTTING_DOWN: 503,
  NOREPLICAS: 503,
  NOT_REACHED: 503,
  STORAGE_FAILED: 503,
  DISK_FULL: 507,
  READONLY: 307,
  TOO_MANY_REQUESTS: 429,
  REQUEST_TIMEOUT: 408,
};
for (const [code, status] of Object.entries(LATER)) {
  test(`a node that answers ${code} gets the write again, also one with a condition or a signal`, async (t) => {
    const { writer, writes, refused } = await stage(t);
    const giveUp = new AbortController();
    void writes.set('b', '1', { ifVersion: 20 });
    void writes.delete('c');
    const patched = writes.patch('a', {}, { signal: giveUp.signal });
    for (const index of [0, 1, 2]) (await writer.call(index)).answer.reject(problem(status, code));
    const again = await Promise.all([3, 4, 5].map(async (index) => (await writer.call(index)).text));
    const first = writer.calls.slice(0, 3).map(({ text }) => text);
    assert.deepEqual(again.sort(), first.sort());
    assert.deepEqual([writes.get('b'), writes.has('c'), refused], ['1', false, []]);
    giveUp.abort(new Error('that is long enough'));
    await assert.rejects(patched, /long enough/);
  });
}

test('a node that may have carried a part out, or never will, refuses for good', async (t) => {
  const { writer, writes } = await stage(t);
  const finals = { INTERNAL: 500, FORBIDDEN: 403, PRECONDITION_FAILED: 412, VALUE_TOO_LARGE: 413 };
  for (const [index, [code, status]] of Object.entries(finals).entries()) {
    const done = writes.set('a', code);
    (await writer.call(index)).answer.reject(problem(status, code));
    await assert.rejects(done, { code });
  }
});

test('without a connection writes are shown, and sent when it is there again', async (t) => {
  const history = abc();
  const feed = await scriptedFeed(t, (index, query) =>
    index === 1 ? [4503] : history.from(query.get('position') ?? undefined),
  );
  const mirror = open(t, { url: feed.url, retryBaseMs: 1e6, retryMaxMs: 1e6 });
  await mirror.ready;
  const writer = new ScriptedWriter();
  const writes = optimistic(mirror, writer);
  mirror.reconnect();
  await until('the page is offline', () => mirror.state.kind === 'waiting' && feed.requests.length === 2);
  const done = writes.set('a', 'offline');
  await settled();
  assert.deepEqual([writes.get('a'), writer.calls], ['offline', []]);
  mirror.reconnect();
  (await writer.call(0)).answer.resolve({ position: at(40), version: 40 });
  feed.send(history.set('a', 'offline'));
  await done;
});

test('a write that a promotion has lost is taken back', async (t) => {
  const history = abc();
  const lineage = [{ runId: 'a'.repeat(40), validTo: 30 }];
  const feed = await scriptedFeed(
    t,
    (_index, query) => history.from(query.get('position') ?? undefined),
    lineage,
  );
  const mirror = open(t, { url: feed.url });
  await mirror.ready;
  const writer = new ScriptedWriter();
  const writes = optimistic(mirror, writer);
  const done = writes.set('a', 'lost');
  (await writer.call(0)).answer.resolve({ position: at(40), version: 40 });
  await settled();
  history.promote('b'.repeat(40));
  feed.send(history.set('b', 'goes on'));
  await assert.rejects(done, { name: 'LostPositionError' });
  assert.equal(writes.get('a'), 'value of a');
});

test('a signal gives a write up, whether it waits, is sent or is accepted', async (t) => {
  const { writer, writes } = await stage(t);
  const stop = new AbortController();
  const { signal } = stop;
  const all = [
    writes.set('b', '1', { signal }),
    writes.patch('a', {}, { signal }),
    writes.set('a', '2', { signal }),
  ];
  (await writer.call(0)).answer.resolve({ position: at(90), version: 90 });
  await settled();
  stop.abort('enough');
  for (const each of all) await assert.rejects(each, (reason) => reason === 'enough');
  await assert.rejects(writes.set('c', '3', { signal }), (reason) => reason === 'enough');
  assert.deepEqual([writes.get('a'), writes.get('b'), writes.pending], ['value of a', 'value of b', 0]);
});

test('what closes gives all pending writes up, and sends nothing more', async (t) => {
  const { mirror, writer, writes } = await stage(t);
  const pending = [writes.set('a', '1'), writes.set('a', '2', { ifVersion: -1 })];
  await writer.call(0);
  await mirror.close();
  pending.push(writes.set('b', '1'));
  for (const each of pending) await assert.rejects(each, { name: 'MirrorClosedError' });
  writer.calls[0]?.answer.reject(new TypeError('too late'));
  await settled();
  assert.deepEqual([writes.get('a'), writes.pending, writer.calls.length], ['value of a', 0, 1]);
  const other = await stage(t);
  const given = other.writes.set('a', '1');
  other.writes[Symbol.dispose]();
  await assert.rejects(given, { name: 'MirrorClosedError' });
  assert.equal(other.mirror.state.kind, 'live');
});

test('what cannot be sent is refused at once, and never shown', async (t) => {
  const { mirror, writes, writer } = await stage(t);
  const circle: Record<string, unknown> = {};
  circle.circle = circle;
  for (const wrong of [writes.set('\ud800', ''), writes.set('k', '\ud800'), writes.patch('k', circle)]) {
    await assert.rejects(wrong, TypeError);
  }
  const bytes = Buffer.from('A');
  void writes.set('k', bytes);
  bytes[0] = 66;
  // The mirror will have it as text.
  assert.equal(writes.get('k'), 'A');
  for (let index = 0; index < 999; index += 1) void writes.set(`k${index}`, '');
  await assert.rejects(writes.set('one too many', ''), { name: 'TooManyWritesError' });
  // What takes the place of another one makes no more of them.
  void writes.set('k998', 'again');
  assert.deepEqual([writes.get('k998'), writes.pending], ['again', 1_000]);
  assert.deepEqual([writes.pending, writes.has('one too many')], [1_000, false]);
  await until('six are sent', () => writer.calls.length === 6);
  await settled();
  assert.equal(writer.calls.length, 6);
  assert.throws(() => optimistic(mirror, writer, { answerMs: 0 }), TypeError);
});

test('an attempt that gets no answer in time is made again', async (t) => {
  const history = abc();
  const mirror = open(t, { url: (await honest(t, history)).url });
  await mirror.ready;
  const writer = new ScriptedWriter();
  const writes = optimistic(mirror, writer, { answerMs: 5 });
  void writes.set('a', '1');
  await writer.call(1);
  assert.equal(writes.get('a'), '1');
});

test('an attempt may take any time above 0 that a timer accepts', async (t) => {
  const history = abc();
  const mirror = open(t, { url: (await honest(t, history)).url });
  await mirror.ready;
  for (const answerMs of [1000.5, 2 ** 30, 2 ** 31 - 1]) {
    const writer = new ScriptedWriter();
    const writes = optimistic(mirror, writer, { answerMs });
    const unanswered: unknown[] = [];
    writes.on('unanswered', ({ error }) => unanswered.push(error));
    void writes.set('a', '1');
    await writer.call(0);
    await settled();
    assert.deepEqual(unanswered, []);
    writes[Symbol.dispose]();
  }
});

test('a page sees stable objects, and collections of them have types and order', async (t) => {
  const { history, feed, mirror, writer, writes } = await stage(t);
  const all = collection(writes, { decode: String });
  assert.equal(all.snapshot().length, 3);
  const called: string[] = [];
  all.subscribe((changes) => called.push([...changes].map(({ key }) => key).join()));
  void writes.set('aa', 'new');
  const [snapshot, entry, shown] = [writes.snapshot(), writes.getEntry('aa'), all.snapshot()];
  assert.deepEqual([writes.snapshot() === snapshot, writes.getEntry('aa') === entry], [true, true]);
  assert.equal(all.snapshot(), shown);
  const describe = (): string[] =>
    all.snapshot().map(({ key, value, isPending }) => `${key}=${value}${isPending ? '?' : ''}`);
  assert.deepEqual(describe(), ['a=value of a', 'aa=new?', 'b=value of b', 'c=value of c']);
  feed.send(history.set('b', 'x'));
  await mirror.waitFor(history.position);
  assert.deepEqual([writes.snapshot() === snapshot, writes.getEntry('aa') === entry], [false, true]);
  (await writer.call(0)).answer.resolve({ position: at(50), version: 50 });
  feed.send(history.set('aa', 'new'));
  await mirror.waitFor(history.position);
  await until('nothing is pending', () => writes.pending === 0);
  assert.deepEqual(describe(), ['a=value of a', 'aa=new', 'b=x', 'c=value of c']);
  assert.equal(writes.snapshot(), mirror.snapshot());
  assert.ok(called.includes('aa') && called.includes('b'));
});

test('a client of a node is a writer', async (t) => {
  const { mirror } = await stage(t);
  const writes = optimistic(mirror, new Client('http://127.0.0.1:1'));
  await assert.rejects(writes.set('..', ''), { name: 'UnsendableKey' });
  assert.equal(writes.has('..'), false);
});

for (const answer of [
  undefined,
  null,
  {},
  { position: { toString: 0 }, version: 2 },
  { position: [at(5)], version: 2 },
  { position: 'elsewhere', version: 2 },
]) {
  test(`an answer without a position is a refusal: ${JSON.stringify(answer)}`, async (t) => {
    const { writer, writes, refused } = await stage(t);
    const written = writes.set('k', 'v');
    (await writer.call(0)).answer.resolve(answer as unknown as Accepted);
    await assert.rejects(written, TypeError);
    assert.equal(refused.length, 1);
    const next = writes.set('k', 'w');
    (await writer.call(1)).answer.resolve({ position: at(1), version: 1 });
    await next;
  });
}

test('a refusal of something between the page and the node is final, and blocks no other write', async (t) => {
  const { writer, writes, refused } = await stage(t);
  const large = writes.set('large', 'v');
  (await writer.call(0)).answer.reject(problem(413, 'BAD_ANSWER'));
  await assert.rejects(large, { status: 413 });
  assert.equal(refused.length, 1);
});

test('a write that can be aborted replaces no other one, and is replaced by none', async (t) => {
  const { writer, writes } = await stage(t);
  const [first, third] = [new AbortController(), new AbortController()];
  const sent = writes.set('k', 'sent');
  await writer.call(0);
  const mine = writes.set('k', 'mine', { signal: first.signal });
  const plain = writes.set('k', 'plain');
  const last = writes.set('k', 'last', { signal: third.signal });
  first.abort();
  await assert.rejects(mine, { name: 'AbortError' });
  third.abort();
  await assert.rejects(last, { name: 'AbortError' });
  for (const [index, promise] of [sent, plain].entries()) {
    const { answer, text } = await writer.call(index);
    assert.equal(text, ['set k sent', 'set k plain'][index]);
    answer.resolve({ position: at(1), version: index + 1 });
    await promise;
  }
});

test('a write whose signal has aborted is not overtaken: the next one of its key waits for its answer', async (t) => {
  const { history, feed, writer, writes, refused } = await stage(t);
  const stop = new AbortController();
  const older = writes.set('a', 'older', { signal: stop.signal });
  await writer.call(0);
  stop.abort();
  await assert.rejects(older, { name: 'AbortError' });
  const newer = writes.set('a', 'newer');
  void writes.set('b', 'other');
  assert.equal((await writer.call(1)).text, 'set b other');
  await settled();
  assert.deepEqual([writer.calls.length, writes.get('a')], [2, 'newer']);
  // The node carries the older one out late, and answers.
  feed.send(history.set('a', 'older'));
  writer.calls[0]?.answer.resolve({ position: at(40), version: 40 });
  const { text, answer } = await writer.call(2);
  assert.equal(text, 'set a newer');
  feed.send(history.set('a', 'newer'));
  answer.resolve({ position: at(50), version: 50 });
  await newer;
  assert.deepEqual([writes.get('a'), refused.length], ['newer', 1]);
});

test('writes that are aborted one after the other leave a bounded number of requests under way', async (t) => {
  const { writer, writes } = await stage(t);
  for (let index = 0; index < 100; index += 1) {
    const stop = new AbortController();
    const write = writes.set(`key ${index}`, 'v', { signal: stop.signal });
    await settled();
    stop.abort();
    await assert.rejects(write, { name: 'AbortError' });
  }
  assert.equal(writer.calls.length, MAX_UNDER_WAY);
  const last = writes.set('last', 'v');
  await settled();
  assert.equal(writer.calls.length, MAX_UNDER_WAY);
  writer.calls[3]?.answer.resolve({ position: at(40), version: 40 });
  const { text, answer } = await writer.call(MAX_UNDER_WAY);
  assert.equal(text, 'set last v');
  answer.reject(problem(403, 'FORBIDDEN'));
  await assert.rejects(last, { code: 'FORBIDDEN' });
});

/** Lets the test decide when the time of a signal is up: that of this number among those with this length. */
function handTimed(t: TestContext): (index: number, ms: 30_000 | 60_000) => Promise<void> {
  const times: { readonly ms: number; readonly up: AbortController }[] = [];
  t.mock.method(AbortSignal, 'timeout', (ms: number) => {
    const up = new AbortController();
    times.push({ ms, up });
    return up.signal;
  });
  return async (index, ms) => {
    const alike = (): typeof times => times.filter((time) => time.ms === ms);
    await until(`time ${index} of ${ms}`, () => alike().length > index);
    alike()[index]?.up.abort();
  };
}

test('an attempt that is late is not overtaken by a later write, unless it takes twice its time', async (t) => {
  const { history, feed, writer, writes } = await stage(t);
  const isUp = handTimed(t);
  const older = writes.set('a', 'older');
  const late = await writer.call(0);
  await isUp(0, 30_000);
  (await writer.call(1)).answer.resolve({ position: at(40), version: 40 });
  feed.send(history.set('a', 'older'));
  await older;
  const newer = writes.set('a', 'newer');
  await settled();
  assert.equal(writer.calls.length, 2);
  late.answer.reject(new TypeError('fetch failed'));
  assert.equal((await writer.call(2)).text, 'set a newer');
  await isUp(2, 30_000);
  (await writer.call(3)).answer.resolve({ position: at(50), version: 50 });
  feed.send(history.set('a', 'newer'));
  await newer;
  void writes.set('a', 'last');
  await settled();
  assert.equal(writer.calls.length, 4);
  await isUp(2, 60_000);
  assert.equal((await writer.call(4)).text, 'set a last');
});

test('a set does not take the place of a patch, which the node may refuse', async (t) => {
  const { writer, writes } = await stage(t);
  void writes.set('k', 'sent');
  const patched = writes.patch('k', { n: 1 });
  void writes.set('k', '{}');
  assert.equal(writes.pending, 3);
  (await writer.call(0)).answer.resolve({ position: at(40), version: 40 });
  const { text, answer } = await writer.call(1);
  assert.equal(text, 'patch k {"n":1}');
  answer.reject(problem(409, 'NOT_JSON'));
  await assert.rejects(patched, { code: 'NOT_JSON' });
  assert.equal((await writer.call(2)).text, 'set k {}');
});

test('sets that take the place of each other have one promise, however many they are', async (t) => {
  const { history, feed, writer, writes } = await stage(t);
  void writes.set('a', 'sent');
  const promises = new Set<Promise<Accepted>>();
  for (let index = 0; index < 10_000; index += 1) promises.add(writes.set('a', `${index}`));
  promises.add(writes.delete('a'));
  assert.deepEqual([promises.size, writes.pending], [1, 2]);
  (await writer.call(0)).answer.resolve({ position: at(40), version: 40 });
  (await writer.call(1)).answer.resolve({ position: at(50) });
  feed.send(history.set('a', 'sent'), history.write({ type: 'delete', key: 'a' }));
  assert.deepEqual(await Promise.all(promises), [{ position: at(50) }]);
});

const UNRELATED: Readonly<Record<string, (writes: OptimisticMirror) => Promise<Accepted>>> = {
  'a set': (writes) => writes.set('k', 'shown'),
  'a set of bytes': (writes) => writes.set('bytes', Uint8Array.of(255)),
  'a patch': (writes) => writes.patch('json', { a: 1 }),
  'a delete': (writes) => writes.delete('a'),
};
for (const [what, write] of Object.entries(UNRELATED)) {
  for (const has of [true, false]) {
    const end = has ? 'is confirmed if its history has the value' : 'is given up otherwise, and told';
    test(`${what} in a history that the mirror never has ${end}`, async (t) => {
      const { feed, mirror, writer, writes, refused } = await stage(t);
      const isUp = handTimed(t);
      const written = write(writes);
      (await writer.call(0)).answer.resolve({ position: at(900), version: 900 });
      await settled();
      assert.equal(writes.pending, 1);
      // The node comes back with other data, of which nothing leads to the write.
      const other = new FeedModel('b'.repeat(40));
      if (has) {
        other.set('k', 'shown');
        other.set('json', '{"a":1}');
        const bytes = {
          key: 'bytes',
          value: '/w==',
          encoding: 'base64',
          version: 5,
          expiresAt: null,
        } as const;
        other.write({ type: 'set', ...bytes });
      } else {
        for (const each of ['k', 'json', 'bytes', 'a']) other.set(each, 'other');
      }
      feed.send(...other.snapshot('unknown-run-id'));
      await isUp(1, 30_000);
      if (has) {
        await written;
      } else {
        await assert.rejects(written, { name: 'UncertainWriteError' });
      }
      assert.deepEqual([writes.pending, writes.snapshot()], [0, mirror.snapshot()]);
      assert.equal(refused.length, has ? 0 : 1);
    });
  }
}

test('a key that the mirror does not hold is refused at once', async (t) => {
  const feed = await honest(t, abc());
  const mirror = open(t, { url: feed.url, prefix: ['b', 'todo:', 'b'] });
  await mirror.ready;
  const writer = new ScriptedWriter();
  const writes = optimistic(mirror, writer);
  assert.deepEqual(mirror.prefixes, ['b', 'todo:']);
  for (const refused of [writes.set('a', '1'), writes.delete('todo'), writes.patch('', {})]) {
    await assert.rejects(refused, { name: 'TypeError', message: /does not hold/ });
  }
  void writes.set('todo:1', '1');
  assert.equal((await writer.call(0)).text, 'set todo:1 1');
  assert.deepEqual([writes.pending, writer.calls.length], [1, 1]);
});

test('each of many patches of one key is applied once, however many are pending and however often they are shown', async (t) => {
  const { history, feed, mirror, writes } = await stage(t);
  feed.send(history.set('a', '{"base":true}'));
  await mirror.waitFor(history.position);
  const parse = t.mock.method(JSON, 'parse');
  for (let index = 0; index < 200; index += 1) {
    void writes.patch('a', { [`p${index}`]: index });
    for (let look = 0; look < 2; look += 1) writes.get('a');
  }
  // Each patch is parsed as it is taken, and so is the value to which it is applied.
  assert.ok(parse.mock.callCount() <= 2 * 200, `${parse.mock.callCount()} values were parsed`);
  parse.mock.restore();
  assert.equal(Object.keys(JSON.parse(String(writes.get('a')))).length, 201);
  feed.send(history.set('a', '{"other":1}'));
  await mirror.waitFor(history.position);
  const shown = JSON.parse(String(writes.get('a')));
  assert.deepEqual([shown.base, shown.other, shown.p0, shown.p199], [undefined, 1, 0, 199]);
});

test('a change costs no more for each write that waits for the mirror', async (t) => {
  const { history, feed, mirror } = await stage(t);
  const answer = async (): Promise<Accepted> => ({ position: at(1e6), version: 1e6 });
  const writes = optimistic(mirror, { set: answer, patch: answer, batch: answer });
  for (let index = 0; index < 200; index += 1) void writes.set(`k${index}`, '');
  await until('all are accepted', () =>
    Array.from({ length: 200 }, (_, index) => writes.getEntry(`k${index}`)).every(
      (entry) => entry?.version === 1e6,
    ),
  );
  const parsed = t.mock.method(RegExp.prototype, 'exec');
  feed.send(history.set('a', 'new'));
  await mirror.waitFor(history.position);
  const count = parsed.mock.callCount();
  parsed.mock.restore();
  assert.ok(count < 50, `${count} texts were parsed`);
  assert.equal(writes.pending, 200);
});

test('when everything is given up, listeners are told once of all that is taken back', async (t) => {
  const { writes, mirror } = await stage(t);
  const other = optimistic(mirror, new ScriptedWriter());
  for (const each of [writes, other]) for (const key of 'abcd') void each.set(key, 'new');
  for (const [each, end] of [
    [other, () => other[Symbol.dispose]()],
    [writes, () => mirror.close()],
  ] as const) {
    const told: unknown[] = [];
    const given: unknown[] = [];
    each.subscribe((changes) => told.push([...changes].map(({ key }) => key)));
    each.on('pending', ({ pending }) => told.push(pending));
    each.on('refused', ({ key }) => given.push([key, each.pending]));
    await end();
    assert.deepEqual(told, [['a', 'b', 'c', 'd'], 0]);
    assert.deepEqual(
      given,
      ['a', 'b', 'c', 'd'].map((key) => [key, 0]),
    );
  }
});
