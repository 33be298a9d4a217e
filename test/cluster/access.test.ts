/** Tokens: who may do what, the same on every path into a node. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { WebSocket } from 'ws';
import { RIGHTS, type Right } from '../../src/access/right.ts';
import { createToken, listTokens, revokeToken } from '../../src/access/tokens/tokens.ts';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { follow } from '../../src/client/follow.ts';
import { tokenProtocol } from '../../src/client/request/token.ts';
import { Client } from '../../src/client/rest.ts';
import { REQUIRED } from '../../src/http/required-rights.ts';
import { Cluster } from '../support/cluster.ts';
import { document } from '../support/contract.ts';
import { exchanged, rawRequest } from '../support/raw-http.ts';

interface Guarded {
  readonly cluster: Cluster;
  readonly node: ChildNode;
  /** The file with the tokens. */
  readonly file: string;
  /** With all rights. */
  readonly admin: string;
  readonly make: (rights: readonly Right[], prefixes?: readonly string[]) => Promise<string>;
}

/** A node whose clients need a token. */
async function guarded(t: TestContext, ...flags: string[]): Promise<Guarded> {
  const cluster = await Cluster.create(t);
  const file = join(cluster.data('node'), 'tokens.json');
  const make: Guarded['make'] = async (rights, prefixes) => {
    const wanted = { name: 'test', rights, prefixes: prefixes ?? null, expiresAt: null };
    return (await createToken(file, wanted, Date.now())).text;
  };
  const admin = await make(['admin']);
  const node = await cluster.start('node', '--auth-failures', '100000', ...flags);
  return { cluster, node, file, admin, make };
}

/** @returns once the node knows the token */
async function known(node: ChildNode, token: string): Promise<void> {
  await until(
    'the node knows the token',
    async () => (await call(node, token, 'GET', '/nothing')).status === 404,
  );
}

/** Starts a replica that shows the token, from a file that can be changed. */
async function following(
  cluster: Cluster,
  master: ChildNode,
  token: string,
): Promise<{ readonly replica: ChildNode; readonly tokenFile: string }> {
  const tokenFile = join(cluster.data('node'), '..', 'token');
  writeFileSync(tokenFile, `${token}\n`);
  const flags = ['--replica-of', master.wsUrl, '--upstream-token-file', tokenFile];
  return { replica: await cluster.start('replica', ...flags), tokenFile };
}

