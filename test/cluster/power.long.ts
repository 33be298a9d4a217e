/**
 * What a power cut leaves: the end of the journal that was not on disk is gone, and so is the memory of the machine's
 * boot. Both are made by hand after a `kill -9`: the WAL is cut, and psyncd.db names another boot.
 */
import assert from 'node:assert/strict';
import { stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import Database from 'better-sqlite3';
import type { ChildNode } from '../../src/cli/child-node.ts';
import {
  Cluster,
  converged,
  counters,
  linkState,
  samePosition,
  textOf,
  writeMany,
} from '../support/cluster.ts';

/** Kills the node and cuts the power of its machine. @param lostBytes of the WAL that had not reached the disk */
async function cutPower(cluster: Cluster, name: string, node: ChildNode, lostBytes: number): Promise<void> {
  await node.stop('SIGKILL');
  const wal = join(cluster.data(name), 'psyncd.db-wal');
  const { size } = await stat(wal);
  await truncate(wal, Math.max(0, size - lostBytes));
  const db = new Database(join(cluster.data(name), 'psyncd.db'));
  db.prepare("UPDATE node SET checksum = NULL, boot_id = 'another boot'").run();
  db.close();
}

/** Entries of this size take a known part of the WAL each. */
const VALUE = 'x'.repeat(3_000);

test('a master that lost sent bytes in a power cut takes a new run ID; replicas ahead of it get a full resync, the others continue', async (t) => {
  const cluster = await Cluster.create(t);
  const flags = ['--apply-interval', '1h'];
  const master = await cluster.start('master', ...flags);
  const link = await cluster.proxy(master);
  const ahead = await cluster.start('ahead', '--replica-of', master.wsUrl);
  const behind = await cluster.start('behind', '--replica-of', link.wsUrl);
  await writeMany(master, 'early/', 20, VALUE);
  // Not the digests: they would have the keyspace file written, whose commits are always on disk.
  await samePosition(master, ahead, behind);
  link.cut();
  await linkState(behind, 'waiting');
  await writeMany(master, 'late/', 40, VALUE);
  await samePosition(master, ahead);
  const before = await ahead.client.replication();

  await cutPower(cluster, 'master', master, 20 * 4_200);
  const again = await cluster.restart('master', master, ...flags);
  const after = await again.client.replication();
  assert.notEqual(after.runId, before.runId);
  assert.ok(after.offset < before.offset, `${after.offset} of ${before.offset}`);
  assert.ok(after.offset >= (await behind.client.replication()).offset);
  assert.deepEqual(
    after.lineage.map(({ runId, validTo, reason }) => ({ runId, validTo, reason })),
    [{ runId: before.runId, validTo: after.offset, reason: 'unclean-stop' }],
  );
  assert.equal(await textOf(again, 'late/39'), null);
  link.restore();
  await again.client.set('late/39', 'written anew, differently');
  await converged(again, ahead, behind);
  assert.deepEqual(await counters(again), { syncFull: 1, syncPartialOk: 1, syncPartialErr: 1 });
  const { upstream, kept } = await ahead.client.replication();
  assert.equal(upstream?.lastSync?.reason, 'past-shared-history');
  // What only this replica had is not gone.
  assert.deepEqual(
    kept.map(({ position, reason }) => ({ position, reason })),
    [{ position: before.position, reason: 'past-shared-history' }],
  );
  const file = new Database(join(cluster.data('ahead'), kept[0]?.file ?? ''), { readonly: true });
  assert.equal(
    file.prepare("SELECT CAST(value AS TEXT) FROM whole_entries WHERE key = 'late/39'").pluck().get(),
    `${VALUE}39`,
  );
  file.close();
});

test('a master takes a new run ID also after a power cut that lost nothing, because it cannot know; all replicas continue', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await writeMany(master, 'k', 20);
  await converged(master, replica);
  const { runId, offset } = await master.client.replication();
  await cutPower(cluster, 'master', master, 0);
  const again = await cluster.restart('master', master);
  assert.deepEqual([again.ready.runId === runId, again.ready.offset], [false, offset]);
  await again.client.set('after', 'the cut');
  await converged(again, replica);
  assert.deepEqual(await counters(again), { syncFull: 0, syncPartialOk: 1, syncPartialErr: 0 });
});

test('with --fsync always each answered write survives a power cut, and so does the run ID', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master', '--fsync', 'always');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await writeMany(master, 'k', 20);
  await converged(master, replica);
  const { runId, offset } = await master.client.replication();
  await cutPower(cluster, 'master', master, 0);
  const again = await cluster.restart('master', master, '--fsync', 'always');
  assert.deepEqual(again.ready, { role: 'master', runId, offset });
  await again.client.set('after', 'the cut');
  await converged(again, replica);
  assert.deepEqual(await counters(again), { syncFull: 0, syncPartialOk: 1, syncPartialErr: 0 });
});

test('a replica that lost the end of its journal in a power cut gets those bytes from its master again', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const flags = ['--replica-of', master.wsUrl, '--apply-interval', '1h'];
  let replica = await cluster.start('replica', ...flags);
  await writeMany(master, 'k', 40, VALUE);
  await samePosition(master, replica);
  const { runId, offset } = await replica.client.replication();
  await cutPower(cluster, 'replica', replica, 10 * 4_200);
  replica = await cluster.start('replica', ...flags);
  assert.equal(replica.ready.runId, runId);
  assert.ok(replica.ready.offset < offset, `${replica.ready.offset} of ${offset}`);
  await converged(master, replica);
  assert.deepEqual(await counters(master), { syncFull: 1, syncPartialOk: 1, syncPartialErr: 0 });
});
