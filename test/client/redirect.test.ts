/** Which servers get the token and the headers of a `Client` when an answer redirects its request. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type RequestListener } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import test, { type TestContext } from 'node:test';
import { AdminClient } from '../../src/client/admin/admin-client.ts';
import type { ApiError } from '../../src/client/api-error.ts';
import { Client as FullClient } from '../../src/client/full/client.ts';
import { Client } from '../../src/client/rest.ts';
import { nodeTransport } from '../../src/client-node/transport.ts';
import { Certificates, type Pair } from '../support/certificates.ts';

const TOKEN = 'the-token';
const WRITTEN = { version: 1, created: true, expiresAt: null, position: `${'a'.repeat(40)}:7` };
const WRITES: Readonly<Record<string, (client: Client) => Promise<unknown>>> = {
  set: (client) => client.set('k', 'v'),
  increment: (client) => client.increment('k'),
  append: (client) => client.append('k', 'v'),
  patch: (client) => client.patch('k', {}),
  delete: (client) => client.delete('k'),
};

interface Server {
  readonly url: string;
  /** Methods and `Authorization` headers of the requests. */
  readonly seen: string[];
}

/** @param pair with TLS; undefined: plain HTTP */
async function listening(t: TestContext, answer: RequestListener, pair?: Pair): Promise<Server> {
  const seen: string[] = [];
  const listener: RequestListener = (request, response) => {
    seen.push(`${request.method} ${request.headers.authorization ?? '-'}`);
    request.resume().once('end', () => answer(request, response));
  };
  const server =
    pair === undefined
      ? createServer(listener)
      : createTlsServer({ cert: readFileSync(pair.cert), key: readFileSync(pair.key) }, listener);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  return { url: `${pair === undefined ? 'http' : 'https'}://127.0.0.1:${port}`, seen };
}

/** A master that wants the token. */
const master: RequestListener = ({ headers }, response) => {
  if (headers.authorization === `Bearer ${TOKEN}`) {
    response.writeHead(200, { 'content-type': 'application/json', 'psync-position': WRITTEN.position });
    response.end(JSON.stringify(WRITTEN));
    return;
  }
  response.writeHead(401, { 'content-type': 'application/problem+json' });
  response.end('{"code":"UNAUTHORIZED"}');
};

/** A replica of the master at `url`. */
const replicaOf =
  (url: () => string): RequestListener =>
  (request, response) => {
    const problem = { code: 'READONLY', detail: 'this node is a replica', master: url() };
    redirect(response, 307, url() + request.url, 'application/problem+json', problem);
  };

function redirect(
  response: Parameters<RequestListener>[1],
  status: number,
  location: string,
  type = 'text/html',
  body: unknown = '',
): void {
  response.writeHead(status, { location, 'content-type': type }).end(JSON.stringify(body));
}

test('the master of a replica gets the token of a write, behind two redirects too', async (t) => {
  const top = await listening(t, master);
  const middle = await listening(
    t,
    replicaOf(() => top.url),
  );
  const leaf = await listening(
    t,
    replicaOf(() => middle.url),
  );
  for (const [name, write] of Object.entries(WRITES)) {
    for (const client of [
      new Client(leaf.url, { token: TOKEN }),
      new AdminClient(leaf.url, { token: TOKEN }),
    ]) {
      await write(client);
      assert.match(top.seen.pop() ?? '', /^[A-Z]+ Bearer the-token$/, name);
    }
  }
  assert.deepEqual(top.seen, []);
});

test('a redirect that is no answer of a replica to a write brings the token to no other server', async (t) => {
  const other = await listening(t, master);
  const statuses = [301, 302, 307, 308];
  const calls = {
    ...WRITES,
    get: (client: Client) => client.get('k'),
    entry: (client: Client) => client.entry('k'),
    replication: (client: Client) => client.replication(),
  };
  for (const status of statuses) {
    const first = await listening(t, ({ url }, response) => redirect(response, status, other.url + url));
    for (const [name, call] of Object.entries(calls)) {
      // `fetch` may make a GET of a write, which may have been carried out.
      const isEnd = status < 303 && name in WRITES;
      const code = isEnd ? 'BAD_ANSWER' : 'UNAUTHORIZED';
      await assert.rejects(call(new Client(first.url, { token: TOKEN })), { code }, name);
    }
  }
  const reads = await listening(
    t,
    replicaOf(() => other.url),
  );
  await assert.rejects(new Client(reads.url, { token: TOKEN }).get('k'), { code: 'UNAUTHORIZED' });
  assert.deepEqual(new Set(other.seen.map((each) => each.split(' ')[1])), new Set(['-']));
});

