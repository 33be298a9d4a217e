/**
 * Data folders that were copied, restored, moved or cloned with the operating system's own tools: no replica and no
 * follower continues over bytes that it does not share, and whoever shares them continues without a snapshot.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { rename, rm } from 'node:fs/promises';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import test from 'node:test';
import { promisify } from 'node:util';
import Database from 'better-sqlite3';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { Cluster, converged, counters, samePosition, textOf, writeMany } from '../support/cluster.ts';

const sh = promisify(execFile);

/** Copies the folder of the node called `from`, as an operator would. */
async function copy(cluster: Cluster, from: string, to: string): Promise<void> {
  await sh('cp', ['-r', cluster.data(from), cluster.data(to)]);
}

/** The first line of the ndjson feed at a position that it is asked for. */
async function firstEvent(node: ChildNode, position: string): Promise<{ type: string; reason?: string }> {
  const answer = await fetch(`${node.url}/v1/changes?position=${position}&wait=0`, {
    headers: { accept: 'application/x-ndjson' },
  });
  const [line = ''] = (await answer.text()).split('\n');
  return JSON.parse(line) as { type: string; reason?: string };
}

/** How a read is answered that brings this position. */
async function statusAt(node: ChildNode, position: string): Promise<number> {
  const answer = await fetch(`${node.url}/v1/keys?position=${position}&timeout=0`);
  await answer.arrayBuffer();
  return answer.status;
}

/** Changes what a stopped node's psyncd.db says of the node. */
function editNode(cluster: Cluster, name: string, assignments: string): void {
  const db = new Database(join(cluster.data(name), 'psyncd.db'));
  db.exec(`UPDATE node SET checksum = NULL, ${assignments}`);
  db.close();
}

for (const [how, putBack] of [
  ['moved back', async (cluster: Cluster) => rename(cluster.data('bak'), cluster.data('master'))],
  // The new files may get the inodes of the removed ones.
  ['copied back', (cluster: Cluster) => copy(cluster, 'bak', 'master')],
] as const) {
  test(`an older copy of a master's folder is ${how}: new run ID; replica, follower and position are told`, async (t) => {
    const cluster = await Cluster.create(t);
    const first = await cluster.start('master');
    await writeMany(first, 'shared', 10);
    const copied = await first.client.replication();
    assert.equal(await first.stop(), 0);
    await copy(cluster, 'master', 'bak');

    const master = await cluster.restart('master', first);
    assert.equal(master.ready.runId, copied.runId);
    const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
    await writeMany(master, 'lost', 10);
    const lost = await converged(master, replica);
    await master.stop('SIGKILL');
    await rm(cluster.data('master'), { recursive: true });
    await putBack(cluster);

    // More than was lost is there at once when the replica asks.
    const restored = await cluster.start('master');
    await writeMany(restored, 'other', 20);
    const { runId, lineage, offset } = await restored.client.replication();
    assert.ok(offset > Number(lost.position.split(':')[1]));
    assert.equal(restored.ready.runId, runId);
    assert.deepEqual(
      lineage.map((each) => [each.runId, each.validTo, each.reason]),
      [[copied.runId, copied.offset, 'copied']],
    );
    assert.match(restored.log, /the data folder was copied or restored.*new-run-id/);
    await replica.client.replicaOf(restored.wsUrl);
    await converged(restored, replica);
    assert.equal(await textOf(replica, 'lost3'), null);
    const { upstream } = await replica.client.replication();
    assert.deepEqual([upstream?.lastSync?.kind, upstream?.lastSync?.reason], ['full', 'past-shared-history']);

    const reset = await firstEvent(restored, lost.position);
    assert.deepEqual([reset.type, reset.reason], ['reset', 'past-shared-history']);
    assert.equal((await firstEvent(restored, copied.position)).type, 'continue');
    assert.deepEqual(
      [await statusAt(restored, lost.position), await statusAt(restored, copied.position)],
      [412, 200],
    );
  });
}

test('a folder copied while its master writes: the copy is what the master was, under a new run ID, or says that it is damaged', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master', '--fsync', 'everysec', '--apply-interval', '20ms');
  let writing = true;
  let count = 0;
  const written = (async () => {
    for (; writing; count += 1) await master.client.set(`k${count}`, 'x'.repeat(500));
  })();
  for (let round = 0; round < 3; round += 1) {
    const before = await until('something is written', () => count > 200 * (round + 1) && count);
    const name = `copy${round}`;
    await copy(cluster, 'master', name);
    let node: ChildNode;
    try {
      node = await cluster.start(name);
    } catch (error) {
      assert.match((error as Error).message, /is damaged/);
      continue;
    }
    assert.notEqual(node.ready.runId, master.ready.runId);
    const { lineage } = await node.client.replication();
    assert.deepEqual(
      lineage.map((each) => [each.runId, each.validTo, each.reason]),
      [[master.ready.runId, node.ready.offset, 'copied']],
    );
    // Every write has as many bytes or more than the one before it, and no entry is missing in between.
    const { keys } = await node.client.digest();
    assert.ok(keys >= before, `${keys} of ${before}`);
    assert.equal((await textOf(node, `k${keys - 1}`))?.length, 500);
    assert.equal(await textOf(node, `k${keys}`), null);
    await node.stop();
  }
  writing = false;
  await written;
});

