/** No cache between a client and a node answers with what was true before: every answer says how long it may be kept. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import test from 'node:test';
import { createToken } from '../../src/access/tokens/tokens.ts';
import { Cluster, samePosition } from '../support/cluster.ts';
import { document } from '../support/contract.ts';

/** What may be kept, by operation and status. All other answers are `no-store`. */
const KEPT: ReadonlyMap<string, string> = new Map([
  ['getKey 200', 'no-cache'],
  ['getKey 304', 'no-cache'],
  ['headKey 200', 'no-cache'],
  ['headKey 304', 'no-cache'],
  ['getSnapshotFile 200', 'private, immutable'],
  ['headSnapshotFile 200', 'private, immutable'],
]);

interface Call {
  readonly id: string;
  readonly method: string;
  readonly path: string;
}

/** @param snapshot path of a snapshot that the node has @returns one request for each operation of the document */
function calls(snapshot: string): Call[] {
  return Object.entries(document.paths).flatMap(([template, item]) =>
    Object.entries(item).map(([method, { operationId: id }]) => ({
      id,
      method: method.toUpperCase(),
      path: pathOf(template, snapshot),
    })),
  );
}

function pathOf(template: string, snapshot: string): string {
  if (template.startsWith('/v1/snapshots/')) return snapshot;
  if (template === '/v1/changes') return '/v1/changes?position=now&wait=0';
  return template.replace('{key}', 'k').replace('{id}', 'none');
}

test('every answer says whether a cache may keep it: values and snapshots only', async (t) => {
  const cluster = await Cluster.create(t);
  const file = join(cluster.data('node'), 'tokens.json');
  const wanted = { name: 'test', rights: ['admin'] as const, prefixes: null, expiresAt: null };
  const { text: token } = await createToken(file, wanted, Date.now());
  const node = await cluster.start('node', '--admin-listen', '127.0.0.1:0', '--auth-failures', '1000');
  const told = async (
    base: string,
    { id, method, path }: Call,
    headers: Readonly<Record<string, string>>,
    body?: string,
  ): Promise<Response> => {
    const answer = await fetch(`${base}${path}`, {
      method,
      headers: { 'content-type': 'application/json', ...headers },
      body: body ?? null,
      redirect: 'manual',
      signal: AbortSignal.timeout(60_000),
    });
    await answer.body?.cancel();
    const expected = KEPT.get(`${id} ${answer.status}`) ?? 'no-store';
    const what = `${id} ${base}${path}: ${answer.status}`;
    assert.equal(answer.headers.get('cache-control'), expected, what);
    return answer;
  };
  const sent = { authorization: `Bearer ${token}` };
  const put = { id: 'putKey', method: 'PUT', path: '/v1/keys/k' };
  assert.equal((await told(node.url, put, sent, 'v')).status, 201);
  assert.equal((await told(node.url, { ...put, path: '/v1/keys/k?acks=0' }, sent, 'v')).status, 200);

  const get = { id: 'getKey', method: 'GET', path: '/v1/keys/k' };
  const etag = String((await told(node.url, get, sent)).headers.get('etag'));
  // The first two ways of each pair are the fast path and the long one.
  for (const path of ['/v1/keys/k', '/v1/keys/k?']) {
    for (const method of ['GET', 'HEAD']) {
      const call = { id: method === 'GET' ? 'getKey' : 'headKey', method, path };
      assert.equal((await told(node.url, call, sent)).status, 200);
      assert.equal((await told(node.url, call, { ...sent, 'if-none-match': etag })).status, 304);
      assert.equal((await told(node.url, call, { ...sent, 'if-match': '"1"' })).status, 412);
      assert.equal((await told(node.url, call, { ...sent, accept: 'image/png' })).status, 406);
    }
  }

  const asked = { id: 'getSnapshot', method: 'GET', path: '/v1/snapshot' };
  const made = await told(node.url, asked, sent);
  assert.equal(made.status, 307);
  const operations = calls(String(made.headers.get('location')));
  assert.ok(operations.length > 40);
  const statuses = new Map<string, number>();
  // What deletes comes last, so that the others find something.
  for (const call of operations.sort(
    (a, b) => Number(a.method === 'DELETE') - Number(b.method === 'DELETE'),
  )) {
    for (const base of [node.url, String(node.adminUrl)]) {
      for (const headers of [{}, { authorization: 'Bearer nonsense' }]) await told(base, call, headers);
      const { status } = await told(base, call, sent);
      if (base === node.url) statuses.set(call.id, status);
    }
  }
  for (const id of ['getKey', 'headKey', 'listKeys', 'getReplication', 'getSnapshotFile', 'headSnapshotFile'])
    assert.equal(statuses.get(id), 200, id);

  for (const path of [
    '/v1/keys/none',
    '/v1/nothing',
    '/v1/keys/%ff',
    '/v1/keys/%',
    '/nothing',
    '/',
    '/openapi.json',
  ])
    await told(node.url, { id: '', method: 'GET', path }, sent);
  await told(node.url, { id: '', method: 'OPTIONS', path: '/v1/keys' }, sent);
});

test('a replica’s redirect of a write is kept by no cache', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await samePosition(master, replica);
  for (const path of ['/v1/keys/k', '/v1/keys/k?acks=0']) {
    const answer = await fetch(`${replica.url}${path}`, { method: 'PUT', body: 'v', redirect: 'manual' });
    assert.deepEqual([answer.status, answer.headers.get('cache-control')], [307, 'no-store']);
  }
});

test('a browser asks for the files of /docs again with their ETags', async (t) => {
  const cluster = await Cluster.create(t);
  const { url } = await cluster.start('node');
  const path = `${url}/docs/static/index.css`;
  const first = await fetch(path);
  const etag = String(first.headers.get('etag'));
  const second = await fetch(path, { headers: { 'if-none-match': etag } });
  assert.equal(second.status, 304);
  const kept = first.headers.get('cache-control');
  assert.match(String(kept), /\bmax-age=0\b/);
  assert.equal(second.headers.get('cache-control'), kept);
});
