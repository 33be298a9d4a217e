/** Somebody sets the wall clock of running nodes, by hours. Only what expires, and times of day, follow it. */
import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { Cluster, counters, linkState, samePosition, textOf } from '../support/cluster.ts';
import { Connection, isProblem } from '../support/contract.ts';
import { TestFollower, TRANSPORTS } from '../support/follower.ts';
import { backlogOf, configure, infoOf, sessionsOf } from '../support/reports.ts';
import { WallClock } from '../support/wall-clock.ts';

const HOUR_MS = 3_600_000;
const OFTEN = ['--repl-ping-interval', '100ms'];

/** A master and a replica on one machine. */
async function pair(t: TestContext): Promise<{ clock: WallClock; master: ChildNode; replica: ChildNode }> {
  const clock = await WallClock.create(t);
  const cluster = await Cluster.create(t);
  const master = await cluster.startWith(clock.environment, 'master', ...OFTEN);
  const flags = ['--replica-of', master.wsUrl, ...OFTEN];
  const replica = await cluster.startWith(clock.environment, 'replica', ...flags);
  await linkState(replica, 'streaming');
  await until('the replica has acknowledged something', async () => {
    const [session] = (await master.client.replication()).replicas;
    return session?.ackAgeMs !== undefined;
  });
  return { clock, master, replica };
}

async function uptimeOf(node: ChildNode): Promise<number> {
  return Number((await infoOf(node)).uptime_in_seconds);
}

async function change(node: ChildNode, settings: object): Promise<void> {
  const answer = await configure(node, settings);
  assert.equal(answer.status, 200, await answer.text());
}

function json(body: object): RequestInit {
  return { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } };
}

/** Waits until the node has looked several times at everybody that it is connected to. */
async function hasLooked(node: ChildNode): Promise<void> {
  const before = await uptimeOf(node);
  await until('two seconds have passed', async () => (await uptimeOf(node)) >= before + 2);
}

test('a wall clock that is set four hours forward, and back again, cuts off no replica and no follower', async (t) => {
  const { clock, master, replica } = await pair(t);
  const followers = [master, replica].flatMap(({ url }) =>
    TRANSPORTS.map((transport) => TestFollower.follow(t, url, { transport, query: 'prefix=k' })),
  );
  for (const follower of followers) await follower.to('synced');
  await change(master, { minReplicasToWrite: 1, minReplicasMaxLag: '30s' });
  const [before] = await sessionsOf(master);
  for (const [index, wrongByMs] of [4 * HOUR_MS, 0].entries()) {
    await clock.set(wrongByMs, master);
    await hasLooked(master);
    await hasLooked(replica);
    await master.client.set('k', `written ${index}`);
    for (const follower of followers) {
      const [change] = await follower.changes(1);
      assert.deepEqual([change?.type, change?.value, follower.ended], ['set', `written ${index}`, null]);
    }
    await samePosition(master, replica);
    assert.equal(await textOf(replica, 'k'), `written ${index}`);
  }
  assert.deepEqual(await counters(master), { syncFull: 1, syncPartialOk: 0, syncPartialErr: 0 });
  assert.deepEqual(await sessionsOf(master), [before]);
  const status = await replica.client.replication();
  assert.equal(status.upstream?.state, 'streaming');
});

test('lag, rates, ages and time-outs stay right after the wall clock is set two hours back', async (t) => {
  const { clock, master, replica } = await pair(t);
  await clock.set(-2 * HOUR_MS, master);
  assert.ok((await uptimeOf(master)) >= 0);
  await samePosition(master, replica);
  replica.process.kill('SIGSTOP');
  const { position } = await master.client.set('k', 'v'.repeat(100_000));

  const lagging = await until('the lag grows', async () => {
    const [session] = (await master.client.replication()).replicas;
    return (session?.lagSeconds ?? 0) >= 1 && (session?.ackAgeMs ?? 0) > 2_000 ? session : null;
  });
  assert.ok(lagging.lagBytes > 100_000);

  const { rate } = await backlogOf(master);
  assert.ok(rate.current > 0);
  await until('the rate falls, as nothing is written', async () => {
    return (await backlogOf(master)).rate.current < rate.current;
  });

  const connection = new Connection(t, master);
  const written = await connection.send('PUT', '/v1/keys/k?acks=1&timeout=300', 'w');
  assert.equal(written.status, 202);
  const [runId, offset] = position.split(':') as [string, string];
  const later = `${runId}:${Number(offset) + 1_000_000}`;
  isProblem(await connection.send('GET', `/v1/keys/k?position=${later}&timeout=300`), 503, 'NOT_REACHED');

  await change(master, { minReplicasToWrite: 1, minReplicasMaxLag: '2s' });
  isProblem(await connection.send('PUT', '/v1/keys/k', 'x'), 503, 'NOREPLICAS');
  await change(master, { minReplicasToWrite: 0, replTimeout: '1s' });
  await until('the silent replica is dropped', async () => {
    return (await master.client.replication()).replicas.length === 0;
  });
  replica.process.kill('SIGCONT');
  await linkState(replica, 'streaming');
  await samePosition(master, replica);
  const { outages } = await backlogOf(master);
  assert.ok((outages[0]?.awayMs ?? 0) >= 1_000, JSON.stringify(outages));
});

test('a node whose clock is before 1970 refuses a ttl, and its replica goes on', async (t) => {
  const { clock, master, replica } = await pair(t);
  const ways: readonly (readonly [string, string, RequestInit])[] = [
    ['PUT', '/v1/keys/ttl?ttl=100', { body: 'v' }],
    ['PUT', '/v1/keys/at/expiry', json({ ttl: 100 })],
    ['POST', '/v1/batch', json({ ops: [{ op: 'set', key: 'ttl', value: 'v', ttl: 100 }] })],
    ['POST', '/v1/batch', json({ ops: [{ op: 'expire', key: 'at', ttl: 100 }] })],
    ['POST', '/v1/batch', json({ ops: [{ op: 'set', key: 'at', value: 'v', expiresAt: -1000 }] })],
    ['PUT', '/v1/keys/at?expiresAt=-1000', { body: 'v' }],
    ['POST', '/v1/import', { body: '{"key":"at","value":"v","expiresAt":-1000}\n' }],
  ];
  await master.client.set('at', 'v');
  await clock.set(-70 * 365 * 24 * HOUR_MS, master);
  for (const [method, path, init] of ways) {
    const answer = await fetch(master.url + path, { method, ...init });
    assert.equal(answer.status, 400, `${method} ${path}: ${await answer.text()}`);
  }
  await master.client.set('k', 'still written');
  await samePosition(master, replica);
  assert.equal(await textOf(replica, 'k'), 'still written');
  await linkState(replica, 'streaming');
});
