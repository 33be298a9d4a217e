/** `--access-log`: a line for each request on every path into the node, and nothing in it that is secret. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, renameSync, statSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { WebSocket } from 'ws';
import { createToken } from '../../src/access/tokens/tokens.ts';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { tokenProtocol } from '../../src/client/request/token.ts';
import { Cluster, temporaryFolder } from '../support/cluster.ts';
import { MAIN } from '../support/main-file.ts';
import { exchanged, rawRequest } from '../support/raw-http.ts';

interface Line {
  readonly msg: string;
  readonly time: string;
  readonly method: string;
  readonly path: string;
  readonly status: number | null;
  readonly bytes: number;
  readonly ms: number;
  readonly principal?: { readonly id: string; readonly name: string };
  readonly address: string;
  readonly position: string;
  readonly code?: number;
  readonly aborted?: true;
}

interface Logged {
  readonly cluster: Cluster;
  readonly node: ChildNode;
  readonly file: string;
  readonly token: string;
}

async function logged(t: TestContext, ...flags: string[]): Promise<Logged> {
  const cluster = await Cluster.create(t);
  const tokens = join(cluster.data('node'), 'tokens.json');
  const wanted = { name: 'web app', rights: ['admin'], prefixes: null, expiresAt: null };
  const { text: token } = await createToken(tokens, wanted, Date.now());
  const file = join(cluster.data('node'), 'access.log');
  const node = await cluster.start('node', '--access-log', file, ...flags);
  return { cluster, node, file, token };
}

function linesOf(file: string): readonly Line[] {
  const lines = readFileSync(file, 'utf8').split('\n').slice(0, -1);
  return lines.map((line) => JSON.parse(line) as Line);
}

/** @returns the lines, once there are so many */
function lines(file: string, count: number): Promise<readonly Line[]> {
  return until(`there are ${count} lines`, () => {
    const found = linesOf(file);
    return found.length >= count ? found : null;
  });
}

test('each request has a line with what was answered, and without its key, query, value and token', async (t) => {
  const { node, file, token } = await logged(t, '--rate-limit', '1000/s');
  const secret = 'ThisIsSecret';
  const bearer = `Authorization: Bearer ${token}`;
  const json = 'Content-Type: application/json';
  const requests: readonly (readonly [request: string, method: string, path: string, status: number])[] = [
    [rawRequest('PUT', `/v1/keys/${secret}`, secret, bearer), 'PUT', '/v1/keys/{key}', 201],
    [rawRequest('GET', `/v1/keys/${secret}`, '', bearer), 'GET', '/v1/keys/{key}', 200],
    [rawRequest('HEAD', `/v1/keys/a/${secret}`, '', bearer), 'HEAD', '/v1/keys/{key}', 404],
    [rawRequest('GET', `/v1/keys/${secret}/increment`, '', bearer), 'GET', '/v1/keys/{key}', 404],
    [rawRequest('POST', `/v1/keys/${secret}/append`, 'x', bearer), 'POST', '/v1/keys/{key}/append', 200],
    [rawRequest('GET', `/v1/keys?prefix=${secret}`, '', bearer), 'GET', '/v1/keys', 200],
    [rawRequest('GET', `/v1/kyes/${secret}`, '', bearer), 'GET', 'unknown', 404],
    [
      rawRequest('GET', `/v1/keys/${secret}`, '', `Authorization: Bearer ${secret}`),
      'GET',
      '/v1/keys/{key}',
      401,
    ],
    [rawRequest('GET', `/v1/keys/k?access_token=${secret}`, '', bearer), 'GET', '/v1/keys/{key}', 400],
    [rawRequest('GET', '/healthz', '', `Host: ${secret}.example`), 'GET', '/healthz', 400],
    [rawRequest('DELETE', `/v1/tokens/${secret}`, '', bearer), 'DELETE', '/v1/tokens/{id}', 404],
    [
      rawRequest('POST', '/v1/batch', `{"ops":[{"op":"get","key":"${secret}"}]}`, bearer, json),
      'POST',
      '/v1/batch',
      200,
    ],
  ];
  // Each on a connection of its own: lines are written when answers are out.
  for (const [request] of requests) await exchanged(node, [request]).catch(() => undefined);
  const found = await lines(file, requests.length);
  assert.deepEqual(
    found.map(({ msg, method, path, status }) => [msg, method, path, status]),
    requests.map(([, ...expected]) => ['request', ...expected]),
  );
  const text = readFileSync(file, 'utf8');
  assert.doesNotMatch(text, new RegExp(`${secret}|${token}`));
  const [put, get, head] = found;
  assert.equal(get?.bytes, secret.length);
  assert.equal(head?.bytes, 0);
  assert.ok((put?.bytes ?? 0) > 50);
  for (const { time, ms, address, position, principal, status } of found) {
    assert.ok(Number.isFinite(Date.parse(time)) && ms >= 0);
    assert.equal(address, '127.0.0.1');
    assert.match(position, /^[0-9a-f]{40}:\d+$/);
    if (status !== 401 && status !== 400)
      assert.deepEqual(principal, { id: token.split('_')[1], name: 'web app' });
  }
  assert.equal(statSync(file).mode & 0o777, 0o600);
});

test('a request that breaks off has a line that says so, and a feed has one at its end', async (t) => {
  const { node, file, token } = await logged(t);
  const gone = new AbortController();
  const answer = await fetch(`${node.url}/v1/changes?position=now`, {
    headers: { authorization: `Bearer ${token}` },
    signal: gone.signal,
  });
  assert.equal(answer.status, 200);
  gone.abort();
  const [line] = await lines(file, 1);
  assert.deepEqual([line?.path, line?.status, line?.aborted], ['/v1/changes', 200, true]);
});