/** `x-key` headers of the requests to a server that takes them all. */
async function keyTaker(t: TestContext): Promise<{ readonly url: string; readonly keys: unknown[] }> {
  const keys: unknown[] = [];
  const { url } = await listening(t, ({ headers, method }, response) => {
    keys.push(headers['x-key']);
    const type = method === 'GET' ? 'application/octet-stream' : 'application/json';
    response.writeHead(200, { 'content-type': type, 'psync-position': WRITTEN.position });
    response.end(JSON.stringify(WRITTEN));
  });
  return { url, keys };
}

test('headers of the hook go to no origin that the application has not named, and a named one gets them', async (t) => {
  const headers = (): Record<string, string> => ({ 'x-key': 'secret' });
  const other = await keyTaker(t);
  const redirects: RequestListener[] = [
    ...[307, 308].map(
      (status): RequestListener =>
        ({ url }, response) =>
          redirect(response, status, other.url + url),
    ),
    replicaOf(() => other.url),
  ];
  for (const listener of redirects) {
    const first = await listening(t, listener);
    for (const token of [undefined, TOKEN]) {
      for (const make of [Client, AdminClient]) {
        const client = new make(first.url, { headers, token });
        await client.set('k', 'v');
        // The second one may go to a remembered master directly.
        await client.increment('k');
        await client.get('k');
      }
    }
    const both = new FullClient([first.url, other.url], { headers });
    assert.deepEqual(new Set(other.keys.splice(0)), new Set([undefined]));
    await both.set('k', 'v');
    await both.set('k', 'v');
    assert.deepEqual(other.keys.splice(0), ['secret', 'secret']);
  }
});

test('a redirect within one server keeps the headers of the hook', async (t) => {
  const keys: unknown[] = [];
  const server = await listening(t, (request: IncomingMessage, response) => {
    keys.push(request.headers['x-key']);
    if (request.url?.startsWith('/old/') === true) redirect(response, 308, request.url.slice('/old'.length));
    else master(request, response as never);
  });
  const options = { headers: () => ({ 'x-key': '1' }), token: TOKEN };
  await new Client(`${server.url}/old`, options).set('k', 'v');
  assert.deepEqual(keys, ['1', '1']);
});

test('a stranger makes nobody trusted, and no redirect leads to what is no server', async (t) => {
  const target = await listening(t, master);
  const stranger = await listening(
    t,
    replicaOf(() => target.url),
  );
  const first = await listening(t, ({ url }, response) => redirect(response, 307, stranger.url + url));
  await assert.rejects(new Client(first.url, { token: TOKEN }).set('k', 'v'), { code: 'UNAUTHORIZED' });
  assert.deepEqual(target.seen, ['PUT -']);
  const type = 'data:application/octet-stream,made-up';
  const liar = await listening(t, (_request, response) => redirect(response, 307, type));
  await assert.rejects(new Client(liar.url).get('k'), { code: 'BAD_ANSWER' });
});

const ELSEWHERE: Readonly<Record<string, (url: string) => string>> = {
  'another key': (url) => url.replace('/k', '/other'),
  'the same path in the query of another one': (url) => url.replace('/v1', '/v1/keys/other?/v1'),
  'the same path in the fragment of another one': (url) => url.replace('/v1', '/v1/keys/other#/v1'),
  'another query': (url) => `${url}${url.includes('?') ? '&' : '?'}ttl=1`,
  'a URL with a user and a password': (url) => url.replace('://', '://user:secret@'),
  'what is no URL': () => 'http://[',
};
for (const [what, change] of Object.entries(ELSEWHERE)) {
  test(`a redirect to ${what} is not followed, even if a replica says so`, async (t) => {
    const target = await listening(t, master);
    const replica = await listening(t, ({ url }, response) =>
      redirect(response, 307, change(target.url + url), 'application/problem+json', { code: 'READONLY' }),
    );
    for (const [name, write] of Object.entries(WRITES)) {
      for (const client of [new Client(replica.url), new FullClient(replica.url, { retries: 0 })]) {
        await assert.rejects(write(client), { code: 'READONLY' }, name);
      }
    }
    const refused = { name: 'ApiError', code: 'READONLY', message: /^(?!.*secret)/ };
    await assert.rejects(new Client(replica.url).get('k'), refused);
    assert.deepEqual(target.seen, []);
  });
}

