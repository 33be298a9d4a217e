/** A request that waits, and whose token is revoked meanwhile, reads nothing newer, writes nothing, and gives its place back. */
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import test, { type TestContext } from 'node:test';
import type { Right } from '../../src/access/right.ts';
import { createToken, revokeToken } from '../../src/access/tokens/tokens.ts';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { call, trusting } from '../support/trusting.ts';

const LATER = 1_000_000;
/** No test waits for it. */
const LONG_MS = 600_000;
const WHOLE = 12 * 1024 * 1024;

interface Stage {
  readonly node: ChildNode;
  readonly admin: string;
  /** A position that the node does not reach. */
  readonly later: string;
  token(...rights: Right[]): Promise<string>;
  /** Resolves when the node knows that the token is gone. */
  revoke(token: string): Promise<void>;
  put(key: string, value: string): Promise<void>;
}

async function stage(t: TestContext, ...flags: string[]): Promise<Stage> {
  const { cluster, node, issuer } = await trusting(t, '--body-timeout', '10m', ...flags);
  const file = `${cluster.data('node')}/tokens.json`;
  const admin = await issuer.sign({ psyncd: { rights: ['admin'] } });
  const put = async (key: string, value: string): Promise<void> => {
    assert.ok((await call(node, admin, 'PUT', `/v1/keys/${key}`, value)).ok);
  };
  await put('k', 'old');
  const position = (await call(node, admin, 'GET', '/v1/keys/k')).headers.get('psync-position') as string;
  const [runId, offset] = position.split(':') as [string, string];
  return {
    node,
    admin,
    later: `${runId}:${Number(offset) + LATER}`,
    put,
    token: async (...rights) => {
      const { text } = await createToken(
        file,
        { name: 'app', rights, prefixes: null, expiresAt: null },
        Date.now(),
      );
      await until(
        'the token is known',
        async () => (await call(node, text, 'GET', '/nothing')).status === 404,
      );
      return text;
    },
    revoke: async (token) => {
      await revokeToken(file, token.split('_')[1] as string);
      await until(
        'the token is gone',
        async () => (await call(node, token, 'GET', '/nothing')).status === 401,
      );
    },
  };
}

/** Sends requests in one packet behind a `GET /healthz`, whose answer shows that the packet has arrived. */
async function sent(t: TestContext, node: ChildNode, text: string, reads = true) {
  const socket = connect(node.port, '127.0.0.1');
  t.after(() => socket.destroy());
  const got = { text: '' };
  socket.on('data', (data) => {
    got.text += data.toString('latin1');
  });
  socket.on('error', () => undefined);
  if (!reads) socket.once('data', () => socket.pause());
  socket.write(`GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n${text}`);
  await until('the packet has arrived', () => got.text.includes('200 OK'));
  return { socket, got };
}

/** @param headers each with its line end */
function requestOf(token: string, line: string, headers = '', body = ''): string {
  return `${line} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${token}\r\n${headers}\r\n${body}`;
}

function jsonOf(body: string): string {
  return `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n`;
}

