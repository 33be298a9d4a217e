/** A node that lets everybody in keeps the token that it shows to its master, and gets the role from no node that needs tokens. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { copyFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { createToken } from '../../src/access/tokens/tokens.ts';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { Client } from '../../src/client/rest.ts';
import { Certificates, LOCAL_NAMES, tlsFlags } from '../support/certificates.ts';
import { Cluster } from '../support/cluster.ts';
import { RawReplica } from '../support/raw-replica.ts';
import { call } from '../support/trusting.ts';

const WANTED = { name: 'test', prefixes: null, expiresAt: null } as const;
const UPSTREAM = '/v1/replication/upstream';
const FAILOVER = '/v1/replication/failover';

/** A master that needs tokens and has one itself, and a replica that shows the same and lets everybody in. */
async function openPair(t: TestContext) {
  const cluster = await Cluster.create(t);
  const list = join(cluster.data('master'), 'tokens.json');
  const make = async (...rights: readonly string[]): Promise<string> =>
    (await createToken(list, { ...WANTED, rights }, Date.now())).text;
  const [admin, replicate] = [await make('admin'), await make('replicate')];
  const tokenFile = join(cluster.data('master'), '..', 'token');
  writeFileSync(tokenFile, replicate);
  const shown = ['--upstream-token-file', tokenFile];
  const master = await cluster.start('master', ...shown);
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl, ...shown);
  const client = new Client(master.url, { token: admin });
  await until('the replica has acknowledged', async () =>
    (await client.replication()).replicas.some(({ ackAgeMs }) => typeof ackAgeMs === 'number'),
  );
  return { cluster, master, replica, admin, replicate, client };
}

/** @returns the URL of a server that answers like a node, and the requests that have come to it */
async function strange(t: TestContext): Promise<{ readonly url: string; readonly seen: string[] }> {
  const seen: string[] = [];
  const server = createServer((request, response) => {
    seen.push(`${request.url} ${request.headers.authorization}`);
    response.end(JSON.stringify({ nodeId: 'strange', upstream: null }));
  }).listen(0, '127.0.0.1');
  server.on('upgrade', (request, socket) => {
    seen.push(`${request.url} ${request.headers.authorization}`);
    socket.destroy();
  });
  await once(server, 'listening');
  t.after(() => server.close());
  return { url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}`, seen };
}

/** A client that needs no token becomes a replica of the node, which announces the URL. */
async function followAs(t: TestContext, node: ChildNode, url: string): Promise<void> {
  const raw = await RawReplica.connect(t, node);
  raw.say('REPLCONF', 'listening-url', url, 'node-id', 'strange');
  raw.say('PSYNC', '?', '-1');
  const first = async () => (await new Client(node.url).replication()).replicas[0];
  await until('it is online', async () => (await first())?.state === 'online');
  raw.say('REPLCONF', 'ACK', '0');
  await until('it has acknowledged', async () => (await first())?.ackAgeMs !== undefined);
}

/** @throws AssertionError if the answer does not refuse, or does not say what to do */
async function refuses(node: ChildNode, method: string, path: string, body?: object): Promise<void> {
  const answer = await fetch(`${node.url}${path}`, {
    method,
    headers: { 'content-type': 'application/json' },
    body: body === undefined ? null : JSON.stringify(body),
  });
  assert.equal(answer.status, 403);
  const { code, detail } = (await answer.json()) as Record<string, unknown>;
  assert.equal(code, 'FORBIDDEN');
  assert.match(String(detail), /psyncd token create.*--replica-of/);
}

test('a node that lets everybody in shows its token to no node that a client names', async (t) => {
  const { replica, master, replicate } = await openPair(t);
  const { url, seen } = await strange(t);
  await refuses(replica, 'PUT', UPSTREAM, { url });
  await refuses(replica, 'PUT', UPSTREAM, { url: master.wsUrl });
  assert.equal((await new Client(replica.url).replication()).upstream?.url, master.wsUrl);
  // It takes other changes of the role, and asks nobody as a master.
  assert.equal((await call(replica, null, 'DELETE', UPSTREAM)).status, 200);
  await followAs(t, replica, url);
  await refuses(replica, 'POST', FAILOVER, { to: url });
  await refuses(replica, 'POST', FAILOVER, {});
  await call(replica, null, 'GET', `/v1/digest?against=${url}&timeout=100`);
  assert.ok(!seen.join('\n').includes(replicate), seen.join('\n'));
});

test('a node that lets everybody in asks no node that a client names with its certificate', async (t) => {
  const [cluster, certificates] = [await Cluster.create(t), await Certificates.create(t)];
  const ca = certificates.path('ca.crt');
  const { cert, key } = certificates.make('node', { san: LOCAL_NAMES });
  const shown = ['--upstream-ca', ca, '--upstream-cert', cert, '--upstream-key', key];
  const node = await cluster.start('node', ...shown);
  const { url, seen } = await strange(t);
  await followAs(t, node, url);
  await refuses(node, 'PUT', UPSTREAM, { url });
  await refuses(node, 'POST', FAILOVER, { to: url });
  await refuses(node, 'POST', FAILOVER, {});
  await refuses(node, 'GET', `/v1/digest?against=${url}`);
  assert.deepEqual(seen, []);
  // Only those whose certificates the CA has signed reach a node that requires them.
  const other = await cluster.start(
    'other',
    ...shown,
    ...tlsFlags({ cert, key }),
    ...['--tls-client-ca', ca, '--tls-client-auth', 'required'],
  );
  assert.ok(!other.log.includes('replica-is-open'));
});

test('a master that needs tokens hands over to no replica that lets everybody in, until that one needs them too', async (t) => {
  const { cluster, master, replica, admin, client } = await openPair(t);
  const handOver = async (body: object): Promise<Record<string, unknown>> => {
    const headers = { authorization: `Bearer ${admin}`, 'content-type': 'application/json' };
    const answer = await fetch(`${master.url}${FAILOVER}`, {
      method: 'POST',
      headers,
      body: JSON.stringify(body),
    });
    return (await answer.json()) as Record<string, unknown>;
  };
  for (const body of [{}, { to: replica.wsUrl }]) {
    const { code, detail } = await handOver(body);
    assert.equal(code, 'FAILOVER_REFUSED');
    assert.match(String(detail), /lets everybody in.*psyncd token create/);
    assert.ok(String(detail).includes(replica.wsUrl));
  }
  assert.equal((await client.replication()).role, 'master');
  copyFileSync(join(cluster.data('master'), 'tokens.json'), join(cluster.data('replica'), 'tokens.json'));
  await until('it needs tokens', async () => (await call(replica, null, 'GET', '/v1/keys')).status === 401);
  assert.equal((await handOver({})).master, replica.wsUrl);
});
