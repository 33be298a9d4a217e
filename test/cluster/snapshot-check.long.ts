/** A snapshot that has come completely does not need its connection any more: it is checked, and takes over if it still may. */
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import test, { type TestContext } from 'node:test';
import type { ChildNode } from '../../src/cli/child-node.ts';
import type { LinkProxy } from '../../src/cli/demo/link-proxy.ts';
import { until } from '../../src/cli/until.ts';
import { Cluster, converged, counters, linkState, textOf, writeMany } from '../support/cluster.ts';
import { FaultyDisk } from '../support/faulty-disk.ts';

interface Stage {
  readonly cluster: Cluster;
  /** Of the replica. */
  readonly disk: FaultyDisk;
  readonly master: ChildNode;
  readonly link: LinkProxy;
  /** It has the entry `old`, and follows the master over the link. */
  readonly replica: ChildNode;
}

/** A replica that has received all of its first snapshot, and checks it until its disk is mended. */
async function checking(t: TestContext, entries = 50): Promise<Stage> {
  const cluster = await Cluster.create(t);
  const disk = await FaultyDisk.create(cluster, 'replica');
  const master = await cluster.start('master');
  await writeMany(master, 'k', entries);
  const link = await cluster.proxy(master);
  // A paused socket notices only when it sends that the connection is gone.
  const replica = await disk.start(cluster, 'replica', '--repl-ping-interval', '50ms');
  await replica.client.set('old', 'data');
  await disk.fail({ 'snapshot-check': 'hold' });
  await replica.client.replicaOf(link.wsUrl);
  await until('all of the snapshot has come', () => replica.log.includes('"msg":"snapshot-received"'));
  return { cluster, disk, master, link, replica };
}

async function noticesLoss(replica: ChildNode): Promise<void> {
  await until('the replica notices that the connection is lost', async () => {
    return /being checked/.test((await replica.client.replication()).upstream?.detail ?? '');
  });
}

/** The positions of the snapshots that have taken over. */
function adopted(replica: ChildNode): readonly string[] {
  const event = /"position":"([^"]+)"[^\n]*"msg":"(?:snapshot-adopted|snapshot-replaced-another-history)"/g;
  return [...replica.log.matchAll(event)].map((match) => match[1] as string);
}

test('a replica whose link is cut while it checks a snapshot takes that over, and continues by a partial resync', async (t) => {
  const { disk, master, link, replica } = await checking(t);
  const { position } = await master.client.replication();
  link.cut();
  await noticesLoss(replica);
  link.restore();
  await master.client.set('meanwhile', 'written');
  const { upstream } = await replica.client.replication();
  assert.equal(upstream?.state, 'snapshot');
  assert.equal(await textOf(replica, 'old'), 'data');
  await disk.mend();
  await converged(master, replica);
  assert.equal(await textOf(replica, 'meanwhile'), 'written');
  assert.equal(await textOf(replica, 'old'), null);
  assert.deepEqual(adopted(replica), [position]);
  assert.deepEqual(await counters(master), { syncFull: 1, syncPartialOk: 1, syncPartialErr: 1 });
});

test('a replica whose master is killed while it checks a snapshot takes that over, and continues from the restarted master', async (t) => {
  const { cluster, disk, master, link, replica } = await checking(t);
  await master.stop('SIGKILL');
  await noticesLoss(replica);
  const again = await cluster.restart('master', master);
  link.restore(again.port);
  await disk.mend();
  await converged(again, replica);
  assert.deepEqual(await counters(again), { syncFull: 0, syncPartialOk: 1, syncPartialErr: 0 });
});

for (const cut of [false, true]) {
  const when = cut ? ', its link cut already,' : '';
  test(`a replica that is told to follow another master while it checks a snapshot${when} does not take it over`, async (t) => {
    const { cluster, disk, link, replica } = await checking(t);
    if (cut) {
      link.cut();
      await noticesLoss(replica);
    }
    const other = await cluster.start('other');
    await writeMany(other, 'other', 20);
    const told = replica.client.replicaOf(other.wsUrl);
    await until('the link is stopped', async () => (await replica.client.replication()).upstream === null);
    await disk.mend();
    await told;
    const { position } = await converged(other, replica);
    assert.deepEqual(adopted(replica), [position]);
  });
}

test('a replica that is promoted while it checks a snapshot keeps its own data', async (t) => {
  const { cluster, disk, link, replica } = await checking(t);
  link.cut();
  await noticesLoss(replica);
  const told = replica.client.promote();
  await until('the link is stopped', async () => (await replica.client.replication()).upstream === null);
  await disk.mend();
  await told;
  assert.equal(await textOf(replica, 'old'), 'data');
  assert.deepEqual(adopted(replica), []);
  await until('nothing is left of the snapshot', async () => {
    const names = await readdir(cluster.data('replica'));
    return names.filter((name) => /^keyspace-\d+\.db$/.test(name)).length === 1;
  });
});

test('a replica refuses an empty snapshot also after its link was cut, and does not ask for it again', async (t) => {
  const { disk, master, link, replica } = await checking(t, 0);
  link.cut();
  await noticesLoss(replica);
  link.restore();
  await disk.mend();
  const { upstream } = await linkState(replica, 'refused');
  assert.equal(upstream?.guarded, true);
  assert.equal(await textOf(replica, 'old'), 'data');
  assert.equal((await counters(master)).syncFull, 1);
});

test('a replica says what is wrong with a snapshot also after its link was cut, and asks for another one', async (t) => {
  const { disk, master, link, replica } = await checking(t);
  link.cut();
  await noticesLoss(replica);
  await disk.fail({ 'snapshot-check': 'ENOSPC' });
  await until('the replica says so', () => /; snapshot: injected at snapshot-check/.test(replica.log));
  assert.equal(await textOf(replica, 'old'), 'data');
  await disk.mend();
  link.restore();
  await converged(master, replica);
});