function call(
  node: ChildNode,
  token: string | null,
  method: string,
  path: string,
  body?: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<Response> {
  const authorization: Record<string, string> = token === null ? {} : { authorization: `Bearer ${token}` };
  return fetch(`${node.url}${path}`, {
    method,
    headers: { ...authorization, ...headers },
    body: body ?? null,
    redirect: 'manual',
    signal: AbortSignal.timeout(60_000),
  });
}

const JSON_TYPE = { 'content-type': 'application/json' };

/** One request for each operation, and the rights of which one is enough; empty: none is needed. */
const OPERATIONS: Readonly<Record<string, readonly [string, string, readonly Right[], string?]>> = {
  getKey: ['GET', '/v1/keys/k', ['read']],
  headKey: ['HEAD', '/v1/keys/k', ['read']],
  putKey: ['PUT', '/v1/keys/k', ['write'], 'v'],
  patchKey: ['PATCH', '/v1/keys/k', ['write'], '{}'],
  deleteKey: ['DELETE', '/v1/keys/k', ['write']],
  appendToKey: ['POST', '/v1/keys/k/append', ['write'], 'v'],
  incrementKey: ['POST', '/v1/keys/n/increment', ['write'], '{}'],
  setExpiry: ['PUT', '/v1/keys/k/expiry', ['write'], '{"ttl":60}'],
  deleteExpiry: ['DELETE', '/v1/keys/k/expiry', ['write']],
  listKeys: ['GET', '/v1/keys', ['read']],
  deleteKeys: ['DELETE', '/v1/keys?prefix=none', ['write']],
  exportEntries: ['GET', '/v1/export', ['read']],
  importEntries: ['POST', '/v1/import', ['write'], '{"key":"i","value":"v"}'],
  batch: ['POST', '/v1/batch', ['write'], '{"ops":[{"op":"set","key":"b","value":"v"}]}'],
  followChanges: ['GET', '/v1/changes?position=now&wait=0', ['read']],
  getDiff: ['GET', `/v1/diff?from=${'0'.repeat(40)}:0`, ['read']],
  getDigest: ['GET', '/v1/digest', ['read', 'replicate']],
  getSnapshot: ['GET', '/v1/snapshot', ['replicate']],
  getSnapshotFile: ['GET', `/v1/snapshots/${'0'.repeat(40)}/0`, ['replicate']],
  headSnapshotFile: ['HEAD', `/v1/snapshots/${'0'.repeat(40)}/0`, ['replicate']],
  getReplication: ['GET', '/v1/replication', ['metrics', 'replicate']],
  getSessions: ['GET', '/v1/replication/sessions', ['metrics', 'replicate']],
  getBacklog: ['GET', '/v1/replication/backlog', ['metrics', 'replicate']],
  getInfo: ['GET', '/v1/info', ['metrics', 'replicate']],
  checkPosition: ['GET', '/v1/replication/check?position=x', ['read', 'metrics', 'replicate']],
  setUpstream: ['PUT', '/v1/replication/upstream', [], '{"url":"nothing"}'],
  deleteUpstream: ['DELETE', '/v1/replication/upstream', []],
  failover: ['POST', '/v1/replication/failover', [], '{}'],
  abortFailover: ['DELETE', '/v1/replication/failover', []],
  acceptEmptyMaster: ['POST', '/v1/replication/accept', []],
  resetCounters: ['POST', '/v1/replication/counters/reset', []],
  endSession: ['DELETE', '/v1/replication/sessions/none', []],
  getWriteHold: ['GET', '/v1/writes/hold', ['metrics', 'replicate']],
  holdWrites: ['PUT', '/v1/writes/hold', [], '{"ms":1}'],
  releaseWrites: ['DELETE', '/v1/writes/hold', []],
  getConfig: ['GET', '/v1/config', []],
  changeConfig: ['PATCH', '/v1/config', [], '{}'],
  listTokens: ['GET', '/v1/tokens', []],
  createToken: ['POST', '/v1/tokens', [], '{}'],
  revokeToken: ['DELETE', '/v1/tokens/none', []],
  getMetrics: ['GET', '/metrics', ['metrics']],
  getHealth: ['GET', '/healthz', []],
  getReadiness: ['GET', '/readyz', []],
};
const OPEN: ReadonlySet<string> = new Set(['getHealth', 'getReadiness']);

test('every operation of the document has a row in the table of rights, and in this test', () => {
  const operations = Object.values(document.paths).flatMap((item) =>
    Object.values(item).map(({ operationId }) => operationId),
  );
  assert.deepEqual([...REQUIRED.keys()].sort(), [...operations].sort());
  assert.deepEqual(Object.keys(OPERATIONS).sort(), [...operations].sort());
});

test('each operation is for exactly those whose token has a right that it names', async (t) => {
  const { node, admin, make } = await guarded(t);
  const tokens = new Map<Right, string>([['admin', admin]]);
  for (const right of RIGHTS) if (right !== 'admin') tokens.set(right, await make([right]));
  await known(node, tokens.get('metrics') as string);
  for (const [operation, [method, path, rights, body]] of Object.entries(OPERATIONS)) {
    const isOpen = OPEN.has(operation);
    for (const token of [null, 'nonsense', `${admin}x`]) {
      const { status } = await call(node, token, method, path, body, JSON_TYPE);
      assert.equal(status === 401, !isOpen, `${operation} with ${token}: ${status}`);
    }
    for (const [right, token] of tokens) {
      const { status } = await call(node, token, method, path, body, JSON_TYPE);
      const isAllowed = isOpen || right === 'admin' || rights.includes(right);
      assert.equal(status !== 403 && status !== 401, isAllowed, `${operation} with ${right}: ${status}`);
    }
  }
  for (const path of [
    '/',
    '/docs',
    '/docs/json',
    '/docs/yaml',
    '/docs/static/index.html',
    '/openapi.json',
    '/openapi.yaml',
  ]) {
    for (const token of [null, 'nonsense']) {
      const { status } = await call(node, token, 'GET', path);
      assert.ok(status < 400, `${path}: ${status}`);
    }
  }
  for (const path of ['/nothing', '/v1/keys/', '/v1/replication/stream']) {
    assert.equal((await call(node, null, 'GET', path)).status, 401, path);
    const { status } = await call(node, tokens.get('metrics') as string, 'GET', path);
    assert.notEqual(status, 401, path);
  }
});

test('a hash of the history is only for those who may read all keys, and where writes end for nobody with a prefix', async (t) => {
  const { node, admin, make } = await guarded(t);
  const tokens = {
    limited: await make(['read', 'write'], ['mine/']),
    metrics: await make(['metrics'], ['mine/']),
    both: await make(['read', 'metrics'], ['mine/']),
    writes: await make(['write']),
    reads: await make(['read']),
    replicate: await make(['replicate']),
    admin,
  };
  await known(node, tokens.replicate);
  await call(node, admin, 'PUT', '/v1/keys/other', '4711');
  const status = (await (await call(node, admin, 'GET', '/v1/replication')).json()) as {
    readonly position: string;
    readonly historyHash: string;
  };
  const { position, historyHash } = status;
  assert.match(historyHash, /^[0-9a-f]{16}$/);
  const path = '/v1/replication/check';
  const expected: Readonly<Record<keyof typeof tokens, readonly [boolean, boolean, boolean | null]>> = {
    // Where a write ends, whether it has this hash, the hash itself; null: it may not ask.
    limited: [false, false, null],
    metrics: [true, false, false],
    both: [true, false, false],
    writes: [false, false, null],
    reads: [true, true, null],
    replicate: [true, true, true],
    admin: [true, true, true],
  };
  for (const [name, [ends, hash, own]] of Object.entries(expected)) {
    const token = tokens[name as keyof typeof tokens];
    const asked = async (query: string): Promise<number> =>
      (await call(node, token, 'GET', `${path}${query}`)).status;
    assert.equal(await asked(''), ends ? 200 : 403, name);
    assert.equal(await asked(`?position=${position}`), ends ? 200 : 403, name);
    for (const told of [historyHash, '0'.repeat(16)])
      assert.equal(await asked(`?position=${position}&hash=${told}`), hash ? 200 : 403, name);
    const part = `${position}:8192:4096:00000000`;
    assert.equal(await asked(`?snapshot=${part}`), hash ? 200 : 403, name);
    for (const query of ['hash=', `hash=${historyHash}&hash=${historyHash}`, `%68ash=${historyHash}`])
      if (!hash) assert.equal(await asked(`?position=${position}&${query}`), 403, `${name} ${query}`);
    const answer = await call(node, token, 'GET', '/v1/replication');
    assert.equal(answer.status, own === null ? 403 : 200, name);
    const text = await answer.text();
    assert.equal(text.includes(historyHash), own === true, name);
  }
});

test('a token with a prefix reaches no other key, on any path into the node', async (t) => {
  const { node, admin, make } = await guarded(t);
  const token = await make(['read', 'write'], ['mine/']);
  await known(node, token);
  for (const key of ['mine/a', 'other']) await call(node, admin, 'PUT', `/v1/keys/${key}`, 'v');
  const isRefused = async (method: string, path: string, body?: string): Promise<boolean> => {
    const { status } = await call(node, token, method, path, body, JSON_TYPE);
    if (status !== 403) assert.ok(status < 400 || status === 404, `${method} ${path}: ${status}`);
    return status === 403;
  };
  // With and without an escape or a query: through Fastify and past it.
  for (const [key, mine] of [
    ['mine/a', true],
    ['mine%2Fa', true],
    ['%6dine/none', true],
    ['mine/', true],
    ['mine/..%2Fother', true],
    ['other', false],
    ['none', false],
    ['%6Fther', false],
    ['mine', false],
    ['MINE/a', false],
    ['mine%252Fa', false],
    ['%00mine/a', false],
    ['..%2Fmine/a', false],
  ] as const) {
    for (const query of ['', '?timeout=1']) {
      assert.equal(await isRefused('GET', `/v1/keys/${key}${query && '?'}`), !mine, key);
      assert.equal(await isRefused('PUT', `/v1/keys/${key}${query && '?ttl=1000'}`, 'v'), !mine, key);
    }
    assert.equal(await isRefused('HEAD', `/v1/keys/${key}`), !mine, key);
    assert.equal(await isRefused('DELETE', `/v1/keys/${key}/expiry`), !mine, key);
  }
  for (const query of ['', '?prefix=', '?prefix=mine', '?prefix=other', '?prefix=mine%252F']) {
    for (const path of ['/v1/keys', '/v1/export', '/v1/changes'])
      assert.ok(await isRefused('GET', path + query), path + query);
    if (query !== '') assert.ok(await isRefused('DELETE', `/v1/keys${query}`), query);
  }
  // A digest is of all keys, whatever prefix a request adds.
  for (const query of ['', '?prefix=mine%2F', '?prefix=mine%2F&prefix=mine%2Fa'])
    assert.ok(await isRefused('GET', `/v1/digest${query}`), query);
  assert.ok(await isRefused('DELETE', '/v1/keys?all=true'));
  const whole = await make(['read', 'write', 'replicate']);
  await known(node, whole);
  for (const [method, path] of [
    ['DELETE', '/v1/keys?all=true'],
    ['GET', '/v1/digest?against=ws://127.0.0.1:1'],
  ] as const)
    assert.equal((await call(node, whole, method, path)).status, 403, path);
  assert.ok(await isRefused('GET', '/v1/changes?prefix=mine%2F&prefix=o&wait=0'));
  assert.ok(!(await isRefused('GET', '/v1/keys?prefix=mine%2F')));
  assert.ok(!(await isRefused('GET', '/v1/export?prefix=mine%2Fa')));
  assert.ok(!(await isRefused('GET', '/v1/changes?prefix=mine%2F&position=now&wait=0')));
});

test('a refusal names the right, and is the same for keys that are there and that are not', async (t) => {
  const { node, admin, make } = await guarded(t);
  const [token, other] = [await make(['read'], ['mine/']), await make(['metrics'])];
  await known(node, other);
  await call(node, admin, 'PUT', '/v1/keys/there', 'v');
  for (const [method, body] of [
    ['GET', undefined],
    ['PUT', 'v'],
    ['DELETE', undefined],
  ] as const) {
    for (const shown of [token, other]) {
      const [there, absent] = await Promise.all(
        ['there', 'absent'].map((key) => call(node, shown, method, `/v1/keys/${key}`, body)),
      );
      for (const answer of [there, absent]) {
        assert.equal(answer?.status, 403);
        const challenge = 'Bearer realm="psyncd", error="insufficient_scope"';
        assert.equal(answer?.headers.get('www-authenticate'), challenge);
      }
      const text = await there?.text();
      assert.equal(text, await absent?.text());
      const { code, detail } = JSON.parse(text ?? '') as Record<string, string>;
      assert.equal(code, 'FORBIDDEN');
      assert.match(detail ?? '', method === 'GET' ? /right read/ : /right write/);
    }
  }
});

test('a batch with one operation that is refused does nothing and names all of them', async (t) => {
  const { node, admin, make } = await guarded(t);
  const token = await make(['write'], ['mine/']);
  await known(node, token);
  const ops = [
    { op: 'set', key: 'mine/a', value: '1' },
    { op: 'set', key: 'other', value: '1' },
    { op: 'get', key: 'mine/a' },
  ];
  const answer = await call(node, token, 'POST', '/v1/batch', JSON.stringify({ ops }), JSON_TYPE);
  assert.equal(answer.status, 403);
  assert.deepEqual(((await answer.json()) as { ops: unknown }).ops, [1, 2]);
  assert.equal((await call(node, admin, 'GET', '/v1/keys/mine/a')).status, 404);
});

test('a refused write tells nothing of what is there to a token that may only write', async (t) => {
  const { node, admin, make } = await guarded(t);
  const tokens = [await make(['write']), await make(['write', 'read'])];
  await known(node, tokens[1] as string);
  // The last one has a long version, which is in no other text by chance.
  const stored = { long: 'x'.repeat(16 * 1024 * 1024 - 4_321), json: '{"a":4711}', n: '9223372036854770001' };
  for (const [key, value] of Object.entries(stored)) await call(node, admin, 'PUT', `/v1/keys/${key}`, value);
  const version =
    (await call(node, admin, 'HEAD', '/v1/keys/n')).headers.get('etag')?.replaceAll('"', '') ?? '';
  assert.match(version, /^\d+$/);
  const batch = (op: object): [string, string, string] => [
    'POST',
    '/v1/batch',
    JSON.stringify({ ops: [op] }),
  ];
  const requests: readonly (readonly [string, string, string, string?])[] = [
    ['POST', '/v1/keys/n/increment', '{"by":"9000"}'],
    batch({ op: 'increment', key: 'n', by: 9_000 }),
    ['POST', '/v1/keys/json/increment', '{}'],
    ['POST', '/v1/keys/long/append', 'y'.repeat(10_000)],
    batch({ op: 'append', key: 'long', value: 'y'.repeat(10_000) }),
    ['POST', '/v1/keys/n/increment', '{}', '"1"'],
    ['PUT', '/v1/keys/n', 'v', '"1"'],
    ['DELETE', '/v1/keys/n', '', '"1"'],
    ['DELETE', '/v1/keys/n/expiry', '', '"1"'],
    batch({ op: 'set', key: 'n', value: 'v', ifVersion: 1 }),
    batch({ op: 'set', key: 'n', value: 'v', ifAbsent: true }),
    batch({ op: 'delete', key: 'n', ifVersion: 1 }),
  ];
  for (const [method, path, body, match] of requests) {
    for (const [index, token] of tokens.entries()) {
      const headers = { ...JSON_TYPE, ...(match === undefined ? {} : { 'if-match': match }) };
      const answer = await call(node, token, method, path, body === '' ? undefined : body, headers);
      const what = `${method} ${path} ${body.slice(0, 100)} ${answer.status}`;
      assert.ok([409, 412, 413].includes(answer.status), what);
      const all = `${await answer.text()}${answer.headers.get('etag') ?? ''}`;
      const mayRead = index === 1;
      assert.ok(
        !all.includes(stored.n.slice(0, 12)) && !all.includes(String(stored.long.length + 10_000)),
        what,
      );
      assert.equal(all.includes(version), mayRead && answer.status === 412, `${what}: ${all}`);
      assert.equal(all.includes('currentVersion'), mayRead && answer.status === 412, what);
    }
  }
});

test('an import ends at the first line that is refused, and says what is in', async (t) => {
  const { node, admin, make } = await guarded(t);
  const token = await make(['write'], ['mine/']);
  await known(node, token);
  const lines = ['mine/a', 'mine/b', 'other', 'mine/c'].map((key) => JSON.stringify({ key, value: 'v' }));
  const answer = await call(node, token, 'POST', '/v1/import', lines.join('\n'));
  const { code, line, imported } = (await answer.json()) as Record<string, unknown>;
  assert.deepEqual({ code, line, imported }, { code: 'FORBIDDEN', line: 3, imported: 2 });
  assert.equal((await call(node, admin, 'GET', '/v1/keys/mine/b')).status, 200);
  assert.equal((await call(node, admin, 'GET', '/v1/keys/mine/c')).status, 404);
});

test('what is wrong with a token is not told, and what is no token is a bad request', async (t) => {
  const { node, file, make } = await guarded(t);
  const revoked = await make(['read']);
  await known(node, revoked);
  await revokeToken(file, revoked.split('_')[1] as string);
  await until(
    'the token is gone',
    async () => (await call(node, revoked, 'GET', '/v1/keys/k')).status === 401,
  );
  const missing = await call(node, null, 'GET', '/v1/keys/k');
  assert.equal(missing.headers.get('www-authenticate'), 'Bearer realm="psyncd"');
  const bodies = new Set<string>();
  for (const token of [
    revoked,
    `${revoked.slice(0, -1)}!`,
    'psyncd_aaaaaaaa_b_c',
    'x',
    `${revoked}${revoked}`,
  ]) {
    const answer = await call(node, token, 'GET', '/v1/keys/k');
    assert.equal(answer.status, 401);
    assert.equal(answer.headers.get('www-authenticate'), 'Bearer realm="psyncd", error="invalid_token"');
    bodies.add(await answer.text());
  }
  assert.equal(bodies.size, 1);
  const bad = [
    ['Authorization: Basic YTpi'],
    ['Authorization: Bearer'],
    ['Authorization: Bearer a', 'Authorization: Bearer b'],
    ['Authorization: Bearer a, Bearer b'],
  ];
  for (const headers of bad) {
    const [answer] = await exchanged(node, [rawRequest('GET', '/v1/keys/k', '', ...headers)]);
    assert.equal(answer?.status, 400, headers.join());
  }
  for (const name of ['token', 'access_token', '_token']) {
    const answer = await call(node, null, 'GET', `/v1/keys/k?${name}=x`);
    assert.equal(answer.status, 400);
    assert.match(await answer.text(), /Authorization: Bearer/);
  }
});

test('an address that shows many wrong tokens is told to wait, and its valid tokens go on', async (t) => {
  const { node, admin } = await guarded(t, '--auth-failures', '10');
  // One connection, on which the good token was shown before.
  const good = rawRequest('GET', '/nothing', '', `Authorization: Bearer ${admin}`);
  const bad = rawRequest('GET', '/v1/keys/k', '', 'Authorization: Bearer wrong');
  const answers = await exchanged(node, [good, ...Array<string>(12).fill(bad), good]);
  const statuses = answers.map(({ status }) => status);
  assert.deepEqual(statuses.slice(0, 11), [404, ...Array<number>(10).fill(401)]);
  assert.deepEqual(statuses.slice(11), [429, 429, 404]);
  // Whoever shows a valid token is let in, whatever others behind the same address do.
  assert.equal((await call(node, admin, 'GET', '/nothing')).status, 404);
  assert.ok(Number(answers.at(-2)?.headers.get('retry-after')) > 1);
  assert.equal((await call(node, null, 'GET', '/healthz')).status, 200);
});

test('the API makes, lists and revokes tokens, with effect before it answers', async (t) => {
  const { node, admin } = await guarded(t);
  const wanted = { name: 'web', rights: ['read'], prefixes: ['mine/'] };
  const answer = await call(node, admin, 'POST', '/v1/tokens', JSON.stringify(wanted), JSON_TYPE);
  assert.equal(answer.status, 201);
  const { id, token } = (await answer.json()) as { id: string; token: string };
  assert.equal((await call(node, token, 'GET', '/v1/keys?prefix=mine%2F')).status, 200);
  const list = await (await call(node, admin, 'GET', '/v1/tokens')).text();
  assert.ok(list.includes(id) && !list.includes(token) && !/[0-9a-f]{64}/.test(list));
  const { seen } = socket(t, `${node.wsUrl}/v1/changes?prefix=mine%2F`, [
    'psync.v1.json',
    tokenProtocol(token),
  ]);
  await until('the snapshot has come', () => seen.types.includes('synced'));
  assert.equal((await call(node, admin, 'DELETE', `/v1/tokens/${id}`)).status, 200);
  assert.equal((await call(node, token, 'GET', '/v1/keys?prefix=mine%2F')).status, 401);
  await until('the WebSocket is closed', () => seen.code !== null);
  assert.equal(seen.code, 4401);
  assert.equal((await call(node, admin, 'DELETE', `/v1/tokens/${id}`)).status, 404);
  const certificate = { san: 'spiffe://cluster/web' };
  const entry = JSON.stringify({ ...wanted, certificate });
  const given = await call(node, admin, 'POST', '/v1/tokens', entry, JSON_TYPE);
  assert.equal(given.status, 201);
  const { id: entryId, createdAt, ...rest } = (await given.json()) as Record<string, unknown>;
  assert.deepEqual(rest, { ...wanted, expiresAt: null, certificate });
  assert.equal((await call(node, admin, 'POST', '/v1/tokens', entry, JSON_TYPE)).status, 400, 'a second one');
  assert.equal((await call(node, admin, 'DELETE', `/v1/tokens/${entryId}`)).status, 200);
  for (const wrong of [
    { ...wanted, certificate: { san: '' } },
    { ...wanted, certificate: { san: 'a\nb' } },
    { ...wanted, certificate: { san: 'a\ud800b' } },
    { ...wanted, certificate: { san: 'a', cn: 'b' } },
    { ...wanted, certificate: 'a' },
    { ...wanted, rights: ['fly'] },
    { ...wanted, rights: ['admin'] },
    { ...wanted, expiresAt: 1 },
    { name: 'x' },
  ]) {
    const { status } = await call(node, admin, 'POST', '/v1/tokens', JSON.stringify(wrong), JSON_TYPE);
    assert.equal(status, 400, JSON.stringify(wrong));
  }
});

test('a list that can no longer be used is a fault of the node, not of who asks for it', async (t) => {
  const { node, admin, file } = await guarded(t);
  writeFileSync(file, '{"tokens": [');
  const wanted = JSON.stringify({ name: 'web', rights: ['read'] });
  for (const [method, path, body] of [
    ['GET', '/v1/tokens'],
    ['POST', '/v1/tokens', wanted],
    ['DELETE', '/v1/tokens/aaaaaaaa'],
  ] as const) {
    const answer = await call(node, admin, method, path, body, JSON_TYPE);
    const { code, detail } = (await answer.json()) as { code: string; detail: string };
    assert.deepEqual([answer.status, code], [503, 'STORAGE_FAILED'], method);
    assert.match(detail, /the file with the tokens cannot be used: it is not JSON/);
    assert.ok(!detail.includes(file));
  }
});

test('a node without tokens makes none for whoever can reach it', async (t) => {
  const node = await (await Cluster.create(t)).start('node');
  const wanted = JSON.stringify({ name: 'mine', rights: ['admin'] });
  assert.equal((await call(node, null, 'POST', '/v1/tokens', wanted, JSON_TYPE)).status, 403);
  assert.equal((await call(node, null, 'GET', '/v1/keys/k')).status, 404);
});

test('requests without a token may do what --anonymous-rights says', async (t) => {
  const { node, admin } = await guarded(t, '--anonymous-rights', 'read');
  await call(node, admin, 'PUT', '/v1/keys/k', 'v');
  assert.equal((await call(node, null, 'GET', '/v1/keys/k')).status, 200);
  assert.equal((await call(node, null, 'PUT', '/v1/keys/k', 'v')).status, 401);
  assert.equal((await call(node, 'nonsense', 'GET', '/v1/keys/k')).status, 401);
});

/** Follows over a WebSocket. @returns the codes of `error` events, and the close code once it is closed */
function socket(t: TestContext, url: string, protocols: string[], headers: Record<string, string> = {}) {
  const ws = new WebSocket(url, protocols, { headers });
  const seen = {
    types: [] as string[],
    errors: [] as string[],
    code: null as number | null,
    status: null as number | null,
  };
  t.after(() => ws.terminate());
  ws.on('message', (data) => {
    const { type, code } = JSON.parse(String(data)) as { type: string; code: string };
    seen.types.push(type);
    if (type === 'error') seen.errors.push(code);
  });
  ws.on('close', (code) => {
    seen.code = code;
  });
  ws.on('unexpected-response', (_request, response) => {
    seen.status = response.statusCode ?? null;
    ws.terminate();
  });
  ws.on('error', () => undefined);
  return { ws, seen };
}

test('a WebSocket is refused before the upgrade, and a page is told on the open WebSocket', async (t) => {
  const { node, make } = await guarded(t);
  const reader = await make(['read'], ['mine/']);
  await known(node, reader);
  const url = `${node.wsUrl}/v1/changes`;
  const json = 'psync.v1.json';
  const mine = `${url}?prefix=mine%2F`;
  const refused = async (...args: [string, string[], Record<string, string>?]): Promise<unknown> => {
    const { seen } = socket(t, ...args);
    await until('it ended', () => seen.status !== null || seen.code !== null);
    return seen.status ?? [seen.errors.join(), seen.code];
  };
  assert.deepEqual(await refused(mine, [json]), ['UNAUTHORIZED', 4401]);
  assert.equal(await refused(mine, [json], { authorization: 'Bearer x' }), 401);
  assert.deepEqual(await refused(mine, [json], { origin: node.url }), ['UNAUTHORIZED', 4401]);
  assert.deepEqual(await refused(mine, [json, tokenProtocol('x')]), ['UNAUTHORIZED', 4401]);
  assert.equal(await refused(mine, [tokenProtocol(reader)]), 400);
  assert.equal(await refused(`${mine}&access_token=x`, [json]), 400);
  assert.deepEqual(await refused(url, [json, tokenProtocol(reader)]), ['FORBIDDEN', 4403]);
  for (const [protocols, headers] of [
    [[json, tokenProtocol(reader)], {}],
    [[json], { authorization: `Bearer ${reader}` }],
  ] as const) {
    const { ws, seen } = socket(t, mine, [...protocols], headers);
    await until('the snapshot has come', () => seen.types.includes('synced'));
    assert.equal(ws.protocol, json);
  }
  const stream = `${node.wsUrl}/v1/replication/stream`;
  assert.equal(await refused(stream, ['psync.v1'], { authorization: 'Bearer x' }), 401);
  assert.equal(await refused(stream, ['psync.v1'], { authorization: `Bearer ${reader}` }), 403);
});

test('streams end when their token is revoked, narrowed or expires, on each transport', async (t) => {
  const { node, file, make } = await guarded(t);
  const ends = {
    revoke: async (token: string) => revokeToken(file, token.split('_')[1] as string),
    narrow: async (token: string) => {
      const id = token.split('_')[1];
      const { readTokens, changeTokens } = await import('../../src/access/tokens/token-file.ts');
      assert.ok(readTokens(file)?.some((each) => each.id === id));
      await changeTokens(file, {
        change: (tokens) => ({
          tokens: tokens.map((each) => (each.id === id ? { ...each, prefixes: ['other/'] } : each)),
        }),
      });
    },
    expire: async (token: string) => {
      const id = token.split('_')[1];
      const { changeTokens } = await import('../../src/access/tokens/token-file.ts');
      await changeTokens(file, {
        change: (tokens) => ({
          tokens: tokens.map((each) => (each.id === id ? { ...each, expiresAt: Date.now() + 1_500 } : each)),
        }),
      });
    },
  };
  for (const [how, end] of Object.entries(ends)) {
    const token = await make(['read']);
    await known(node, token);
    const { seen } = socket(t, `${node.wsUrl}/v1/changes`, ['psync.v1.json', tokenProtocol(token)]);
    const streams = await Promise.all(
      ['text/event-stream', 'application/x-ndjson'].map((accept) =>
        call(node, token, 'GET', '/v1/changes', undefined, { accept }),
      ),
    );
    await until('the snapshot has come', () => seen.types.includes('synced'));
    await end(token);
    const code = how === 'narrow' ? 'FORBIDDEN' : 'UNAUTHORIZED';
    await until('the WebSocket is closed', () => seen.code !== null);
    assert.deepEqual([seen.errors, seen.code], [[code], how === 'narrow' ? 4403 : 4401], how);
    for (const stream of streams)
      assert.match(await stream.text(), new RegExp(`"type":"error","code":"${code}"`), how);
  }
});

test('tokens that cannot be used stay out, and the node keeps those that it has', async (t) => {
  const { node, file, admin } = await guarded(t);
  for (const content of ['{', '{"tokens":[{}]}', '']) {
    writeFileSync(file, content);
    await until('the log says so', () => node.log.includes('tokens-not-reloaded'));
    assert.equal((await call(node, admin, 'GET', '/nothing')).status, 404);
  }
  writeFileSync(file, '{"tokens":[]}');
  await until('the token is gone', async () => (await call(node, admin, 'GET', '/nothing')).status === 401);
  assert.doesNotMatch(node.log, new RegExp(admin));
});

test('a node with tokens that cannot be used does not start, and loses nothing', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await node.client.set('k', 'v');
  await node.stop();
  const file = join(cluster.data('node'), 'tokens.json');
  writeFileSync(file, '{"tokens":[{"id":"x"}]}');
  await assert.rejects(cluster.start('node'), /tokens\.json cannot be used: token 1: /);
  await assert.rejects(
    cluster.start('node', '--tokens-file', '/none'),
    /\/none cannot be used: there is no such file/,
  );
  writeFileSync(file, '{"tokens":[]}');
  const again = await cluster.start('node');
  assert.equal((await call(again, null, 'GET', '/v1/keys/k')).status, 401);
});