test('a redirect may change what stands before the path, as a proxy does', async (t) => {
  const target = await listening(t, (request, response) => {
    if (request.url !== '/proxy/v1/keys/a%2Fb?ttl=5') redirect(response, 404, '/');
    else master(request, response as never);
  });
  const replica = await listening(
    t,
    replicaOf(() => `${target.url}/proxy`),
  );
  assert.deepEqual(await new Client(replica.url, { token: TOKEN }).set('a/b', 'v', { ttl: 5 }), WRITTEN);
});

test('what changes a node goes to no other node, whatever its answer says', async (t) => {
  const changes: Readonly<Record<string, (client: AdminClient) => Promise<unknown>>> = {
    promote: (client) => client.promote(),
    holdWrites: (client) => client.holdWrites(1_000),
    releaseWrites: (client) => client.releaseWrites(),
    createToken: (client) => client.createToken({ name: 'n', rights: ['admin'] }),
    revokeToken: (client) => client.revokeToken('1'),
    changeConfig: (client) => client.changeConfig({}),
  };
  const other = await listening(t, master);
  const replica = await listening(
    t,
    replicaOf(() => other.url),
  );
  const proxy = await listening(t, ({ url }, response) => redirect(response, 307, other.url + url));
  for (const [name, change] of Object.entries(changes)) {
    for (const [{ url }, code] of [
      [replica, 'READONLY'],
      [proxy, 'BAD_ANSWER'],
    ] as const) {
      await assert.rejects(change(new AdminClient(url, { token: TOKEN })), { code }, name);
    }
  }
  assert.deepEqual(other.seen, []);
});

test('in a page, a change of a node is not sent behind a redirect that the page cannot see', async () => {
  const asked: unknown[] = [];
  const page = (async (_url: string, init: RequestInit) => {
    asked.push(init.redirect);
    if (init.redirect === 'error') throw new TypeError('redirected');
    return { type: 'opaqueredirect', status: 0, ok: false } as Response;
  }) as typeof fetch;
  const client = new AdminClient('https://node', { transport: { fetch: page, WebSocket } });
  await assert.rejects(client.promote(), TypeError);
  assert.deepEqual(asked, ['manual', 'error']);
});

test('a stranger sends nobody’s secrets back to a named origin', async (t) => {
  const seen: unknown[] = [];
  const key = { 'x-key': 'secret' };
  const named: Server = await listening(t, ({ method, url, headers }, response) => {
    seen.push([method, url, headers.authorization, headers['x-key']]);
    redirect(response, 307, stranger.url + url);
  });
  const stranger: Server = await listening(t, ({ url }, response) =>
    redirect(response, 307, `${named.url}${url}`),
  );
  const client = new Client(named.url, { token: TOKEN, headers: () => key });
  for (const call of [() => client.delete('k'), () => client.get('k')]) {
    await assert.rejects(call, { code: 'BAD_ANSWER' });
    const [first, ...others] = seen.splice(0) as unknown[][];
    assert.deepEqual(first?.slice(2), [`Bearer ${TOKEN}`, 'secret']);
    assert.ok(others.length > 0);
    for (const each of others) assert.deepEqual(each.slice(2), [undefined, undefined]);
  }
});

test('a page sends the headers of the hook over no redirect, since it cannot see where that leads', async () => {
  const asked: (readonly [string | undefined, unknown])[] = [];
  const page = (async (_url: string, { redirect: how, headers }: RequestInit) => {
    asked.push([how, (headers as Record<string, string>)['x-key']]);
    if (how === 'manual') return { type: 'opaqueredirect', status: 0, ok: false } as Response;
    const sentHeaders = { 'content-type': 'application/octet-stream', 'psync-position': WRITTEN.position };
    return new Response('v', { headers: sentHeaders });
  }) as typeof fetch;
  const transport = { fetch: page, WebSocket };
  await new Client('https://node', { headers: () => ({ 'x-key': '1' }), transport }).get('k');
  assert.deepEqual(asked, [
    ['manual', '1'],
    [undefined, undefined],
  ]);
});

test('a write that is answered 303 was carried out, and is not sent again', async (t) => {
  const node = await listening(t, ({ url }, response) => redirect(response, 303, `${url}?done`));
  const client = new Client(node.url, { token: TOKEN });
  await assert.rejects(client.increment('n'), { code: 'BAD_ANSWER' });
  assert.equal(node.seen.length, 1);
});

test('a token that no header can hold is refused, and no error has its text', async (t) => {
  const node = await listening(t, master);
  for (const token of ['secret-one\nsecret-two', 'secret\u0000', 'sécret']) {
    const refused = new Client(node.url, { token }).get('k');
    await assert.rejects(
      refused,
      (error: Error) => error instanceof TypeError && !/s.cret/.test(error.message),
    );
  }
  assert.deepEqual(node.seen, []);
});

