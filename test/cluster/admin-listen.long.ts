/** `--admin-listen`: what needs the right admin is on an address of its own. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { promisify } from 'node:util';
import { WebSocket } from 'ws';
import { createToken } from '../../src/access/tokens/tokens.ts';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { AdminClient } from '../../src/client/admin/admin-client.ts';
import { Cluster, linkState } from '../support/cluster.ts';
import { document, watchFetch } from '../support/contract.ts';
import { MAIN } from '../support/main-file.ts';
import { exchanged, rawRequest } from '../support/raw-http.ts';

const ADMIN = ['--admin-listen', '127.0.0.1:0'];

/** By operation: where it is served. The others are on the main listener only. */
const ADMIN_ONLY: ReadonlySet<string> = new Set([
  'setUpstream',
  'deleteUpstream',
  'failover',
  'abortFailover',
  'acceptEmptyMaster',
  'endSession',
  'resetCounters',
  'holdWrites',
  'releaseWrites',
  'getConfig',
  'getMetrics',
  'changeConfig',
  'listTokens',
  'createToken',
  'revokeToken',
]);
const BOTH: ReadonlySet<string> = new Set([
  'getReplication',
  'getSessions',
  'getWriteHold',
  'getBacklog',
  'getInfo',
  'checkPosition',
  'getHealth',
  'getReadiness',
]);

/** What these requests name is nowhere, so its listener answers 404 too. */
const ABSENT: ReadonlySet<string> = new Set(['revokeToken', 'endSession']);

interface Split {
  readonly cluster: Cluster;
  readonly node: ChildNode;
  readonly adminUrl: string;
}

async function split(t: TestContext, ...flags: string[]): Promise<Split> {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node', ...ADMIN, ...flags);
  return { cluster, node, adminUrl: adminOf(node) };
}

function adminOf({ adminUrl }: ChildNode): string {
  assert.ok(adminUrl !== null);
  watchFetch(adminUrl);
  return adminUrl;
}

interface Told {
  readonly status: number;
  readonly code: string | null;
  readonly detail: string;
}

async function told(
  base: string,
  method: string,
  path: string,
  body: string | null = null,
  token: string | null = null,
): Promise<Told> {
  const authorization: Record<string, string> = token === null ? {} : { authorization: `Bearer ${token}` };
  const answer = await fetch(`${base}${path}`, {
    method,
    headers: { 'content-type': 'application/json', ...authorization },
    body,
    redirect: 'manual',
  });
  const text = await answer.text();
  const isProblem = text !== '' && answer.headers.get('content-type') === 'application/problem+json';
  const { code = null, detail = '' } = (isProblem ? JSON.parse(text) : {}) as Partial<Told>;
  return { status: answer.status, code, detail };
}

/** One request for each operation of openapi.yaml. */
function* operations(): Generator<{ readonly id: string; readonly method: string; readonly path: string }> {
  for (const [path, item] of Object.entries(document.paths)) {
    for (const [method, { operationId = '' }] of Object.entries(item)) {
      const target = path.replace('{key}', 'k').replace('{id}', 'none');
      const query = operationId === 'followChanges' ? '?position=now&wait=0' : '';
      yield { id: operationId, method: method.toUpperCase(), path: `${target}${query}` };
    }
  }
}

test('each operation is on the listener where its right belongs, and the other one refuses it', async (t) => {
  const { node, adminUrl } = await split(t);
  const seen = new Set<string>();
  for (const { id, method, path } of operations()) {
    seen.add(id);
    const body = /^P/.test(method) ? '{}' : null;
    const isHead = method === 'HEAD';
    const main = await told(node.url, method, path, body);
    const admin = await told(adminUrl, method, path, body);
    const what = `${id}: ${JSON.stringify([main, admin])}`;
    const elsewhere = 'the admin listener of this node serves this (--admin-listen)';
    if (ADMIN_ONLY.has(id)) {
      assert.equal(main.status, 404, what);
      if (!isHead) assert.deepEqual([main.code, main.detail], ['UNKNOWN_PATH', elsewhere], what);
      assert.ok(admin.status !== 403 && admin.detail !== elsewhere, what);
      assert.ok(admin.status !== 404 || ABSENT.has(id), what);
    } else {
      assert.ok(main.detail !== elsewhere, what);
      const isRefused = admin.status === 403 && (isHead || /admin listener/.test(admin.detail));
      assert.equal(isRefused, !BOTH.has(id), what);
    }
  }
  for (const id of [...ADMIN_ONLY, ...BOTH]) assert.ok(seen.has(id), id);
  for (const path of ['/openapi.json', '/openapi.yaml', '/docs/'])
    for (const base of [node.url, adminUrl]) assert.equal((await told(base, 'GET', path)).status, 200, path);
  // Without the setting one listener has everything.
  const { url } = await (await Cluster.create(t)).start('other');
  assert.equal((await told(url, 'GET', '/v1/config')).status, 200);
});