test('two masters from one copied folder: the copy has a run ID of its own, and a replica that changes over gets a snapshot', async (t) => {
  const cluster = await Cluster.create(t);
  let one = await cluster.start('one');
  await writeMany(one, 'shared', 10);
  assert.equal(await one.stop(), 0);
  await copy(cluster, 'one', 'two');
  const { runId } = one.ready;
  one = await cluster.start('one');
  const two = await cluster.start('two');
  assert.deepEqual([one.ready.runId === runId, two.ready.runId === runId], [true, false]);
  const replica = await cluster.start('replica', '--replica-of', one.wsUrl);
  await writeMany(one, 'a', 10);
  await writeMany(two, 'b', 15);
  await converged(one, replica);
  await replica.client.replicaOf(two.wsUrl);
  await converged(two, replica);
  assert.equal(await textOf(replica, 'a3'), null);
  assert.equal((await replica.client.replication()).upstream?.lastSync?.reason, 'past-shared-history');
});

test('restarted, killed, moved: the run ID stays; moved by copying: a new one, and the replica continues without a snapshot', async (t) => {
  const cluster = await Cluster.create(t);
  let master = await cluster.start('master');
  const { runId } = master.ready;
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await writeMany(master, 'k', 10);
  await converged(master, replica);
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    await master.stop(signal);
    master = await cluster.restart('master', master);
    assert.equal(master.ready.runId, runId);
  }
  await master.client.set('before', 'the move');
  await master.stop();
  await rename(cluster.data('master'), cluster.data('moved'));
  master = await cluster.restart('moved', master);
  assert.equal(master.ready.runId, runId);
  await converged(master, replica);

  await master.stop();
  await copy(cluster, 'moved', 'copied');
  master = await cluster.restart('copied', master);
  assert.notEqual(master.ready.runId, runId);
  await master.client.set('after', 'the copy');
  await converged(master, replica);
  assert.deepEqual(await counters(master), { syncFull: 0, syncPartialOk: 1, syncPartialErr: 0 });
  // It is noticed once.
  const copied = master.ready.runId;
  await master.stop();
  master = await cluster.restart('copied', master);
  assert.equal(master.ready.runId, copied);
});

test('a clone: the copy of a folder that is started as a replica continues from its bytes, without a snapshot', async (t) => {
  const cluster = await Cluster.create(t);
  let master = await cluster.start('master');
  await writeMany(master, 'k', 10);
  await master.stop();
  await copy(cluster, 'master', 'clone');
  await copy(cluster, 'master', 'circle');
  master = await cluster.restart('master', master);
  const { runId } = master.ready;
  await writeMany(master, 'l', 10);
  const clone = await cluster.start('clone', '--replica-of', master.wsUrl);
  await converged(master, clone);
  assert.equal((await counters(master)).syncFull, 0);
  assert.equal((await clone.client.replication()).runId, runId);

  // The copy of a replica is a replica; one that is promoted is a master with a run ID of its own.
  await clone.stop();
  await copy(cluster, 'clone', 'second');
  await copy(cluster, 'clone', 'third');
  const second = await cluster.start('second');
  await converged(master, second);
  assert.deepEqual([second.ready.role, second.ready.runId], ['replica', runId]);
  assert.equal((await counters(master)).syncFull, 0);
  const third = await cluster.start('third', '--replica-of', 'no-one');
  assert.equal(third.ready.role, 'master');
  assert.deepEqual(
    (await third.client.replication()).lineage.map((each) => [each.runId, each.reason]),
    [[runId, 'promoted']],
  );

  // A start that fails decides nothing.
  const port = await freePort(cluster);
  await second.client.replicaOf(`ws://127.0.0.1:${port}`);
  const wrong = ['--port', String(port), '--replica-of', second.wsUrl];
  await assert.rejects(cluster.start('circle', ...wrong), /circle/i);
  const alone = await cluster.start('circle');
  assert.deepEqual([alone.ready.role, alone.ready.runId === runId], ['master', false]);
});

test('a master that is told to follow takes no writes before it knows what it is', async (t) => {
  const cluster = await Cluster.create(t);
  const before = await cluster.start('node');
  await before.client.set('k', 'v');
  await before.stop();
  // It takes connections, and answers nothing.
  const mute = createServer();
  const sockets: Socket[] = [];
  mute.on('connection', (socket) => sockets.push(socket.on('error', () => undefined)));
  mute.listen(0, '127.0.0.1');
  await once(mute, 'listening');
  t.after(() => {
    mute.close();
    for (const socket of sockets) socket.destroy();
  });
  const upstream = `ws://127.0.0.1:${(mute.address() as AddressInfo).port}`;
  const starting = cluster.restart('node', before, '--replica-of', upstream);
  const statuses = new Set<number>();
  await until('it is asking who its master is', async () => {
    const answer = await fetch(`${before.url}/v1/keys/k`, { method: 'PUT', body: 'w', redirect: 'manual' });
    await answer.arrayBuffer();
    statuses.add(answer.status);
    return true;
  });
  const node = await starting;
  // A machine that is busy may come to it when it is a replica already.
  assert.ok(
    [...statuses].every((status) => status === 503 || status === 307),
    [...statuses].join(),
  );
  assert.equal(node.ready.role, 'replica');
  assert.equal(await textOf(node, 'k'), 'v');
});

