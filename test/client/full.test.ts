/** `Client` of psyncd/client/full with nodes that refuse, hang, break off, or are replicas: what it repeats, where, and when it ends. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import test, { type TestContext } from 'node:test';
import { AdminClient } from '../../src/client/admin/admin-client.ts';
import { Client } from '../../src/client/full/client.ts';
import type { FullClientOptions } from '../../src/client/full/full-options.ts';
import type { Entry } from '../../src/client/mirror/entry.ts';
import { Client as PageClient } from '../../src/client/rest.ts';

const RUN_ID = 'a'.repeat(40);
const at = (offset: number): string => `${RUN_ID}:${offset}`;

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

interface Server {
  readonly url: string;
  /** Method and path of each request, in order. */
  readonly seen: string[];
}

/** @param answers of the requests in order; the last one stands for all that follow */
async function server(t: TestContext, ...answers: Answer[]): Promise<Server> {
  const seen: string[] = [];
  const listener = createServer((request, response) => {
    seen.push(`${request.method} ${request.url}`);
    const answer = answers[Math.min(seen.length, answers.length) - 1] as Answer;
    request.on('error', () => undefined).resume();
    request.once('end', () => answer(request, response));
  });
  await once(listener.listen(0, '127.0.0.1'), 'listening');
  t.after(() => {
    listener.close();
    listener.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${(listener.address() as AddressInfo).port}`, seen };
}

const done =
  (offset = 7): Answer =>
  (request, response) => {
    const isValue = request.method === 'GET' && request.url?.startsWith('/v1/keys/');
    const type = isValue ? 'application/octet-stream' : 'application/json';
    const headers = { 'content-type': type, 'psync-position': at(offset), etag: '"7"' };
    const body = { version: 7, position: at(offset), keys: [], next: null, deleted: 1, value: 1 };
    response.writeHead(200, headers).end(isValue ? 'v' : JSON.stringify(body));
  };
const problem =
  (status: number, code: string, headers: Record<string, string> = {}): Answer =>
  (_request, response) => {
    const type = 'application/problem+json';
    response.writeHead(status, { 'content-type': type, 'psync-position': at(7), ...headers });
    response.end(JSON.stringify({ code, status, detail: code }));
  };
const cut: Answer = ({ socket }) => socket.destroy();
const silent: Answer = () => undefined;
const gateway: Answer = (_request, response) => response.writeHead(502).end('Bad Gateway');
const redirected =
  (to: () => string): Answer =>
  (request, response) =>
    problem(307, 'READONLY', { location: to() + request.url })(request, response);

const CALLS: Readonly<Record<string, (client: Client) => Promise<unknown>>> = {
  get: (client) => client.get('k'),
  entry: (client) => client.entry('k'),
  page: (client) => client.page(),
  set: (client) => client.set('k', 'v'),
  expire: (client) => client.expire('k', null),
  delete: (client) => client.delete('k'),
  'set with ifVersion': (client) => client.set('k', 'v', { ifVersion: 1 }),
  'set with ifAbsent': (client) => client.set('k', 'v', { ifAbsent: true }),
  'delete with ifVersion': (client) => client.delete('k', { ifVersion: 1 }),
  increment: (client) => client.increment('k'),
  append: (client) => client.append('k', 'v'),
  patch: (client) => client.patch('k', {}),
  batch: (client) => client.batch([]),
  deletePrefix: (client) => client.deletePrefix('k'),
  import: (client) => client.import('{}'),
};
/** What has the same effect when it is carried out twice. */
const AGAIN = ['get', 'entry', 'page', 'set', 'expire', 'delete'];
/** What a node may have carried out in part. */
const SINGLE = ['deletePrefix', 'import'];

/** What `Math.random` gives, so that no other timer has the length of a pause. */
const RANDOM = 0.9;
/** Pauses of the client then: before another node, and before the same one. */
const PAUSES = [55, 275, 550, 1_100, 2_200, 4_400];
/** Of nodes that say `Retry-After`. */
const LATER_SECONDS = 7;

/** The pauses of the client take no time. @returns their lengths, in milliseconds */
function withoutPauses(t: TestContext): number[] {
  const pauses: number[] = [];
  t.mock.method(Math, 'random', () => RANDOM);
  const { setTimeout } = globalThis;
  const shorter = (act: (...args: unknown[]) => void, ms?: number, ...args: unknown[]): unknown => {
    if (ms === undefined || ![...PAUSES, LATER_SECONDS * 1_000].includes(ms))
      return setTimeout(act, ms, ...args);
    pauses.push(ms);
    return setTimeout(act, 0);
  };
  t.mock.method(globalThis, 'setTimeout', shorter as typeof setTimeout);
  return pauses;
}

test('what a node refuses before it does anything is repeated, whatever it is', async (t) => {
  withoutPauses(t);
  for (const [status, code] of [
    [503, 'LOADING'],
    [503, 'NOREPLICAS'],
    [503, 'SHUTTING_DOWN'],
    [429, 'TOO_MANY_REQUESTS'],
  ] as const) {
    for (const [name, call] of Object.entries(CALLS)) {
      const { url, seen } = await server(t, problem(status, code), problem(status, code), done());
      const client = new Client(url);
      if (SINGLE.includes(name)) await assert.rejects(call(client), { code }, name);
      else await call(client);
      assert.equal(seen.length, SINGLE.includes(name) ? 1 : 3, `${name}, ${code}`);
    }
  }
});

test('after a cut, or an answer of a gateway, only what may be carried out twice is repeated', async (t) => {
  withoutPauses(t);
  for (const fault of [cut, gateway, problem(503, 'STORAGE_FAILED')]) {
    for (const [name, call] of Object.entries(CALLS)) {
      const { url, seen } = await server(t, fault, done());
      const client = new Client(url);
      if (AGAIN.includes(name)) await call(client);
      else await assert.rejects(call(client), name);
      assert.equal(seen.length, AGAIN.includes(name) ? 2 : 1, name);
    }
  }
});

test('an answer that another request would get too is not repeated', async (t) => {
  for (const answer of [
    problem(412, 'PRECONDITION_FAILED'),
    problem(400, 'BAD_REQUEST'),
    problem(507, 'DISK_FULL'),
    problem(500, 'INTERNAL'),
  ]) {
    for (const [name, call] of Object.entries(CALLS)) {
      const { url, seen } = await server(t, answer, done());
      await assert.rejects(call(new Client(url)), { name: 'ApiError' }, name);
      assert.equal(seen.length, 1, name);
    }
  }
});

test('a call is repeated as often as `retries` says, and then has the last error', async (t) => {
  const pauses = withoutPauses(t);
  for (const retries of [0, 1, 4]) {
    const { url, seen } = await server(t, problem(503, 'LOADING'));
    await assert.rejects(new Client(url, { retries }).get('k'), { code: 'LOADING' });
    await assert.rejects(new Client(url).get('k', { retries }), { code: 'LOADING' });
    assert.equal(seen.length, 2 * (retries + 1));
    assert.deepEqual(pauses.splice(0), [...PAUSES.slice(1, retries + 1), ...PAUSES.slice(1, retries + 1)]);
  }
});

test('the pause is as long as Retry-After says, and a longer one than ten seconds ends the call', async (t) => {
  const pauses = withoutPauses(t);
  const later = (seconds: string): Answer => problem(503, 'LOADING', { 'retry-after': seconds });
  const patient = await server(t, later(String(LATER_SECONDS)), done());
  await new Client(patient.url).get('k');
  assert.deepEqual(pauses.splice(0), [LATER_SECONDS * 1_000]);
  const endless = await server(t, later('11'), done());
  await assert.rejects(new Client(endless.url).get('k'), { code: 'LOADING' });
  assert.deepEqual([pauses.splice(0), endless.seen.length], [[], 1]);
  for (const nonsense of ['-1', 'soon', '1e999', 'Wed, 21 Oct 2026 07:28:00 GMT']) {
    const { url } = await server(t, later(nonsense), done());
    if (nonsense === '1e999') await assert.rejects(new Client(url).get('k'));
    else await new Client(url).get('k');
    assert.deepEqual(pauses.splice(0), nonsense === '1e999' ? [] : [PAUSES[1]], nonsense);
  }
});

test('a call goes to the next node when one fails, and stays there', async (t) => {
  withoutPauses(t);
  for (const fault of [cut, problem(503, 'LOADING', { 'retry-after': '600' })]) {
    const [bad, good] = [await server(t, fault), await server(t, done())];
    const client = new Client([bad.url, good.url]);
    for (let count = 0; count < 3; count += 1) await client.get('k');
    assert.deepEqual([bad.seen.length, good.seen.length], [1, 3]);
  }
});

test('a call that may not be repeated fails, and the next one goes to another node', async (t) => {
  const [bad, good] = [await server(t, cut), await server(t, done())];
  const client = new Client([bad.url, good.url]);
  await assert.rejects(client.increment('k'));
  await client.increment('k');
  assert.deepEqual([bad.seen.length, good.seen.length], [1, 1]);
});

test('the client remembers the master to which a replica redirects writes, until the master fails', async (t) => {
  withoutPauses(t);
  for (const token of [undefined, 'token', () => 'token']) {
    const master: Server = await server(t, done(), done(), cut, problem(503, 'LOADING'));
    const next = await server(t, done());
    let where = master.url;
    const replica = await server(
      t,
      redirected(() => where),
      done(),
      redirected(() => where),
    );
    const client = new Client(replica.url, { token });
    await client.set('k', 'v');
    await client.get('k');
    await client.increment('k');
    assert.deepEqual([replica.seen.length, master.seen.length], [2, 2]);
    where = next.url;
    await client.set('k', 'v');
    await client.increment('k');
    assert.deepEqual([replica.seen.length, master.seen.length, next.seen.length], [3, 3, 2]);
  }
});

const FOREIGN: Readonly<Record<string, Answer>> = {
  'the page of a portal': (_request, response) =>
    response.writeHead(200, { 'content-type': 'text/html' }).end('<p>hello'),
  'that it has no such path': (_request, response) => response.writeHead(404).end(),
  'that it is a replica, without a redirect': problem(307, 'READONLY'),
};
for (const [what, foreign] of Object.entries(FOREIGN)) {
  test(`a call goes to the next URL, and stays there, when a server answers ${what}`, async (t) => {
    withoutPauses(t);
    for (const [name, call] of Object.entries(CALLS)) {
      const [bad, good] = [await server(t, foreign), await server(t, done())];
      const client = new Client([bad.url, good.url]);
      if (!AGAIN.includes(name)) await assert.rejects(call(client), { name: 'ApiError' }, name);
      await call(client);
      await call(client);
      assert.deepEqual([bad.seen.length, good.seen.length], [1, 2], name);
      const alone = await server(t, foreign);
      await assert.rejects(call(new Client(alone.url)), { name: 'ApiError' }, name);
      assert.equal(alone.seen.length, 1, name);
    }
  });

  test(`a server that was once the master is left when it answers ${what}`, async (t) => {
    withoutPauses(t);
    const [old, next] = [await server(t, done(), foreign), await server(t, done())];
    let where = old.url;
    const replica = await server(
      t,
      redirected(() => where),
    );
    const client = new Client(replica.url);
    await client.set('k', 'v');
    where = next.url;
    await client.set('k', 'v');
    await client.increment('k');
    assert.deepEqual([old.seen.length, next.seen.length], [2, 2]);
  });
}

test('a server that was once the master, and now wants another token, is left', async (t) => {
  const [old, next] = [await server(t, done(), problem(401, 'UNAUTHORIZED')), await server(t, done())];
  let where = old.url;
  const replica = await server(
    t,
    redirected(() => where),
  );
  const client = new Client(replica.url, { token: 'x' });
  await client.set('k', 'v');
  where = next.url;
  await assert.rejects(client.set('k', 'v'), { code: 'UNAUTHORIZED' });
  await client.set('k', 'v');
  assert.deepEqual([old.seen.length, next.seen.length], [2, 1]);
});

test('what changes a node stays at the node', async (t) => {
  const master = await server(t, done());
  const replica = await server(
    t,
    redirected(() => master.url),
    done(),
  );
  const client = new AdminClient(replica.url);
  await client.set('k', 'v');
  await client.promote();
  await client.changeConfig({});
  await client.set('k', 'v');
  assert.deepEqual(replica.seen.slice(1), ['DELETE /v1/replication/upstream', 'PATCH /v1/config']);
  assert.equal(master.seen.length, 2);
});

test('a node that does not answer, a token function or a hook that does not settle, end with the time', async (t) => {
  const { url, seen } = await server(t, silent);
  const never = (): Promise<never> => new Promise(() => undefined);
  const cases: FullClientOptions[] = [{}, { token: never }, { headers: never }];
  for (const options of cases) {
    const client = new Client(url, { ...options, timeoutMs: 20, retries: 1 });
    await assert.rejects(client.get('k'), { name: 'TimeoutError' });
    await assert.rejects(client.get('k', { timeoutMs: 1, retries: 0 }), { name: 'TimeoutError' });
  }
  assert.equal(seen.filter((each) => each === 'GET /v1/keys/k').length, seen.length);
});

test('an abort ends a call at once with its reason: while it is sent, and in the pause', async (t) => {
  const reason = new Error('enough');
  const hanging = await server(t, silent);
  const busy = await server(t, problem(503, 'LOADING', { 'retry-after': '9' }));
  for (const { url, seen } of [hanging, busy]) {
    const abort = new AbortController();
    const call = new Client(url).get('k', { signal: abort.signal });
    const poll = setInterval(() => seen.length > 0 && abort.abort(reason), 1);
    await assert.rejects(call, reason);
    clearInterval(poll);
    await assert.rejects(new Client(url).get('k', { signal: abort.signal }), reason);
    assert.equal(seen.length, 1);
  }
});

test('the signal of an export also ends its stream, and its time does not', async (t) => {
  const endless: Answer = (_request, response) => {
    response.writeHead(200, { 'content-type': 'application/x-ndjson', 'psync-position': at(7) });
    response.write('{}\n');
  };
  const { url } = await server(t, endless);
  const abort = new AbortController();
  const { lines } = await new Client(url).export('', { signal: abort.signal, timeoutMs: 1_000 });
  const reader = lines.getReader();
  assert.equal(Buffer.from((await reader.read()).value ?? []).toString(), '{}\n');
  const next = reader.read();
  abort.abort(new Error('enough'));
  await assert.rejects(next, { message: 'enough' });
});

test('after 401 a token function is asked once more, and a token that is text is not tried again', async (t) => {
  for (const [name, call] of Object.entries(CALLS)) {
    const refusing = await server(t, problem(401, 'UNAUTHORIZED'), done());
    const asked: number[] = [];
    const token = (): string => `token-${asked.push(0)}`;
    const client = new Client(refusing.url, { token, retries: 0 });
    if (SINGLE.includes(name)) await assert.rejects(call(client), { code: 'UNAUTHORIZED' });
    else await call(client);
    const count = SINGLE.includes(name) ? 1 : 2;
    assert.deepEqual([asked.length, refusing.seen.length], [count, count], name);
  }
  const operator = await server(t, problem(401, 'UNAUTHORIZED'), done());
  await new AdminClient(operator.url, { token: () => 'x' }).promote();
  assert.equal(operator.seen.length, 2);
  const always = await server(t, problem(401, 'UNAUTHORIZED'));
  await assert.rejects(new Client(always.url, { token: () => 'x' }).get('k'), { code: 'UNAUTHORIZED' });
  assert.equal(always.seen.length, 2);
  await assert.rejects(new Client(always.url, { token: 'x' }).get('k'), { code: 'UNAUTHORIZED' });
  assert.equal(always.seen.length, 3);
});

test('a stream is sent once, whatever becomes of it', async (t) => {
  for (const answer of [problem(503, 'LOADING'), problem(401, 'UNAUTHORIZED'), gateway]) {
    const { url, seen } = await server(t, answer);
    const lines = new Blob(['{}\n']).stream();
    await assert.rejects(new Client(url, { token: () => 'x' }).import(lines), { name: 'ApiError' });
    assert.equal(seen.length, 1);
  }
});

test('with `readOwnWrites` reads wait for what this client has written, also if two answers change places', async (t) => {
  const begun = Promise.withResolvers<void>();
  const answered = Promise.withResolvers<void>();
  const late: Answer = (request, response) => {
    begun.resolve();
    answered.promise.then(() => done(5)(request, response));
  };
  const { url, seen } = await server(t, done(), late, done(9), done());
  const client = new Client(url, { readOwnWrites: true });
  await client.get('k');
  const first = client.set('k', 'v');
  await begun.promise;
  await client.set('k', 'v');
  answered.resolve();
  await first;
  assert.equal(client.position, at(9));
  await client.get('k', { waitMs: 100 });
  await client.get('k', { position: at(3) });
  await client.entries({ prefix: 'a' }).next();
  await client.increment('k');
  await client.replication();
  const position = encodeURIComponent(at(9));
  assert.deepEqual(
    seen.filter((each) => !each.startsWith('PUT')),
    [
      'GET /v1/keys/k',
      `GET /v1/keys/k?position=${position}&timeout=100`,
      `GET /v1/keys/k?position=${encodeURIComponent(at(3))}`,
      `GET /v1/keys?prefix=a&values=true&position=${position}`,
      'POST /v1/keys/k/increment',
      'GET /v1/replication',
    ],
  );
});

test('with `readOwnWrites` a read goes on to a node that knows the history of a promotion', async (t) => {
  withoutPauses(t);
  const promoted = `${'b'.repeat(40)}:9`;
  const master = await server(t, (_request, response) => {
    const headers = { 'content-type': 'application/json', 'psync-position': promoted };
    response.writeHead(200, headers).end('{}');
  });
  const behind = await server(
    t,
    redirected(() => master.url),
    problem(412, 'UNKNOWN_HISTORY'),
  );
  const client = new Client([behind.url, master.url], { readOwnWrites: true });
  await client.set('k', 'v');
  assert.equal(client.position, promoted);
  await client.page();
  assert.deepEqual([behind.seen.length, master.seen.length], [2, 2]);
  const alone = await server(t, problem(412, 'UNKNOWN_HISTORY'));
  await assert.rejects(new Client(alone.url).get('k', { position: promoted }), { code: 'UNKNOWN_HISTORY' });
  assert.equal(alone.seen.length, 1);
});

test('an answer of the old master that comes after one of the new master does not take the reads back', async (t) => {
  const [begun, answered] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const old: Answer = (request, response) => {
    begun.resolve();
    answered.promise.then(() => done(5)(request, response));
  };
  const promoted = `${'b'.repeat(40)}:9`;
  const { url } = await server(t, old, (_request, response) => {
    const headers = { 'content-type': 'application/json', 'psync-position': promoted };
    response.writeHead(200, headers).end('{}');
  });
  const client = new Client(url, { readOwnWrites: true });
  const first = client.set('k', 'v');
  await begun.promise;
  await client.set('k', 'v');
  answered.resolve();
  await first;
  assert.equal(client.position, promoted);
});

test('a false position of one answer ends with the next write, or when the application sets another one', async (t) => {
  const { url, seen } = await server(t, done(9_999_999_999), done(7), done());
  const client = new Client(url, { readOwnWrites: true });
  await client.set('k', 'v');
  assert.equal(client.position, at(9_999_999_999));
  await client.set('k', 'v');
  assert.equal(client.position, at(7));
  client.position = at(5);
  await client.get('k');
  client.position = null;
  await client.get('k');
  assert.deepEqual(seen.slice(2), [`GET /v1/keys/k?position=${encodeURIComponent(at(5))}`, 'GET /v1/keys/k']);
  for (const wrong of ['', 'now', `${at(7)}x`]) {
    assert.throws(() => {
      client.position = wrong;
    }, TypeError);
  }
});

const PAGE_OF = (keys: readonly string[], next: unknown): Answer => {
  const entry = { value: '', encoding: 'utf8', version: 1, size: 0, expiresAt: null };
  const body = { keys: keys.map((key) => ({ key, ...entry })), next, position: at(7) };
  return (_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json', 'psync-position': at(7) });
    response.end(JSON.stringify(body));
  };
};

async function all(client: Client, prefix?: string): Promise<Entry[]> {
  const read: Entry[] = [];
  for await (const entry of client.entries({ prefix })) read.push(entry);
  return read;
}

test('pages that lead no further end `entries` with an error', async (t) => {
  for (const pages of [
    [PAGE_OF([], 'k'), PAGE_OF([], 'k')],
    [PAGE_OF([], 'k'), PAGE_OF([], 'a')],
    [PAGE_OF(['k'], undefined)],
    [PAGE_OF(['k'], 7)],
    [PAGE_OF(['k'], 'k'), PAGE_OF(['k'], 'k')],
    // In UTF-16 the second key would come first.
    [PAGE_OF(['k'], '\u{10000}'), PAGE_OF(['k'], '\uffff')],
    [PAGE_OF(['a'], 'a'), PAGE_OF(['b'], 'b'), PAGE_OF(['a'], 'a')],
  ]) {
    const { url, seen } = await server(t, ...pages);
    const read = all(new Client(url));
    await assert.rejects(read, { name: 'ApiError', code: 'BAD_ANSWER' });
    assert.equal(seen.length, pages.length);
  }
  const { url } = await server(t, PAGE_OF(['\uffff'], '\uffff'), PAGE_OF(['\u{10000}'], null));
  assert.equal((await all(new Client(url))).length, 2);
});

test('keys without the prefix that was asked for end `entries` with an error', async (t) => {
  for (const key of ['order:1', 'user', 'user;1']) {
    const { url } = await server(t, PAGE_OF([key], null));
    const read = new Client(url).entries({ prefix: 'user:' }).next();
    await assert.rejects(read, { name: 'ApiError', code: 'BAD_ANSWER' }, key);
  }
  const { url } = await server(t, PAGE_OF(['user:1'], null));
  assert.equal((await new Client(url).entries({ prefix: 'user:' }).next()).value?.key, 'user:1');
});

test('`entries` goes on after pages without entries', async (t) => {
  const { url } = await server(t, PAGE_OF([], 'k'), PAGE_OF([], 'l'), PAGE_OF(['m'], null));
  assert.deepEqual(
    (await all(new Client(url))).map(({ key }) => key),
    ['m'],
  );
});

test('pages without entries that go on and on end `entries` with an error', async () => {
  const answer = async (): Promise<Response> => {
    pages += 1;
    const body = { keys: [], next: `k${String(pages).padStart(9, '0')}`, position: at(7) };
    return Response.json(body, { headers: { 'psync-position': at(7) } });
  };
  let pages = 0;
  const client = new Client('http://node', { transport: { fetch: answer, WebSocket } });
  await assert.rejects(all(client), { name: 'ApiError', code: 'BAD_ANSWER' });
  assert.equal(pages, 10_001);
});

test('a page that leads behind the prefix ends `entries` with an error', async (t) => {
  for (const next of ['user;', 'v', 'user']) {
    const { url, seen } = await server(t, PAGE_OF(['user:1'], next));
    const read = all(new Client(url), 'user:');
    await assert.rejects(read, { name: 'ApiError', code: 'BAD_ANSWER' }, next);
    assert.equal(seen.length, 1);
  }
});

test('what is no entry, or comes twice, ends `entries` with an error', async (t) => {
  const entry = { key: 'a', value: '', encoding: 'utf8', version: 1, expiresAt: null };
  for (const keys of [
    undefined,
    null,
    'ab',
    [null],
    [{ ...entry, key: 5 }],
    [{ ...entry, value: '!', encoding: 'base64' }],
    [{ ...entry, version: 'x' }],
    [entry, entry],
    [{ ...entry, key: 'b' }, entry],
  ]) {
    const { url } = await server(t, (_request, response) => {
      response.writeHead(200, { 'content-type': 'application/json', 'psync-position': at(7) });
      response.end(JSON.stringify({ keys, next: null, position: at(7) }));
    });
    const read = all(new Client(url));
    await assert.rejects(read, { name: 'ApiError', code: 'BAD_ANSWER' }, JSON.stringify(keys));
  }
});

test('headers of the hook replace none that the client sends, however their names are spelled', async (t) => {
  const got: unknown[] = [];
  const { url } = await server(t, ({ headers }, response) => {
    got.push([headers['content-type'], headers['if-match'], headers.authorization, headers['x-trace']]);
    done()({ method: 'PUT' } as IncomingMessage, response);
  });
  const headers = () => ({
    'Content-Type': 'text/plain',
    'IF-MATCH': '"1"',
    Authorization: 'Basic x',
    'X-Trace': '1',
  });
  await new Client(url, { token: 'secret', headers }).set('k', 'v', { ifVersion: 7 });
  await new PageClient(url, { token: 'secret', headers }).set('k', 'v', { ifVersion: 7 });
  const sent = ['application/octet-stream', '"7"', 'Bearer secret', '1'];
  assert.deepEqual(got, [sent, sent]);
});

test('headers of the hook come with every request, also a repeated one', async (t) => {
  withoutPauses(t);
  const got: unknown[] = [];
  const watched = (answer: Answer): Answer => {
    return (request, response) => {
      got.push(request.headers['x-trace']);
      answer(request, response);
    };
  };
  const { url } = await server(t, watched(problem(503, 'LOADING')), watched(done()));
  let count = 0;
  await new Client(url, { headers: async () => ({ 'x-trace': String(++count) }) }).set('k', 'v');
  assert.deepEqual(got, ['1', '2']);
});

test('wrong URLs and limits are a TypeError at once', () => {
  for (const urls of [
    [],
    '',
    'node:7796',
    ['http://a', 'ftp://b'],
    'http://a?x',
    'http://a#x',
    'http://u:p@a',
  ]) {
    assert.throws(() => new Client(urls), TypeError, String(urls));
  }
  for (const options of [{ retries: -1 }, { retries: Number.NaN }, { timeoutMs: 0 }, { timeoutMs: 1e12 }]) {
    assert.throws(() => new Client('http://a', options), TypeError);
  }
});