test('queries that need the right admin are on the admin listener', async (t) => {
  const { node, adminUrl } = await split(t);
  await node.client.set('k', 'v');
  for (const [method, path, status] of [
    ['DELETE', '/v1/keys?all=true', 200],
    // A node does not compare itself with itself.
    ['GET', `/v1/digest?against=${encodeURIComponent(node.wsUrl)}`, 400],
  ] as const) {
    assert.equal((await told(node.url, method, path)).status, 404, path);
    assert.equal((await told(adminUrl, method, path)).status, status, path);
  }
  assert.equal(await node.client.get('k'), null);
  assert.equal((await told(node.url, 'DELETE', '/v1/keys?prefix=k')).status, 200);
  assert.equal((await told(adminUrl, 'DELETE', '/v1/keys?prefix=k')).status, 403);
  assert.equal((await told(adminUrl, 'GET', '/v1/digest')).status, 403);
});

test('strangers learn no more of what is elsewhere than of a path that is not there', async (t) => {
  const cluster = await Cluster.create(t);
  const file = join(cluster.data('node'), 'tokens.json');
  const make = async (rights: readonly string[]): Promise<string> =>
    (await createToken(file, { name: 'test', rights, prefixes: null, expiresAt: null }, Date.now())).text;
  const [reader, admin] = [await make(['read']), await make(['admin'])];
  const node = await cluster.start('node', ...ADMIN);
  const adminUrl = adminOf(node);
  const { status, detail } = await told(node.url, 'GET', '/v1/tokens', null, reader);
  assert.deepEqual([status, detail], [404, 'there is no /v1/tokens here']);
  assert.equal((await told(node.url, 'POST', '/v1/tokens', '{}', reader)).detail, detail);
  const options = rawRequest('OPTIONS', '/v1/tokens', '', `Authorization: Bearer ${reader}`);
  assert.equal((await exchanged(node, [options]))[0]?.status, 404);
  for (const base of [node.url, adminUrl]) assert.equal((await told(base, 'GET', '/v1/tokens')).status, 401);
  assert.equal((await told(adminUrl, 'GET', '/v1/tokens', null, reader)).status, 403);
  assert.equal((await told(adminUrl, 'GET', '/v1/tokens', null, admin)).status, 200);
});

test('the admin listener has no WebSockets, answers to the same hosts, and keeps the order of requests', async (t) => {
  const { node, adminUrl } = await split(t, '--allow-origin', 'https://app.example');
  const url = adminUrl.replace(/^http/, 'ws');
  for (const [path, protocol] of [
    ['/v1/changes', 'psync.v1.json'],
    ['/v1/replication/stream', 'psync.v1'],
  ] as const) {
    const ws = new WebSocket(`${url}${path}`, [protocol]);
    t.after(() => ws.terminate());
    ws.on('error', () => undefined);
    const status = await new Promise((resolve) => {
      ws.on('unexpected-response', (_request, answer) => resolve(answer.statusCode));
      ws.on('open', () => resolve('open'));
    });
    assert.equal(status, 404, path);
  }
  const port = Number(new URL(adminUrl).port);
  const foreign = 'GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n';
  assert.equal((await exchanged({ port }, [foreign]))[0]?.status, 403);
  const preflight = rawRequest(
    'OPTIONS',
    '/v1/config',
    '',
    'Origin: https://app.example',
    'Access-Control-Request-Method: PATCH',
  );
  assert.equal((await exchanged({ port }, [preflight]))[0]?.status, 204);
  const patch = rawRequest('PATCH', '/v1/config', '{"maxReplicas":7}', 'Content-Type: application/json');
  const answers = await exchanged({ port }, [`${patch}${rawRequest('GET', '/v1/config')}`]);
  assert.equal((JSON.parse(answers[1]?.body ?? '') as { maxReplicas: number }).maxReplicas, 7);
  const page = rawRequest('POST', '/v1/replication/accept', '', 'Origin: https://evil.example');
  assert.equal((await exchanged({ port }, [page]))[0]?.status, 403);
  assert.ok(node.url !== adminUrl);
});