test('a client that remembers its master takes nobody else for it, so that nobody else gets the token', async (t) => {
  // Anybody may write there.
  const open = await listening(t, (_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json', 'psync-position': WRITTEN.position });
    response.end(JSON.stringify(WRITTEN));
  });
  for (const status of [307, 308]) {
    const first = await listening(t, ({ url }, response) => redirect(response, status, open.url + url));
    for (const token of [TOKEN, async () => TOKEN]) {
      const client = new AdminClient(first.url, { token });
      for (let count = 0; count < 3; count += 1) await client.set('k', 'v');
    }
    assert.ok(first.seen.length >= 6);
  }
  assert.deepEqual(new Set(open.seen), new Set(['PUT -']));
  const plain = await listening(t, master);
  const certificates = await Certificates.create(t);
  const transport = nodeTransport({ ca: readFileSync(certificates.path('ca.crt')) });
  const secure = await listening(
    t,
    replicaOf(() => plain.url),
    certificates.make('node'),
  );
  const client = new AdminClient(secure.url, { token: TOKEN, transport });
  for (let count = 0; count < 3; count += 1) {
    await assert.rejects(client.set('k', 'v'), { code: 'READONLY' });
  }
  assert.deepEqual([plain.seen.length, secure.seen.length], [0, 3]);
});

test('the token goes from https to no http, and the error names the master', async (t) => {
  const certificates = await Certificates.create(t);
  const transport = nodeTransport({ ca: readFileSync(certificates.path('ca.crt')) });
  const plain = await listening(t, master);
  const secure = await listening(
    t,
    replicaOf(() => plain.url),
    certificates.make('node'),
  );
  for (const [name, write] of Object.entries(WRITES)) {
    const client = new Client(secure.url, { token: TOKEN, transport });
    await assert.rejects(write(client), ({ code, problem }: ApiError) => {
      assert.deepEqual([code, problem.master], ['READONLY', plain.url], name);
      return true;
    });
  }
  assert.deepEqual(plain.seen, []);
});

test('a redirect within one server keeps the token', async (t) => {
  const server = await listening(t, (request: IncomingMessage, response) => {
    if (request.url?.startsWith('/old/') === true) redirect(response, 308, request.url.slice('/old'.length));
    else master(request, response as never);
  });
  await new Client(`${server.url}/old`, { token: TOKEN }).set('k', 'v');
  await new AdminClient(`${server.url}/old`, { token: TOKEN }).digest();
  assert.deepEqual(new Set(server.seen.map((each) => each.split(' ')[1])), new Set(['Bearer']));
});

test('replicas that redirect to one another end in an error', async (t) => {
  const one: Server = await listening(
    t,
    replicaOf(() => other.url),
  );
  const other: Server = await listening(
    t,
    replicaOf(() => one.url),
  );
  await assert.rejects(new Client(one.url, { token: TOKEN }).set('k', 'v'), { code: 'READONLY' });
});

test('a page, which cannot read redirects, shows its token behind one, but to no http from https', async () => {
  const asked: string[] = [];
  const page = (to: string): typeof fetch =>
    (async (url: string, init: RequestInit) => {
      const { authorization = '-' } = init.headers as Record<string, string>;
      asked.push(`${url} ${authorization}`);
      if (init.redirect === 'manual' && url.startsWith('https://node')) {
        return { type: 'opaqueredirect', status: 0, ok: false } as Response;
      }
      const isRedirected = url.startsWith('https://node');
      const body = isRedirected ? '{"code":"UNAUTHORIZED"}' : JSON.stringify(WRITTEN);
      const type = isRedirected ? 'application/problem+json' : 'application/json';
      const headers = { 'content-type': type, 'psync-position': WRITTEN.position };
      const response = new Response(body, { status: isRedirected ? 401 : 200, headers });
      Object.defineProperty(response, 'redirected', { value: isRedirected });
      Object.defineProperty(response, 'url', { value: isRedirected ? `${to}/v1/keys/k` : url });
      return response;
    }) as typeof fetch;
  const client = (to: string): Client =>
    new Client('https://node', { token: TOKEN, transport: { fetch: page(to), WebSocket } });
  await client('https://master').set('k', 'v');
  assert.equal(asked.at(-1), 'https://master/v1/keys/k Bearer the-token');
  await assert.rejects(client('http://master').set('k', 'v'), { code: 'UNAUTHORIZED' });
  assert.deepEqual(
    asked.filter((each) => each.startsWith('http://')),
    [],
  );
});
