/** A hand-over shows the master's token to nobody who must not see it, and says which token is missing. */
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
import { Cluster } from '../support/cluster.ts';
import { RawReplica } from '../support/raw-replica.ts';
import { call } from '../support/trusting.ts';

const WANTED = { name: 'test', prefixes: null, expiresAt: null } as const;

/** Stands for the file with the token that the replica shows. */
const TOKEN_FILE = 'TOKEN_FILE';

function make(file: string, rights: readonly string[]): Promise<string> {
  return createToken(file, { ...WANTED, rights }, Date.now()).then(({ text }) => text);
}

/** A master and a replica that both need tokens. */
async function pair(t: TestContext, ...flags: string[]) {
  const cluster = await Cluster.create(t);
  const file = join(cluster.data('master'), 'tokens.json');
  const admin = await make(file, ['admin']);
  const tokenFile = join(cluster.data('master'), '..', 'token');
  writeFileSync(tokenFile, await make(file, ['replicate']));
  const master = await cluster.start(
    'master',
    ...flags.map((flag) => (flag === TOKEN_FILE ? tokenFile : flag)),
  );
  const replica = await cluster.start(
    'replica',
    '--replica-of',
    master.wsUrl,
    '--upstream-token-file',
    tokenFile,
  );
  copyFileSync(file, join(cluster.data('replica'), 'tokens.json'));
  const hasAcknowledged = async (): Promise<boolean> => {
    const { replicas } = await new Client(master.url, { token: admin }).replication();
    return replicas.some(({ ackAgeMs }) => typeof ackAgeMs === 'number');
  };
  await until('the replica has acknowledged', hasAcknowledged);
  await until('it needs tokens', async () => (await call(replica, null, 'GET', '/v1/keys')).status === 401);
  return { master, replica, admin };
}

async function handOver(master: ChildNode, admin: string, to?: ChildNode): Promise<Record<string, unknown>> {
  const answer = await fetch(`${master.url}/v1/replication/failover`, {
    method: 'POST',
    headers: { authorization: `Bearer ${admin}`, 'content-type': 'application/json' },
    body: JSON.stringify(to === undefined ? {} : { to: to.wsUrl }),
  });
  return (await answer.json()) as Record<string, unknown>;
}

/**
 * Follows the master with the token, announces the URL of a server of its own, and acknowledges.
 * @returns what that server has been asked
 */
async function thiefOf(t: TestContext, master: ChildNode, token: string, client: Client): Promise<string[]> {
  const seen: string[] = [];
  const thief = createServer((request, response) => {
    seen.push(`${request.method} ${request.url}`);
    response.end(JSON.stringify({ nodeId: 'thief', upstream: null }));
  }).listen(0, '127.0.0.1');
  thief.on('upgrade', (request, socket) => {
    seen.push(`upgrade ${request.url}`);
    socket.destroy();
  });
  await once(thief, 'listening');
  t.after(() => thief.close());
  const raw = await RawReplica.connect(t, master);
  raw.say('AUTH', token);
  raw.say(
    'REPLCONF',
    'listening-url',
    `ws://127.0.0.1:${(thief.address() as AddressInfo).port}`,
    'node-id',
    'thief',
  );
  raw.say('PSYNC', '?', '-1');
  const first = async () => (await client.replication()).replicas[0];
  await until('it is online', async () => (await first())?.state === 'online');
  raw.say('REPLCONF', 'ACK', '0');
  await until('it has acknowledged', async () => (await first())?.ackAgeMs !== undefined);
  return seen;
}

test('a hand-over that lacks a token says which one', async (t) => {
  const { master, replica, admin } = await pair(t);
  const { code, detail } = await handOver(master, admin, replica);
  assert.equal(code, 'FAILOVER_REFUSED');
  assert.match(String(detail), /needs a token, and this node has none .*--upstream-token-file/);
});

test('a hand-over with a token that the target refuses says so', async (t) => {
  const cluster = await Cluster.create(t);
  const wrong = join(cluster.data('x'), '..', 'wrong');
  writeFileSync(wrong, await make(join(cluster.data('x'), 'tokens.json'), ['replicate']));
  const { master, replica, admin } = await pair(t, '--upstream-token-file', wrong);
  const { code, detail } = await handOver(master, admin, replica);
  assert.equal(code, 'FAILOVER_REFUSED');
  assert.match(String(detail), /refuses the token of this node/);
});

test('a hand-over without a name goes to a replica that has shown the same token as the master has', async (t) => {
  const { master, replica, admin } = await pair(t, '--upstream-token-file', TOKEN_FILE);
  assert.equal((await handOver(master, admin)).master, replica.wsUrl);
});

test('a master that needs tokens and has none itself hands over to no replica that nobody has named', async (t) => {
  const cluster = await Cluster.create(t);
  const file = join(cluster.data('master'), 'tokens.json');
  const admin = await make(file, ['admin']);
  const replicate = await make(file, ['replicate']);
  const master = await cluster.start('master');
  const client = new Client(master.url, { token: admin });
  const seen = await thiefOf(t, master, replicate, client);
  const { code, detail } = await handOver(master, admin);
  assert.equal(code, 'FAILOVER_REFUSED');
  assert.match(String(detail), /^name the replica with "to"/);
  assert.deepEqual(seen, []);
  assert.equal((await client.replication()).role, 'master');
});

test('a replica with another token than the master has takes over only by its name, and otherwise sees no token', async (t) => {
  const cluster = await Cluster.create(t);
  const file = join(cluster.data('master'), 'tokens.json');
  const admin = await make(file, ['admin']);
  const own = await make(file, ['replicate']);
  const other = await make(file, ['replicate']);
  const [ownFile, otherFile] = ['own', 'other'].map((name) => join(cluster.data('x'), '..', name));
  writeFileSync(ownFile as string, own);
  writeFileSync(otherFile as string, other);
  const master = await cluster.start('master', '--upstream-token-file', ownFile as string);
  const client = new Client(master.url, { token: admin });
  const seen = await thiefOf(t, master, other, client);
  const acknowledged = async (count: number): Promise<boolean> =>
    (await client.replication()).replicas.filter(({ ackAgeMs }) => ackAgeMs !== undefined).length === count;
  const refused = await handOver(master, admin);
  assert.equal(refused.code, 'FAILOVER_REFUSED');
  assert.match(String(refused.detail), /^name the replica with "to"/);
  const flags = ['--replica-of', master.wsUrl, '--upstream-token-file', otherFile as string];
  const replica = await cluster.start('replica', ...flags);
  copyFileSync(file, join(cluster.data('replica'), 'tokens.json'));
  await until('it needs tokens', async () => (await call(replica, null, 'GET', '/v1/keys')).status === 401);
  await until('both have acknowledged', () => acknowledged(2));
  assert.equal((await handOver(master, admin)).code, 'FAILOVER_REFUSED');
  assert.equal((await handOver(master, admin, replica)).master, replica.wsUrl);
  assert.deepEqual(seen, []);
});