test('a WebSocket has a line when it opens and when it ends, and one when it is refused', async (t) => {
  const { node, file, token } = await logged(t);
  const url = `${node.wsUrl}/v1/changes?prefix=secret`;
  const open = new WebSocket(url, ['psync.v1.json', tokenProtocol(token)]);
  await new Promise((resolve) => open.once('message', resolve));
  open.close(1000);
  for (const path of ['/v1/replication/stream', '/v1/secret']) {
    const headers = { authorization: 'Bearer wrong' };
    const refused = new WebSocket(`${node.wsUrl}${path}`, ['psync.v1'], { headers });
    await new Promise((resolve) => refused.once('error', resolve));
  }
  const found = await lines(file, 4);
  const told = found.map(({ msg, path, status, code }) => [msg, path, status ?? code]);
  assert.deepEqual([...told].sort(), [
    ['request', '/v1/replication/stream', 401],
    ['request', 'unknown', 404],
    ['websocket-closed', '/v1/changes', 1000],
    ['websocket-opened', '/v1/changes', 101],
  ]);
  const closed = found.find(({ msg }) => msg === 'websocket-closed');
  assert.ok((closed?.bytes ?? 0) > 50);
  assert.equal(closed?.principal?.name, 'web app');
  assert.doesNotMatch(readFileSync(file, 'utf8'), /secret|bearer/);
});

test('on SIGHUP the file is opened again, and lines of before are in the renamed one', async (t) => {
  const { cluster, node, file } = await logged(t);
  await exchanged(node, [rawRequest('GET', '/healthz')]);
  await lines(file, 1);
  const old = cluster.data('node/access.log.1');
  renameSync(file, old);
  node.process.kill('SIGHUP');
  await until('it is opened again', () => node.log.includes('settings-reloaded'));
  await exchanged(node, [rawRequest('GET', '/readyz')]);
  assert.deepEqual(
    (await lines(file, 1)).map(({ path }) => path),
    ['/readyz'],
  );
  assert.deepEqual(
    linesOf(old).map(({ path }) => path),
    ['/healthz'],
  );
});

test('a full disk loses lines, and the node goes on and says so once', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node', '--access-log', '/dev/full');
  for (let index = 0; index < 20; index += 1) await node.client.set('k', String(index));
  await until('the log says so', () => node.log.includes('access-log-not-written'));
  assert.equal(String(Buffer.from((await node.client.get('k')) ?? [])), '19');
  assert.equal(node.log.split('access-log-not-written').length, 2);
  assert.equal(await node.stop(), 0);
});

test('a file that cannot be written is told at the start', async (t) => {
  const cluster = await Cluster.create(t);
  const folder = cluster.data('folder');
  await mkdir(folder);
  await assert.rejects(cluster.start('node', '--access-log', folder), /--access-log: EISDIR/);
  await assert.rejects(
    cluster.start('node', '--access-log', join(folder, 'none', 'x')),
    /--access-log: ENOENT/,
  );
});

test('the last lines are written when the node stops', async (t) => {
  const { node, file } = await logged(t);
  const many = Array<string>(200).fill(rawRequest('GET', '/healthz')).join('');
  await exchanged(node, [many]);
  await node.stop();
  assert.equal(linesOf(file).length, 200);
});

test('a reader of standard output that stops costs lines, but no request and no stop', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node', '--access-log', '-');
  const { stdout } = node.process;
  assert.ok(stdout !== null);
  let text = '';
  stdout.on('data', (chunk: Buffer) => {
    text += chunk;
  });
  await exchanged(node, [rawRequest('GET', '/readyz')]);
  await until('the line has come', () => text.includes('"path":"/readyz"'));
  stdout.pause();
  const many = Array<string>(1_000).fill(rawRequest('GET', '/healthz')).join('');
  // Some MiB of lines: more than the pipe, the reader and the node hold.
  for (let round = 0; round < 15; round += 1) {
    const answers = await exchanged(node, [many]);
    assert.equal(answers.length, 1_000);
  }
  text = '';
  stdout.resume();
  await until('the node tells how many are lost', async () => {
    await exchanged(node, [rawRequest('GET', '/readyz')]);
    return text.includes('"msg":"lines-lost"');
  });
  stdout.pause();
  for (let round = 0; round < 5; round += 1) await exchanged(node, [many]);
  assert.equal(await node.stop(), 0);
});

test('a node that nobody else keeps running stops in order while the reader of its standard output stands still', async (t) => {
  const data = join(await temporaryFolder(t), 'data');
  // Without the channel to a parent, which keeps the nodes of a cluster running.
  const node = spawn(process.execPath, [MAIN, 'serve', '--data', data, '--port', '0', '--access-log', '-'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  t.after(() => node.kill('SIGKILL'));
  const exited = once(node, 'exit');
  const [line] = (await once(node.stdout, 'data')) as [Buffer];
  node.stdout.pause();
  const port = Number(/:(\d+) role=/.exec(String(line))?.[1]);
  const many = Array<string>(1_000).fill(rawRequest('GET', '/healthz')).join('');
  for (let round = 0; round < 5; round += 1) await exchanged({ port }, [many]);
  node.kill('SIGTERM');
  assert.deepEqual(await exited, [0, null]);
});