test('a replica shows its token to its master, and a new one after a change, without a restart', async (t) => {
  const { cluster, node, file, admin, make } = await guarded(t);
  const token = await make(['replicate']);
  await known(node, token);
  await call(node, admin, 'PUT', '/v1/keys/k', 'v');
  const { replica, tokenFile } = await following(cluster, node, token);
  const master = new Client(node.url, { token: admin });
  const streaming = (): Promise<unknown> =>
    until('the replica streams', async () => {
      const { upstream, position } = await replica.client.replication();
      return upstream?.state === 'streaming' && position === (await master.replication()).position;
    });
  await streaming();
  assert.equal(String(Buffer.from((await replica.client.get('k')) ?? [])), 'v');
  const next = await make(['replicate']);
  await known(node, next);
  await revokeToken(file, token.split('_')[1] as string);
  await until('the link is lost', async () => {
    const { upstream } = await replica.client.replication();
    return upstream?.state === 'unauthorized' && upstream.detail?.includes('token');
  });
  assert.equal((await replica.client.get('k'))?.length, 1, 'data is served meanwhile');
  writeFileSync(tokenFile, next);
  await call(node, admin, 'PUT', '/v1/keys/k2', 'v');
  await streaming();
  assert.equal((await master.replication()).counters.syncFull, 1);
});

