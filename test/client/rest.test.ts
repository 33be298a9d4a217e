/** `Client` against servers that do not answer like psyncd: nothing of that becomes a value, a deletion or an export. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type OutgoingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import test, { type TestContext } from 'node:test';
import { Client, UnsendableKey } from '../../src/client/rest.ts';

const POSITION = `${'a'.repeat(40)}:7`;
const JSON_TYPE = { 'content-type': 'application/json; charset=utf-8' };
const AT = { 'psync-position': POSITION };

interface Answer {
  readonly status?: number;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: string;
}

/** A server that answers every request the same. */
async function answering(t: TestContext, { status = 200, headers = {}, body = '' }: Answer): Promise<Client> {
  const server = createServer((_request, response) => response.writeHead(status, headers).end(body));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return new Client(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
}

const CALLS: Readonly<Record<string, (client: Client) => Promise<unknown>>> = {
  get: (client) => client.get('k'),
  set: (client) => client.set('k', 'v'),
  delete: (client) => client.delete('k'),
  increment: (client) => client.increment('k'),
  append: (client) => client.append('k', 'v'),
  patch: (client) => client.patch('k', {}),
  batch: (client) => client.batch([]),
  export: (client) => client.export(),
  replication: (client) => client.replication(),
  digest: (client) => client.digest(),
};

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
    const client = await answering(t, answer);
    for (const [name, call] of Object.entries(CALLS)) {
      await assert.rejects(
        call(client),
        (error: Error & { readonly code?: string; readonly status?: number }) => {
          const code =
            message.source === '^' && !['get', 'delete'].includes(name) ? 'NOT_FOUND' : 'BAD_ANSWER';
          assert.deepEqual(
            [error.name, error.code, error.status],
            ['ApiError', code, answer.status ?? 200],
            name,
          );
          assert.match(error.message, message);
          return true;
        },
      );
    }
  });
}

test('JSON that breaks off, or is no object, is an error', async (t) => {
  for (const body of ['', '{"position":', 'null', '7']) {
    const client = await answering(t, { headers: { ...JSON_TYPE, ...AT }, body });
    await assert.rejects(client.replication(), { name: 'ApiError', code: 'BAD_ANSWER' });
  }
});

test('an answer of a node is what it was, and its problem keeps its code', async (t) => {
  const value = await answering(t, {
    headers: { 'content-type': 'application/octet-stream', ...AT },
    body: 'v',
  });
  assert.deepEqual(await value.get('k'), new TextEncoder().encode('v'));
  const headers = { 'content-type': 'application/problem+json; charset=utf-8', ...AT };
  const missing = await answering(t, { status: 404, headers, body: '{"code":"NOT_FOUND","detail":"none"}' });
  assert.deepEqual([await missing.get('k'), await missing.delete('k')], [null, false]);
  const busy = await answering(t, { status: 503, headers, body: '{"code":"LOADING","detail":"wait"}' });
  await assert.rejects(busy.get('k'), { code: 'LOADING', message: 'wait', status: 503 });
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
