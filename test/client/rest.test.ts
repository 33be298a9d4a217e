/** `Client` against servers that do not answer like psyncd: nothing of that becomes a value, a deletion or an export. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type OutgoingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import test, { type TestContext } from 'node:test';
import { AdminClient } from '../../src/client/admin/admin-client.ts';
import { Client, type ClientOptions, UnsendableKey } from '../../src/client/rest.ts';

const POSITION = `${'a'.repeat(40)}:7`;
const JSON_TYPE = { 'content-type': 'application/json; charset=utf-8' };
const AT = { 'psync-position': POSITION };

interface Answer {
  readonly status?: number;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: string;
}

/** @returns the URL of a server that answers every request the same */
async function answering(t: TestContext, { status = 200, headers = {}, body = '' }: Answer): Promise<string> {
  const server = createServer((_request, response) => response.writeHead(status, headers).end(body));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** What every `Client` can do. */
const CALLS: Readonly<Record<string, (client: Client) => Promise<unknown>>> = {
  get: (client) => client.get('k'),
  entry: (client) => client.entry('k'),
  set: (client) => client.set('k', 'v'),
  delete: (client) => client.delete('k'),
  expire: (client) => client.expire('k', { ttl: 1 }),
  increment: (client) => client.increment('k'),
  append: (client) => client.append('k', 'v'),
  patch: (client) => client.patch('k', {}),
  batch: (client) => client.batch([]),
  replication: (client) => client.replication(),
};
/** What only some can. */
const MORE_CALLS: Readonly<Record<string, (client: AdminClient) => Promise<unknown>>> = {
  entries: (client) => client.entries().next(),
  page: (client) => client.page(),
  deletePrefix: (client) => client.deletePrefix('k'),
  import: (client) => client.import('{}'),
  export: (client) => client.export(),
  replicaOf: (client) => client.replicaOf('ws://a'),
  promote: (client) => client.promote(),
  check: (client) => client.check(POSITION),
  sessions: (client) => client.sessions(),
  endSession: (client) => client.endSession('1'),
  writeHold: (client) => client.writeHold(),
  holdWrites: (client) => client.holdWrites(1),
  releaseWrites: (client) => client.releaseWrites(),
  backlog: (client) => client.backlog(),
  failover: (client) => client.failover(),
  abortFailover: (client) => client.abortFailover(),
  acceptEmptyMaster: (client) => client.acceptEmptyMaster(),
  resetCounters: (client) => client.resetCounters(),
  digest: (client) => client.digest(),
  info: (client) => client.info(),
  config: (client) => client.config(),
  changeConfig: (client) => client.changeConfig({ backlogSize: '1mb' }),
  tokens: (client) => client.tokens(),
  createToken: (client) => client.createToken({ name: 'n', rights: ['read'] }),
  revokeToken: (client) => client.revokeToken('id'),
  deleteAll: (client) => client.deleteAll(),
  health: (client) => client.health(),
  readiness: (client) => client.readiness(),
};
/** Those for which a missing entry is no error. */
const MAY_MISS = ['get', 'entry', 'delete', 'expire'];

/** Every call, by its name, of both clients. */
function callsTo(url: string): (readonly [name: string, call: () => Promise<unknown>])[] {
  const page = new Client(url);
  const admin = new AdminClient(url, { retries: 0 });
  return [
    ...Object.entries(CALLS).map(([name, call]) => [name, () => call(page)] as const),
    ...Object.entries({ ...CALLS, ...MORE_CALLS }).map(([name, call]) => [name, () => call(admin)] as const),
  ];
}

const PAGE = { 'content-type': 'text/html' };
const FOREIGN: readonly (readonly [string, Answer, RegExp])[] = [
  [
    'a page of a captive portal',
    { headers: PAGE, body: '<!doctype html>' },
    /HTTP status 200, text\/html, no Psync-Position$/,
  ],
  [
    'a page with the header',
    { headers: { ...PAGE, ...AT }, body: '<!doctype html>' },
    /status 200, text\/html$/,
  ],
  [
    'JSON of another service',
    { headers: JSON_TYPE, body: '{"position":"x"}' },
    /application\/json, no Psync-Position$/,
  ],
  [
    'bytes of another service',
    { headers: { 'content-type': 'application/octet-stream' }, body: 'x' },
    /no Psync-Position$/,
  ],
  ['nothing', {}, /HTTP status 200, no Content-Type, no Psync-Position$/],
  ['no content', { status: 204, headers: AT }, /HTTP status 204, no Content-Type$/],
  [
    'a page that is not found',
    { status: 404, headers: PAGE, body: '<h1>404</h1>' },
    /HTTP status 404, text\/html/,
  ],
  [
    'a problem of another service',
    { status: 404, headers: { 'content-type': 'application/problem+json' }, body: '{"code":"NOT_FOUND"}' },
    /^/,
  ],
  [
    'a problem that is no JSON',
    { status: 503, headers: { ...AT, 'content-type': 'application/problem+json' }, body: '<' },
    /HTTP status 503/,
  ],
  [
    'a gateway without the node',
    { status: 502, headers: PAGE, body: '<h1>Bad Gateway</h1>' },
    /HTTP status 502/,
  ],
];
for (const [what, answer, message] of FOREIGN) {
  test(`${what} is an error of every call that names the answer`, async (t) => {
    for (const [name, call] of callsTo(await answering(t, answer))) {
      await assert.rejects(call(), (error: Error & { readonly code?: string; readonly status?: number }) => {
        const code = message.source === '^' && !MAY_MISS.includes(name) ? 'NOT_FOUND' : 'BAD_ANSWER';
        assert.deepEqual(
          [error.name, error.code, error.status],
          ['ApiError', code, answer.status ?? 200],
          name,
        );
        assert.match(error.message, message);
        return true;
      });
    }
  });
}

test('an answer that does not end is an error, and is read no more', async () => {
  const part = new Uint8Array(2 ** 24);
  const answers: readonly (readonly [type: string, status: number, (client: Client) => Promise<unknown>])[] =
    [
      ['application/octet-stream', 200, (client) => client.get('k')],
      ['application/octet-stream', 200, (client) => client.entry('k')],
      ['application/json', 200, (client) => client.replication()],
      ['application/problem+json', 503, (client) => client.get('k')],
      ['text/plain', 200, (client) => (client as AdminClient).metrics()],
    ];
  for (const [type, status, call] of answers) {
    let parts = 0;
    let isRead = true;
    const endless = new ReadableStream<Uint8Array>({
      pull: (to) => {
        parts += 1;
        to.enqueue(part);
      },
      cancel: () => {
        isRead = false;
      },
    });
    const answer = new Response(endless, { status, headers: { 'content-type': type, ...AT } });
    const transport = { fetch: async () => answer, WebSocket };
    const client = new AdminClient('http://node', { transport, retries: 0 });
    await assert.rejects(call(client), { name: 'ApiError', code: 'BAD_ANSWER' }, type);
    assert.equal(isRead, false, type);
    assert.ok(parts < 20, `${parts}`);
  }
});

test('JSON that breaks off, or is no object, is an error', async (t) => {
  for (const body of ['', '{"position":', 'null', '7']) {
    const client = new Client(await answering(t, { headers: { ...JSON_TYPE, ...AT }, body }));
    await assert.rejects(client.replication(), { name: 'ApiError', code: 'BAD_ANSWER' });
  }
});

test('an answer of a node is what it was, and its problem keeps its code', async (t) => {
  const bytes = { 'content-type': 'application/octet-stream', ...AT };
  const value = new Client(await answering(t, { headers: bytes, body: 'v' }));
  assert.deepEqual(await value.get('k'), new TextEncoder().encode('v'));
  const headers = { 'content-type': 'application/problem+json; charset=utf-8', ...AT };
  const none = { status: 404, headers, body: '{"code":"NOT_FOUND","detail":"none"}' };
  const missing = new Client(await answering(t, none));
  assert.deepEqual([await missing.get('k'), await missing.delete('k')], [null, false]);
  assert.deepEqual([await missing.entry('k'), await missing.expire('k', null)], [null, null]);
  const loading = { status: 503, headers, body: '{"code":"LOADING","detail":"wait"}' };
  const busy = new Client(await answering(t, loading));
  await assert.rejects(busy.get('k'), { code: 'LOADING', message: 'wait', status: 503 });
});

test('an entry without a version is an error', async (t) => {
  const headers = { 'content-type': 'application/octet-stream', ...AT };
  const wrong = [{}, { etag: '"x"' }, { etag: '"0"' }, { etag: `"${'9'.repeat(400)}"` }];
  for (const more of [...wrong, { etag: '"5"', 'psync-expires-at': '9'.repeat(30) }]) {
    const client = new Client(await answering(t, { headers: { ...headers, ...more }, body: 'v' }));
    await assert.rejects(client.entry('k'), { name: 'ApiError', code: 'BAD_ANSWER' });
  }
});

test('a signal ends a call with its reason, before and while it is sent', async (t) => {
  const server = createServer(() => abort.abort(new Error('enough')));
  const abort = new AbortController();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const client = new Client(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  const { signal } = abort;
  await assert.rejects(client.set('k', 'v', { signal }), { message: 'enough' });
  await assert.rejects(client.entry('k', { signal }), { message: 'enough' });
});

test('a signal ends a call whose token function, hook or transport never settles, and nothing is sent later', async () => {
  const reason = new Error('enough');
  const never = (): Promise<never> => new Promise(() => undefined);
  const token = Promise.withResolvers<string>();
  let sent = 0;
  const refusing = (async (_url: string, { signal }: RequestInit) => {
    signal?.throwIfAborted();
    sent += 1;
  }) as unknown as typeof fetch;
  const hanging: ClientOptions[] = [
    { token: never },
    { headers: never },
    { transport: { fetch: never, WebSocket } },
    { token: () => token.promise, transport: { fetch: refusing, WebSocket } },
  ];
  for (const options of hanging) {
    const client = new Client('http://127.0.0.1:1', options);
    for (const call of ['get', 'replication'] as const) {
      const abort = new AbortController();
      const { signal } = abort;
      const called = call === 'get' ? client.get('k', { signal }) : client.replication({ signal });
      abort.abort(reason);
      await assert.rejects(called, reason);
    }
  }
  token.resolve('late');
  await new Promise(setImmediate);
  assert.equal(sent, 0);
});

test('keys and text that cannot be sent as they are are a TypeError, and nothing is sent', async () => {
  // Nobody listens there: a request would fail in another way.
  const client = new Client('http://127.0.0.1:1');
  for (const key of ['.', '..', '\ud800', 'a\udc00b']) {
    for (const call of [client.get(key), client.set(key, 'v'), client.delete(key), client.append(key, 'v')]) {
      await assert.rejects(call, (error) => error instanceof UnsendableKey && error instanceof TypeError);
    }
  }
  await assert.rejects(client.set('k', 'half of a pair: \ud800'), { name: 'TypeError' });
  await assert.rejects(client.append('k', '\udc00'), { name: 'TypeError' });
});

test('a URL that is none of a node is a TypeError at once, and one that means a node is taken', async (t) => {
  for (const url of [
    '',
    'node:7796',
    'ftp://a',
    'http://',
    'http://a?x',
    'http://a/b#c',
    'http://u:p@a',
    undefined,
  ]) {
    assert.throws(() => new Client(url as string), {
      name: 'TypeError',
      message: /no URL of the form http:/,
    });
  }
  const type = { 'content-type': 'application/octet-stream' };
  const url = await answering(t, { headers: { ...type, ...AT }, body: 'v' });
  for (const same of [
    url,
    `${url}//`,
    `${url}/path/`,
    url.replace('http', 'ws'),
    url.replace('http', 'HTTP'),
  ]) {
    assert.equal(String(await new Client(same).get('k')), '118', same);
  }
});