test('a client that asks for its token goes on after a change, and ends with one that stays dead', async (t) => {
  const { node, file, admin, make } = await guarded(t);
  let token = await make(['read']);
  await known(node, token);
  await call(node, admin, 'PUT', '/v1/keys/k0', 'v');
  let asked = 0;
  const followed = follow({
    url: node.url,
    token: async () => {
      asked += 1;
      return token;
    },
  });
  const keys: string[] = [];
  const failed = (async () => {
    for await (const event of followed)
      if (event.type === 'set' || event.type === 'entry') keys.push(event.key);
  })().catch((error: unknown) => error);
  await until('the snapshot has come', () => keys.length === 1);
  for (const index of [1, 2]) {
    const old = token;
    token = await make(['read']);
    await known(node, token);
    await revokeToken(file, old.split('_')[1] as string);
    await until('it connects again', () => asked === index + 1);
    await call(node, admin, 'PUT', `/v1/keys/k${index}`, 'v');
    await until('the change has come', () => keys.length === index + 1);
  }
  assert.deepEqual(keys, ['k0', 'k1', 'k2']);
  await revokeToken(file, token.split('_')[1] as string);
  assert.match(String(await failed), /FollowError/);
  assert.equal(asked, 4);
  assert.equal((await listTokens(file)).length, 1);
});