test('replicas follow, and roles change hands, with admin listeners on both nodes', async (t) => {
  const { cluster, node: master, adminUrl } = await split(t);
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl, ...ADMIN);
  await linkState(replica, 'streaming');
  await master.client.set('k', 'v');
  const psyncd = async (...args: string[]): Promise<string> =>
    (await promisify(execFile)(process.execPath, [MAIN, ...args, '--node', adminUrl])).stdout;
  assert.match(await psyncd('info'), /^role +master/);
  const { position } = await master.client.replication();
  assert.match(await psyncd('check', position), /^continue/);
  assert.match(await psyncd('failover'), new RegExp(`^${replica.wsUrl} is the master`));
  await linkState(master, 'streaming');
  assert.match(await psyncd('replicaof', 'no-one'), /^master at /);
  const there = adminOf(replica);
  await new AdminClient(there).replicaOf(master.wsUrl);
  await until('it follows', async () => (await replica.client.replication()).role === 'replica');
  await assert.rejects(psyncd('get', 'k'), /admin listener/);
});

for (const [what, bytes] of [
  ['are silent', ''],
  ['have asked for something', rawRequest('GET', '/healthz')],
] as const) {
  test(`connections to the admin listener that ${what} do not keep administrators out`, async (t) => {
    const { adminUrl } = await split(t);
    const sockets: Socket[] = [];
    t.after(() => {
      for (const socket of sockets) socket.destroy();
    });
    for (let count = 0; count < 300; count += 1) {
      const socket = connect(Number(new URL(adminUrl).port), '127.0.0.1');
      sockets.push(socket.on('error', () => undefined).resume());
      await once(socket, 'connect');
      if (bytes === '') continue;
      socket.write(bytes);
      await Promise.race([once(socket, 'data'), once(socket, 'close')]);
    }
    assert.equal((await fetch(`${adminUrl}/v1/config`)).status, 200);
    assert.equal(sockets.at(-1)?.destroyed, false);
  });
}

test('strangers that read no answers do not keep administrators out', async (t) => {
  const cluster = await Cluster.create(t);
  const file = join(cluster.data('node'), 'tokens.json');
  const wanted = { name: 'admin', rights: ['admin'] as const, prefixes: null, expiresAt: null };
  const { text } = await createToken(file, wanted, Date.now());
  const { adminUrl } = await cluster.start('node', '--admin-listen', '127.0.0.1:0');
  const { port } = new URL(String(adminUrl));
  const sockets: Socket[] = [];
  t.after(() => {
    for (const socket of sockets) socket.destroy();
  });
  const bytes = rawRequest('GET', '/openapi.json').repeat(10);
  for (let count = 0; count < 300; count += 1) {
    const socket = connect(Number(port), '127.0.0.1').pause();
    sockets.push(socket.on('error', () => undefined));
    await once(socket, 'connect');
    socket.write(bytes);
  }
  const headers = { authorization: `Bearer ${text}` };
  assert.equal((await fetch(`${adminUrl}/v1/config`, { headers })).status, 200);
});

test('the address of the admin listener is checked before anything is made', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const taken = `127.0.0.1:${node.port}`;
  await assert.rejects(
    cluster.start('other', '--admin-listen', taken),
    /port \d+ on 127\.0\.0\.1 is taken; choose another with --admin-listen/,
  );
  await assert.rejects(
    cluster.start('other', '--admin-listen', '0.0.0.0:0'),
    /--admin-listen 0\.0\.0\.0 lets/,
  );
  await assert.rejects(cluster.start('other', '--admin-listen', 'localhost'), /expected HOST:PORT/);
  await assert.rejects(
    cluster.start('other', '--port', '7001', '--admin-listen', '127.0.0.1:7001'),
    /names the address of another listener/,
  );
  const both = await cluster.start('other', '--admin-listen', '[::1]:0');
  assert.match(adminOf(both), /^http:\/\/\[::1\]:\d+$/);
  assert.equal((await fetch(`${both.adminUrl}/v1/config`)).status, 200);
  assert.equal(await both.stop(), 0);
});