function statuses(text: string): string[] {
  return [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map((match) => match[1] as string);
}

test('reads behind an answer that the client does not read are 401 after the revocation, and show nothing newer', async (t) => {
  const { node, token, revoke, put } = await stage(t);
  await put('big', 'B'.repeat(WHOLE));
  const owner = await token('read');
  const kinds = {
    'the fast path': ['GET /v1/keys/k', 'GET /v1/keys/k30'],
    'the long way': ['GET /v1/keys/k?timeout=1', 'GET /v1/keys/k30?timeout=1'],
    pages: ['GET /v1/keys?prefix=k&values=true'],
  };
  const mine: { kind: string; token: string; at: Awaited<ReturnType<typeof sent>>; count: number }[] = [];
  await put('k', `old${'o'.repeat(3_000)}`);
  await put('k30', `old${'o'.repeat(30_000)}`);
  for (const [kind, lines] of Object.entries(kinds)) {
    const requests = Array.from({ length: 40 }, () => lines.map((line) => requestOf(owner, line))).flat();
    const text = [requestOf(owner, 'GET /v1/keys/big'), ...requests].join('');
    mine.push({ kind, token: owner, at: await sent(t, node, text, false), count: requests.length + 2 });
  }
  const gets = '{"ops":[{"op":"get","key":"k30"}]}';
  const batch = requestOf(owner, 'POST /v1/batch', jsonOf(gets), gets);
  const text = requestOf(owner, 'GET /v1/keys/big') + batch;
  mine.push({ kind: 'batches', token: owner, at: await sent(t, node, text, false), count: 3 });
  await revoke(owner);
  await put('k', `new-secret${'n'.repeat(3_000)}`);
  await put('k30', `new-secret${'n'.repeat(30_000)}`);
  for (const { kind, at, count } of mine) {
    at.socket.resume();
    await until(`${kind}: all are answered`, () => statuses(at.got.text).length === count);
    assert.equal(at.got.text.includes('new-secret'), false, kind);
    assert.equal(statuses(at.got.text).at(-1), '401', kind);
  }
});

test('a read and a batch that wait for room among unread answers end with the token', async (t) => {
  const { node, admin, token, revoke, put } = await stage(t, '--request-memory', '1mb');
  const owner = await token('read', 'write');
  await put('big', 'B'.repeat(WHOLE));
  await put('k30', 'o'.repeat(30_000));
  const holds = await sent(t, node, requestOf(owner, 'GET /v1/keys/big'), false);
  const ops = '{"ops":[{"op":"get","key":"k30"},{"op":"set","key":"written","value":"x"}]}';
  const waiting = [
    await sent(t, node, requestOf(owner, 'GET /v1/keys/k30')),
    await sent(t, node, requestOf(owner, 'GET /v1/keys/k30?timeout=1')),
    await sent(t, node, requestOf(owner, 'POST /v1/batch', jsonOf(ops), ops)),
  ];
  await revoke(owner);
  await put('k30', 'new-secret'.repeat(3_000));
  holds.socket.destroy();
  for (const { got } of waiting) {
    await until('it is answered', () => statuses(got.text).length === 2);
    assert.deepEqual(statuses(got.text), ['200', '401']);
    assert.equal(got.text.includes('new-secret'), false);
  }
  assert.equal((await call(node, admin, 'GET', '/v1/keys/written')).status, 404);
});

test('an import writes nothing of what it has read when its token is revoked, and says how much is in', async (t) => {
  const { node, admin, token, revoke } = await stage(t);
  const owner = await token('write');
  const headers = 'Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n';
  const lines = Array.from({ length: 1_900 }, (_, index) => `{"key":"i${index}","value":"v"}\n`).join('');
  const chunk = `${lines.length.toString(16)}\r\n${lines}\r\n`;
  const { got } = await sent(t, node, requestOf(owner, 'POST /v1/import', headers, chunk));
  await until('a group is in', async () => (await call(node, admin, 'GET', '/v1/keys/i999')).status === 200);
  await revoke(owner);
  await until('it is answered', () => statuses(got.text).length === 2);
  assert.deepEqual(statuses(got.text), ['200', '401']);
  assert.match(got.text, /"imported":1000\b/);
  assert.match(got.text, /www-authenticate: Bearer/i);
  assert.equal((await call(node, admin, 'GET', '/v1/keys/i1899')).status, 404);
});

test('what waits gives its place back when its token is revoked', async (t) => {
  const { node, admin, later, token, revoke } = await stage(t, '--max-waiting', '2');
  const owner = await token('read', 'write');
  const read = requestOf(owner, `GET /v1/keys/k?position=${later}&timeout=${LONG_MS}`);
  const write = (key: string): string =>
    requestOf(owner, `PUT /v1/keys/${key}?acks=1&timeout=${LONG_MS}`, 'Content-Length: 1\r\n', 'v');
  const reads = [await sent(t, node, read), await sent(t, node, read)];
  const writes = [await sent(t, node, write('w0')), await sent(t, node, write('w1'))];
  const full = async (path: string, method: string, body?: string): Promise<boolean> =>
    (await call(node, admin, method, path, body)).status === 429;
  const another = `/v1/keys/k?position=${later}&timeout=1`;
  assert.ok(await full(another, 'GET'));
  assert.ok(await full('/v1/keys/w2?acks=1&timeout=1', 'PUT', 'v'));
  await revoke(owner);
  for (const { got } of reads) {
    await until('the read is answered', () => statuses(got.text).length === 2);
    assert.equal(statuses(got.text)[1], '401');
  }
  // The write was carried out before, and its client learns so.
  for (const { got } of writes) {
    await until('the write is answered', () => statuses(got.text).length === 2);
    assert.equal(statuses(got.text)[1], '202');
    assert.match(got.text, /"acks":0/);
  }
  assert.equal(await full(another, 'GET'), false);
  assert.equal(await full('/v1/keys/w2?acks=1&timeout=1', 'PUT', 'v'), false);
});

interface Described {
  readonly parameters?: readonly { readonly name?: string; readonly $ref?: string }[];
  readonly requestBody?: { readonly content: Readonly<Record<string, unknown>> };
}

/** @returns each operation of the document that waits for a position or for a body, as a request that does so */
async function waitingRequests({ node, later }: Stage, owner: string) {
  const { paths } = (await (await call(node, null, 'GET', '/openapi.json')).json()) as {
    paths: Record<string, Record<string, Described>>;
  };
  const requests: { name: string; text: string }[] = [];
  for (const [path, operations] of Object.entries(paths)) {
    for (const [method, { parameters = [], requestBody }] of Object.entries(operations)) {
      const names = parameters.map((each) => each.name ?? each.$ref?.split('/').at(-1));
      const url = path.replace('{key}', 'k').replace('{id}', 'none');
      const line = `${method.toUpperCase()} ${url}`;
      if (requestBody !== undefined) {
        const type = Object.keys(requestBody.content)[0] as string;
        const headers = `Content-Type: ${type}\r\nContent-Length: 1000\r\n`;
        requests.push({ name: line, text: requestOf(owner, line, headers, '{"key":"new","value":"v"}\n') });
      } else if (names.includes('position') && url !== '/v1/replication/check') {
        // /v1/changes waits as long for a position that is to come as for anything that follows.
        if (url === '/v1/changes') continue;
        const needed = url === '/v1/diff' ? `&from=${later}` : '';
        const query = `?position=${later}&timeout=${LONG_MS}${needed}`;
        requests.push({ name: line, text: requestOf(owner, line + query) });
      }
    }
  }
  return requests;
}

test('each operation of the document that can wait ends with 401 when its token is revoked, and does nothing', async (t) => {
  const own = await stage(t);
  const { node, admin, token, revoke } = own;
  const owner = await token('admin');
  const before = await (await call(node, admin, 'GET', '/v1/digest')).json();
  const requests = await waitingRequests(own, owner);
  assert.ok(requests.length > 12, String(requests.map(({ name }) => name)));
  const open = await Promise.all(
    requests.map(async ({ name, text }) => ({ name, ...(await sent(t, node, text)) })),
  );
  // Nothing is answered before.
  assert.equal((await call(node, admin, 'GET', '/v1/keys/k')).status, 200);
  for (const { name, got } of open) assert.deepEqual(statuses(got.text), ['200'], name);
  await revoke(owner);
  for (const { name, got } of open) {
    await until(`${name} is answered`, () => statuses(got.text).length === 2);
    assert.deepEqual(statuses(got.text), ['200', '401'], name);
  }
  const after = await (await call(node, admin, 'GET', '/v1/digest')).json();
  assert.deepEqual(after, before);
});
