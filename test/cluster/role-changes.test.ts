/** A change of the role ends with the token of the one who wants it, as long as nothing of it is done. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { createToken } from '../../src/access/tokens/tokens.ts';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { AdminClient } from '../../src/client/admin/admin-client.ts';
import { Cluster } from '../support/cluster.ts';
import { RawReplica } from '../support/raw-replica.ts';

const WANTED = { name: 'test', prefixes: null, expiresAt: null } as const;

/** A master with an admin who stays, an admin who goes, and a token for replicas. */
async function guarded(t: TestContext) {
  const cluster = await Cluster.create(t);
  const file = join(cluster.data('master'), 'tokens.json');
  const make = async (rights: readonly string[]): Promise<string> =>
    (await createToken(file, { ...WANTED, rights }, Date.now())).text;
  const [stays, goes, replicate] = [await make(['admin']), await make(['admin']), await make(['replicate'])];
  const master = await cluster.start('master');
  const client = new AdminClient(master.url, { token: stays });
  await client.set('k', 'v');
  const revoke = async (): Promise<void> => {
    const path = `/v1/tokens/${goes.split('_')[1]}`;
    assert.equal((await sent(master, stays, 'DELETE', path)).status, 200);
  };
  return { master, client, goes, replicate, revoke };
}

async function server(t: TestContext, answer: RequestListener): Promise<string> {
  const http = createServer(answer).listen(0, '127.0.0.1');
  await once(http, 'listening');
  t.after(() => {
    http.close();
    http.closeAllConnections();
  });
  return `ws://127.0.0.1:${(http.address() as AddressInfo).port}`;
}

function sent(node: ChildNode, token: string, method: string, path: string, body?: unknown) {
  return fetch(`${node.url}${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: body === undefined ? null : JSON.stringify(body),
  });
}

test('a node does not follow a master whom it asks who that is when the token of the request goes', async (t) => {
  const { master, client, goes, revoke } = await guarded(t);
  const asked: ServerResponse[] = [];
  const url = await server(t, (_request, response) => asked.push(response));
  const answer = sent(master, goes, 'PUT', '/v1/replication/upstream', { url });
  await until('it asks', () => asked.length > 0);
  await revoke();
  assert.equal((await answer).status, 401);
  for (const response of asked) response.end(JSON.stringify({ nodeId: 'a', upstream: null }));
  // The next change of the role waits for the one before.
  assert.equal((await client.promote()).role, 'master');
  const { role, runId } = await client.replication();
  assert.equal(role, 'master');
  await client.set('k', 'w');
  assert.equal((await client.replication()).runId, runId);
});

test('a hand-over that waits for its target is aborted when the token of the request goes', async (t) => {
  const { master, client, goes, replicate, revoke } = await guarded(t);
  const url = await server(t, (_request, response) =>
    response.end(JSON.stringify({ nodeId: 'slow', upstream: master.wsUrl })),
  );
  const raw = await RawReplica.connect(t, master);
  raw.say('AUTH', replicate);
  raw.say('REPLCONF', 'listening-url', url, 'node-id', 'slow');
  const [runId = '', offset] = (await client.replication()).position.split(':');
  raw.say('PSYNC', runId, String(Number(offset) + 1));
  await until('it is online', async () => (await client.replication()).replicas[0]?.state === 'online');
  raw.say('REPLCONF', 'ACK', String(offset));
  const hasAcknowledged = async (): Promise<boolean> =>
    (await client.replication()).replicas[0]?.ackAgeMs !== undefined;
  await until('it has acknowledged', hasAcknowledged);
  await client.set('k', 'the replica never acknowledges this');
  const answer = sent(master, goes, 'POST', '/v1/replication/failover', { to: url, timeoutMs: 600_000 });
  await until('it waits', async () => (await client.replication()).failover?.state === 'waiting-for-sync');
  await revoke();
  assert.equal((await answer).status, 401);
  assert.equal((await client.replication()).failover, null);
  await client.set('k', 'w');
});