test('a client with a token writes through a replica', async (t) => {
  const { cluster, node, admin } = await guarded(t);
  const { replica } = await following(cluster, node, admin);
  const client = new Client(replica.url, { token: admin });
  await until(
    'the replica knows its master',
    async () => (await replica.client.replication()).upstream?.state === 'streaming',
  );
  assert.equal((await client.set('k', 'v')).created, true);
  await assert.rejects(replica.client.set('k', 'v'), { code: 'UNAUTHORIZED' });
});

test('what was begun with a token does not go on once the token is revoked', async (t) => {
  const { cluster, node, file, admin, make } = await guarded(t);
  const { replica } = await following(cluster, node, admin);
  const token = await make(['read', 'write']);
  await known(node, token);
  const { position } = await new Client(node.url, { token: admin }).set('k', 'v');
  await until('the replica has it', async () => (await replica.client.replication()).position === position);
  writeFileSync(join(cluster.data('replica'), 'tokens.json'), readFileSync(file));
  await known(replica, token);
  const [runId, offset] = position.split(':') as [string, string];
  const later = `${runId}:${Number(offset) + 1}`;
  const held = connect(node.port, '127.0.0.1');
  t.after(() => held.destroy());
  let heldAnswer = '';
  held.on('data', (data) => {
    heldAnswer += data;
  });
  const head = `Host: localhost\r\nAuthorization: Bearer ${token}\r\n`;
  // Its answer says that the packet has arrived, and what stands behind it.
  const first = `GET /healthz HTTP/1.1\r\n${head}\r\n`;
  const waiting = `GET /v1/keys/k?position=${later}&timeout=60000 HTTP/1.1\r\n${head}\r\n`;
  held.write(`${first}${waiting}PUT /v1/keys/late HTTP/1.1\r\n${head}Content-Length: 1\r\n\r\nx`);
  const slow = connect(node.port, '127.0.0.1');
  t.after(() => slow.destroy());
  let slowAnswer = '';
  slow.on('data', (data) => {
    slowAnswer += data;
  });
  slow.write(`${first}PUT /v1/keys/slow HTTP/1.1\r\n${head}Content-Length: 2\r\n\r\nx`);
  // On the replica the stream waits for a position that comes later.
  const stream = fetch(`${replica.url}/v1/changes?position=${later}`, {
    headers: { authorization: `Bearer ${token}`, accept: 'application/x-ndjson' },
  });
  await until('both packets have arrived', () => heldAnswer !== '' && slowAnswer !== '');
  [heldAnswer, slowAnswer] = ['', ''];
  const id = token.split('_')[1] as string;
  await revokeToken(file, id);
  await revokeToken(join(cluster.data('replica'), 'tokens.json'), id);
  for (const each of [node, replica])
    await until('the token is gone', async () => (await call(each, token, 'GET', '/nothing')).status === 401);
  slow.write('y');
  assert.equal((await call(node, admin, 'PUT', '/v1/keys/k', 'secret')).status, 200);
  await until('all are answered', () => /HTTP.*HTTP/s.test(heldAnswer) && slowAnswer !== '');
  assert.doesNotMatch(heldAnswer + slowAnswer, /secret|HTTP\/1\.1 20/);
  const text = await (await stream).text();
  assert.doesNotMatch(text, /secret/);
  for (const key of ['late', 'slow'])
    assert.equal((await call(node, admin, 'GET', `/v1/keys/${key}`)).status, 404, key);
});
