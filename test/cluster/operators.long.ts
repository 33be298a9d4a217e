/** What operators do with a running node: hold its writes for a time, and end the session of a replica. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { until } from '../../src/cli/until.ts';
import { Cluster, converged, counters, textOf } from '../support/cluster.ts';
import { Connection, isProblem, json } from '../support/contract.ts';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const HOLD = '/v1/writes/hold';
const JSON_TYPE = { 'content-type': 'application/json' };

function psyncd(...words: string[]): Promise<{ stdout: string }> {
  return promisify(execFile)(process.execPath, [MAIN, ...words]);
}

test('held writes wait, reads go on, and the writes are carried out when the hold ends or its time is up', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await master.client.set('k', 'old');
  await converged(master, replica);
  const http = new Connection(t, master);
  for (const isEnded of [true, false]) {
    const held = json(
      await http.send('PUT', HOLD, JSON.stringify({ ms: isEnded ? 600_000 : 300 }), JSON_TYPE),
    );
    assert.ok(Number(held.remainingMs) > 0, JSON.stringify(held));
    const { position } = await master.client.replication();
    let isWritten = false;
    const write = master.client.set('k', `new ${isEnded}`).then(() => {
      isWritten = true;
    });
    if (isEnded) {
      for (let read = 0; read < 20; read += 1) assert.equal(await textOf(master, 'k'), 'old');
      assert.deepEqual([isWritten, (await master.client.replication()).position], [false, position]);
      assert.deepEqual(json(await http.send('DELETE', HOLD)), { remainingMs: 0 });
    }
    await write;
    assert.deepEqual(json(await http.send('GET', HOLD)), { remainingMs: 0 });
    await converged(master, replica);
    assert.equal(await textOf(replica, 'k'), `new ${isEnded}`);
  }
  assert.deepEqual(json(await http.send('DELETE', HOLD)), { remainingMs: 0 }, 'once more changes nothing');
});

test('a later hold counts anew, and a malformed one changes nothing', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const http = new Connection(t, master);
  await http.send('PUT', HOLD, '{"ms":600000}', JSON_TYPE);
  for (const body of ['{}', '{"ms":0}', '{"ms":600001}', '{"ms":"x"}', '{"ms":5,"more":1}', '[]', 'x']) {
    isProblem(await http.send('PUT', HOLD, body, JSON_TYPE), 400, 'BAD_REQUEST');
  }
  const { remainingMs } = json(await http.send('GET', HOLD));
  assert.ok(Number(remainingMs) > 300_000, String(remainingMs));
  const write = master.client.set('k', 'v');
  const { position } = await master.client.replication();
  await http.send('PUT', HOLD, '{"ms":500000}', JSON_TYPE);
  assert.equal(
    (await master.client.replication()).position,
    position,
    'no write got through between the two',
  );
  await http.send('PUT', HOLD, '{"ms":1}', JSON_TYPE);
  await write;
});

test('reads of an expired entry leave the place for waiting writes alone while writes are held', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const http = new Connection(t, node);
  await http.send('PUT', '/v1/keys/gone?ttl=0.2', 'v');
  await http.send('PUT', HOLD, '{"ms":600000}', JSON_TYPE);
  await until('it has expired', async () => (await http.send('GET', '/v1/keys/gone')).status === 404);
  for (let read = 0; read < 500; read += 1) await http.send('GET', '/v1/keys/gone');
  const metrics = (await http.send('GET', '/metrics')).body.toString();
  assert.match(metrics, /^psyncd_write_turn_waiting_bytes(?:\{\})? 0$/m);
});

test('a hold ends when the node becomes a replica: the waiting writes are redirected; a replica holds none', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const other = await cluster.start('other');
  const http = new Connection(t, master);
  await http.send('PUT', HOLD, '{"ms":600000}', JSON_TYPE);
  const writing = new Connection(t, master).send('PUT', '/v1/keys/k', 'v');
  const answer = await http.send('GET', HOLD);
  assert.notDeepEqual(json(answer), { remainingMs: 0 });
  await master.client.replicaOf(other.wsUrl);
  isProblem(await writing, 307, 'READONLY');
  assert.deepEqual(json(await http.send('GET', HOLD)), { remainingMs: 0 });
  isProblem(await http.send('PUT', HOLD, '{"ms":1}', JSON_TYPE), 307, 'READONLY');
});

test('a node that is told to stop while it holds writes carries them out or refuses them, and ends', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  await new Connection(t, master).send('PUT', HOLD, '{"ms":600000}', JSON_TYPE);
  const write = new Connection(t, master).send('PUT', '/v1/keys/k', 'v');
  assert.equal((await master.client.replication()).offset, 0);
  assert.equal(await master.stop(), 0);
  const { status } = await write.catch(() => ({ status: 0 }));
  const again = await cluster.start('master');
  assert.equal(await again.client.get('k').then((value) => value !== null), status === 201);
});

test('a replica whose session an administrator ends connects anew, and continues where it was', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  await master.client.set('k', 'v');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await converged(master, replica);
  const before = await counters(master);
  const http = new Connection(t, master);
  const [session] = (await master.client.replication()).replicas;
  assert.ok(session !== undefined);
  const path = `/v1/replication/sessions/${session.id}`;
  assert.deepEqual(json(await http.send('DELETE', path)), { id: session.id, ended: true });
  isProblem(await http.send('DELETE', path), 404, 'NOT_FOUND', /no open session/);
  isProblem(await http.send('DELETE', '/v1/replication/sessions/x'), 404, 'NOT_FOUND');
  await until('it is back', async () => {
    const [now] = (await master.client.replication()).replicas;
    return now?.state === 'online' && now.id !== session.id;
  });
  const after = await counters(master);
  assert.deepEqual([after.syncFull, after.syncPartialOk], [before.syncFull, before.syncPartialOk + 1]);
  const { sessions } = json(await http.send('GET', '/v1/replication/sessions')) as unknown as {
    sessions: { id: string; open: boolean; events: { fields: Record<string, unknown> }[] }[];
  };
  const ended = sessions.find(({ id }) => id === session.id);
  assert.equal(ended?.open, false);
  assert.match(JSON.stringify(ended?.events.at(-1)), /an administrator has ended the session/);
});

test('a master that refuses or holds writes says why, in /v1/replication and in psyncd info', async (t) => {
  const cluster = await Cluster.create(t);
  const { master, replica } = await cluster.linked(['--min-replicas-to-write', '2']);
  await converged(master, replica);
  const info = async (): Promise<string> => (await psyncd('info', '--node', master.url)).stdout;
  const { state, problem } = (await master.client.replication()).writes;
  assert.deepEqual([state, problem], ['refused', 'NOREPLICAS']);
  assert.match(
    await info(),
    /^writes +refused, NOREPLICAS: [01] replicas have acknowledged .*; 2 are required/m,
  );
  assert.equal((await replica.client.replication()).writes.problem, 'READONLY');

  await master.client.changeConfig({ minReplicasToWrite: '0' });
  assert.deepEqual((await master.client.replication()).writes, {
    state: 'taken',
    problem: null,
    reason: null,
  });
  assert.doesNotMatch(await info(), /^writes/m);
  await master.client.holdWrites(60_000);
  assert.match(await info(), /^writes +held: an administrator holds them for \d+ ms more$/m);
  await master.client.releaseWrites();
});

test('reset counters begin at 0 in every place but /metrics, and the node says since when', async (t) => {
  const cluster = await Cluster.create(t);
  const { master, replica } = await cluster.linked();
  await converged(master, replica);
  const feed = await fetch(`${master.url}/v1/changes?wait=0`);
  await feed.text();
  const before = await master.client.replication();
  assert.deepEqual([before.counters.syncFull, before.feed.counters.resets], [1, { 'first-sync': 1 }]);
  assert.equal(before.countersResetAt, null);

  assert.match((await psyncd('info', 'reset', '--node', master.url)).stdout, /^the counters are 0$/m);
  const { counters: shown, feed: followers, countersResetAt } = await master.client.replication();
  assert.deepEqual(shown, { syncFull: 0, syncPartialOk: 0, syncPartialErr: 0 });
  assert.deepEqual(followers.counters, { continued: 0, resets: {}, tooFarBehind: 0 });
  assert.ok(countersResetAt !== null);
  const info = await master.client.info();
  for (const line of ['sync_full:0', 'follower_resets:0']) assert.ok(info.includes(`\r\n${line}\r\n`), line);
  const since = new Date(countersResetAt).toISOString();
  assert.ok(
    (await psyncd('info', '--node', master.url)).stdout.includes(`0 partial refused, since ${since}`),
  );
  assert.match(await master.client.metrics(), /^psyncd_resyncs_total\{kind="full",reason="first-sync"\} 1$/m);

  await (await fetch(`${master.url}/v1/changes?wait=0`)).text();
  assert.deepEqual((await master.client.replication()).feed.counters.resets, { 'first-sync': 1 });
});

test('a command within a command asks the node that --node names, wherever the option stands', async (t) => {
  const cluster = await Cluster.create(t);
  const { master, replica } = await cluster.linked();
  await converged(master, replica);
  for (const words of [
    (id: string) => ['end', id, '--node', master.url],
    (id: string) => ['--node', master.url, 'end', id],
  ]) {
    const [first] = (await master.client.sessions()).sessions;
    assert.ok(first !== undefined);
    assert.equal((await psyncd('sessions', ...words(first.id))).stdout, 'ended\n');
    await until('the replica is back', async () => {
      const [last] = (await master.client.sessions()).sessions;
      return last?.open && last.id !== first.id;
    });
  }
});
