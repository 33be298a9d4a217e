/** What happens when a replica connects: which resync, why, how many bytes, and what is counted. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { until } from '../../src/cli/until.ts';
import {
  Cluster,
  converged,
  counters,
  linkState,
  samePosition,
  textOf,
  writeMany,
} from '../support/cluster.ts';
import { RawReplica } from '../support/raw-replica.ts';

test('a replica that joins late gets a snapshot while writes go on, and ends up with the same', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  await writeMany(master, 'before/', 500);
  let writing = true;
  const writer = (async () => {
    for (let index = 0; writing; index += 1) await master.client.set(`during/${index % 300}`, `${index}`);
  })();
  const replicas = await Promise.all(
    ['one', 'two', 'three'].map((name) => cluster.start(name, '--replica-of', master.wsUrl)),
  );
  for (const replica of replicas) await linkState(replica, 'streaming');
  writing = false;
  await writer;
  await converged(master, ...replicas);
  assert.deepEqual(await counters(master), { syncFull: 3, syncPartialOk: 0, syncPartialErr: 0 });
  for (const session of (await master.client.replication()).replicas) {
    assert.equal(session.sync?.reason, 'first-sync');
    assert.equal(session.state, 'online');
  }
});

test('a replica whose link was cut gets exactly the bytes that it lacks', async (t) => {
  const cluster = await Cluster.create(t);
  const { master, link, replica } = await cluster.linked();
  await writeMany(master, 'a/', 10);
  await converged(master, replica);
  link.cut();
  await linkState(replica, 'waiting');
  await writeMany(master, 'b/', 10);
  const lacking = (await master.client.replication()).offset - (await replica.client.replication()).offset;
  assert.ok(lacking > 0);
  link.restore();
  await converged(master, replica);
  assert.deepEqual(await counters(master), { syncFull: 1, syncPartialOk: 1, syncPartialErr: 0 });
  const [session] = (await master.client.replication()).replicas;
  assert.deepEqual(session?.sync, { kind: 'partial', bytes: lacking });
  assert.equal((await replica.client.replication()).upstream?.lastSync?.kind, 'partial');
});

test('a replica that is caught up continues with zero bytes', async (t) => {
  const cluster = await Cluster.create(t);
  const { master, link, replica } = await cluster.linked();
  await writeMany(master, 'a/', 3);
  await converged(master, replica);
  link.cut();
  await linkState(replica, 'waiting');
  link.restore();
  await linkState(replica, 'streaming');
  const [session] = (await master.client.replication()).replicas;
  assert.deepEqual(session?.sync, { kind: 'partial', bytes: 0 });
});

test('a replica that fell off the backlog serves its old data, gets a full resync, and says why', async (t) => {
  const cluster = await Cluster.create(t);
  const { master, link, replica } = await cluster.linked(['--backlog-size', '16kb']);
  await master.client.set('old', 'data');
  await converged(master, replica);
  link.cut();
  await linkState(replica, 'waiting');
  await master.client.set('large', 'x'.repeat(20_000));
  await master.client.delete('old');
  assert.equal(await textOf(replica, 'old'), 'data');
  link.restore();
  await converged(master, replica);
  assert.equal(await textOf(replica, 'old'), null);
  assert.deepEqual(await counters(master), { syncFull: 2, syncPartialOk: 0, syncPartialErr: 1 });
  assert.equal((await replica.client.replication()).upstream?.lastSync?.reason, 'behind-backlog');
});

test('a value larger than the backlog passes through it', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master', '--backlog-size', '16kb', '--replica-output-limit', '16kb');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await linkState(replica, 'streaming');
  await master.client.set('large', 'x'.repeat(10 * 1024 * 1024));
  await master.client.set('small', 'y');
  await converged(master, replica);
  assert.deepEqual(await counters(master), { syncFull: 1, syncPartialOk: 0, syncPartialErr: 0 });
});

test('run ID and position survive restarts of both sides, and replicas continue', async (t) => {
  const cluster = await Cluster.create(t);
  let master = await cluster.start('master');
  let replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await writeMany(master, 'a/', 50);
  await converged(master, replica);
  const before = await master.client.replication();

  assert.equal(await master.stop('SIGTERM'), 0);
  master = await cluster.restart('master', master);
  assert.deepEqual(master.ready, { role: 'master', runId: before.runId, offset: before.offset });
  await writeMany(master, 'b/', 5);
  await converged(master, replica);
  assert.deepEqual(await counters(master), { syncFull: 0, syncPartialOk: 1, syncPartialErr: 0 });

  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    await replica.stop(signal);
    await writeMany(master, `while-away-${signal}/`, 20);
    // It was told whom to follow once, and has not forgotten it.
    replica = await cluster.start('replica');
    assert.equal(replica.ready.role, 'replica');
    await converged(master, replica);
  }
  assert.deepEqual(await counters(master), { syncFull: 0, syncPartialOk: 3, syncPartialErr: 0 });
  assert.deepEqual(before.backlog.firstOffset, 1);
  assert.deepEqual((await master.client.replication()).backlog.firstOffset, 1);
});

test('a replica that was behind when the master was killed continues from the refilled backlog', async (t) => {
  const cluster = await Cluster.create(t);
  let master = await cluster.start('master');
  const link = await cluster.proxy(master);
  const replica = await cluster.start('replica', '--replica-of', link.wsUrl);
  await writeMany(master, 'a/', 10);
  await converged(master, replica);
  link.cut();
  await linkState(replica, 'waiting');
  await writeMany(master, 'b/', 200);
  const { runId, offset, backlog } = await master.client.replication();
  await master.stop('SIGKILL');
  master = await cluster.restart('master', master);
  assert.deepEqual(master.ready, { role: 'master', runId, offset });
  assert.deepEqual((await master.client.replication()).backlog, backlog);
  link.restore();
  await converged(master, replica);
  assert.deepEqual(await counters(master), { syncFull: 0, syncPartialOk: 1, syncPartialErr: 0 });
});

test('a master that is not there: the replica says so and keeps trying', async (t) => {
  const cluster = await Cluster.create(t);
  let master = await cluster.start('master');
  await master.client.set('k', 'v');
  await master.stop();
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  const { upstream } = await linkState(replica, 'waiting');
  assert.match(upstream?.detail ?? '', /ECONNREFUSED/);
  master = await cluster.restart('master', master);
  await converged(master, replica);
});

test('REPLICAOF at runtime: another history means a full resync, and the old data is served until then', async (t) => {
  const cluster = await Cluster.create(t);
  const [first, second] = [await cluster.start('first'), await cluster.start('second')];
  await first.client.set('from', 'first');
  await second.client.set('from', 'second');
  const replica = await cluster.start('replica');
  await replica.client.set('from', 'itself');
  await replica.client.replicaOf(first.wsUrl);
  await converged(first, replica);
  assert.equal((await replica.client.replication()).upstream?.lastSync?.reason, 'unknown-run-id');
  await replica.client.replicaOf(second.wsUrl);
  await converged(second, replica);
  assert.equal(await textOf(replica, 'from'), 'second');
  assert.deepEqual(await counters(second), { syncFull: 1, syncPartialOk: 0, syncPartialErr: 1 });
  await until(
    'the first master has noticed',
    async () => (await first.client.replication()).replicas.length === 0,
  );
});

test('REPLICAOF NO ONE: a new run ID, and the old master continues as its replica', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await writeMany(master, 'a/', 10);
  await converged(master, replica);
  const before = await master.client.replication();
  const promoted = await replica.client.promote();
  assert.equal(promoted.role, 'master');
  assert.notEqual(promoted.runId, before.runId);
  assert.equal(promoted.offset, before.offset);
  const [ancestor] = promoted.lineage;
  assert.deepEqual(
    { runId: ancestor?.runId, validTo: ancestor?.validTo, reason: ancestor?.reason },
    { runId: before.runId, validTo: before.offset, reason: 'promoted' },
  );
  await replica.client.set('b', 'written by the new master');
  await master.client.replicaOf(replica.wsUrl);
  await converged(replica, master);
  assert.deepEqual(await counters(replica), { syncFull: 0, syncPartialOk: 1, syncPartialErr: 0 });
  // To follow whom one follows already changes nothing.
  await master.client.replicaOf(replica.wsUrl);
  assert.deepEqual(await counters(replica), { syncFull: 0, syncPartialOk: 1, syncPartialErr: 0 });
});

test('a stopped process on either side is noticed within the time-out, and continues when it goes on', async (t) => {
  const cluster = await Cluster.create(t);
  const quick = ['--repl-timeout', '1500ms', '--repl-ping-interval', '100ms'];
  const master = await cluster.start('master', ...quick);
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl, ...quick);
  await master.client.set('a', '1');
  await converged(master, replica);
  // On a busy machine the first snapshot may have been broken off by the time-out.
  const { syncFull } = await counters(master);

  master.process.kill('SIGSTOP');
  const { upstream } = await until('the replica notices', async () => {
    const answer = await replica.client.replication();
    return answer.upstream?.state === 'streaming' ? null : answer;
  });
  assert.match(upstream?.detail ?? '', /silent for|timed out/);
  master.process.kill('SIGCONT');
  await samePosition(master, replica);

  replica.process.kill('SIGSTOP');
  await until('the master notices', async () => (await master.client.replication()).replicas.length === 0);
  await master.client.set('a', '2');
  replica.process.kill('SIGCONT');
  await converged(master, replica);
  assert.equal((await counters(master)).syncFull, syncFull);
});

test('an idle link stays up by its ping frames, which are not counted', async (t) => {
  const cluster = await Cluster.create(t);
  const quick = ['--repl-timeout', '3s', '--repl-ping-interval', '50ms'];
  const master = await cluster.start('master', ...quick);
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl, ...quick);
  await linkState(replica, 'streaming');
  const before = await master.client.replication();
  // Seven acknowledgements are seven seconds, more than twice the time-out; a busy machine has pauses of a second.
  let [last, heard] = [before.replicas[0]?.ackAgeMs ?? 0, 0];
  await until('seven acknowledgements came', async () => {
    const age = (await master.client.replication()).replicas[0]?.ackAgeMs ?? 0;
    if (age < last) heard += 1;
    last = age;
    return heard === 7;
  });
  const after = await master.client.replication();
  assert.equal(after.position, before.position);
  assert.deepEqual(after.counters, { syncFull: 1, syncPartialOk: 0, syncPartialErr: 0 });
});

test('a peer that says it is ahead makes a master take one new run ID at most, and costs no data and no snapshot', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await writeMany(master, 'a/', 10);
  await converged(master, replica);
  const before = await counters(master);
  const claim = async (): Promise<string> => {
    const { runId, offset } = await master.client.replication();
    const raw = await RawReplica.connect(t, master);
    raw.say('PSYNC', runId, String(offset + 1_000_000));
    await raw.line();
    raw.socket.terminate();
    return runId;
  };
  const first = await claim();
  const renamed = await claim();
  await claim();
  const { lineage, runId } = await master.client.replication();
  assert.equal(runId, renamed);
  assert.deepEqual([lineage[0]?.runId, lineage[0]?.reason], [first, 'rolled-back']);
  await converged(master, replica);
  assert.equal((await replica.client.replication()).runId, renamed);
  const after = await counters(master);
  assert.equal(after.syncPartialOk, before.syncPartialOk + 1, 'the replica has the same hash');
});