/** A port on which nobody listens any more. */
async function freePort(cluster: Cluster): Promise<number> {
  const node = await cluster.start('port');
  await node.stop();
  return node.port;
}

test('a copy of a node that was handing over does not become the master again under the old run ID', async (t) => {
  const cluster = await Cluster.create(t);
  let master = await cluster.start('master');
  const target = await cluster.start('target', '--replica-of', master.wsUrl);
  const empty = await cluster.start('empty');
  await writeMany(master, 'k', 10);
  await converged(master, target);
  const { runId } = master.ready;
  // The target refuses: it stands where the hand-over has to happen, and has another master, from which it has taken nothing.
  await target.client.replicaOf(empty.wsUrl);
  await until(
    'it keeps its data',
    async () => (await target.client.replication()).upstream?.guarded === true,
  );
  await master.stop();
  editNode(cluster, 'master', `upstream = '${target.wsUrl}', handing_over = 1`);
  await copy(cluster, 'master', 'copy');
  const copied = await cluster.start('copy');
  await until('it is the master again', async () => (await copied.client.replication()).role === 'master');
  const { lineage } = await copied.client.replication();
  assert.deepEqual(
    lineage.map((each) => [each.runId, each.reason]),
    [[runId, 'copied']],
  );
  master = await cluster.start('master');
  await until('it is the master again', async () => (await master.client.replication()).role === 'master');
  assert.equal((await master.client.replication()).runId, runId);
});

for (const [how, detail, putBack] of [
  [
    'as another file',
    /the files of this node are a copy/,
    async (cluster: Cluster) => {
      await rm(cluster.data('target'), { recursive: true });
      await copy(cluster, 'bak', 'target');
    },
  ],
  [
    'in place',
    /but this node is at/,
    (cluster: Cluster) =>
      sh('sh', [
        '-c',
        'rm -f "$2"/*-wal "$2"/*-shm && cp "$1"/*.db "$2"',
        'sh',
        cluster.data('bak'),
        cluster.data('target'),
      ]),
  ],
] as const) {
  test(`the folder of a node that has taken over is put back ${how}: the old master, which does not know it yet, stays a replica`, async (t) => {
    const cluster = await Cluster.create(t);
    const old = await cluster.start('old');
    let target = await cluster.start('target', '--replica-of', old.wsUrl);
    await writeMany(old, 'before', 10);
    await converged(old, target);
    await target.stop();
    await copy(cluster, 'target', 'bak');
    target = await cluster.restart('target', target);
    await writeMany(old, 'k', 10);
    await converged(old, target);
    // The old master asks the target, is killed, and does not hear that the target takes over.
    await old.stop('SIGKILL');
    editNode(cluster, 'old', `upstream = '${target.wsUrl}', handing_over = 1`);
    await target.client.promote();
    const third = await cluster.start('third', '--replica-of', target.wsUrl);
    await converged(target, third);
    await target.client.failover(third.wsUrl, 10_000);
    await third.client.set('written', 'to the third');
    await target.stop('SIGKILL');
    await putBack(cluster);

    target = await cluster.restart('target', target);
    const again = await cluster.restart('old', old);
    await until('it says that it does not know who is the master', async () => {
      const { role, upstream } = await again.client.replication();
      assert.equal(role, 'replica');
      return detail.test(upstream?.detail ?? '');
    });
    assert.equal((await third.client.replication()).role, 'master');
    // An operator who knows it says so; to name the target means that it is not to be asked any more.
    await target.client.replicaOf(third.wsUrl);
    await again.client.replicaOf(target.wsUrl);
    await converged(third, target, again);
    assert.equal(await textOf(again, 'written'), 'to the third');
  });
}

test('without a recorded identity nothing is concluded; without birth times the inode alone decides', async (t) => {
  const cluster = await Cluster.create(t);
  let node = await cluster.start('node');
  await writeMany(node, 'k', 3);
  const { runId } = node.ready;
  for (const old of ['inode = NULL, born_ns = NULL', 'born_ns = NULL']) {
    await node.stop();
    editNode(cluster, 'node', old);
    node = await cluster.start('node');
    assert.equal(node.ready.runId, runId);
  }
  await node.stop();
  // Both were recorded meanwhile.
  await copy(cluster, 'node', 'known');
  assert.notEqual((await cluster.start('known')).ready.runId, runId);
  editNode(cluster, 'node', 'born_ns = NULL');
  await copy(cluster, 'node', 'copy');
  const copied = await cluster.start('copy');
  assert.notEqual(copied.ready.runId, runId);
  await samePosition(copied);
});
