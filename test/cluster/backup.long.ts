/** `psyncd backup`, `verify` and `restore` with real nodes. */
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { failed, json, psyncd, withoutHash } from '../support/backups.ts';
import { Cluster, converged, textOf, writeMany } from '../support/cluster.ts';
import { TestFollower } from '../support/follower.ts';

test('the folder of a killed node is backed up with what only its journal has, and stays as it was', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node', '--apply-interval', '1h');
  await writeMany(node, 'k', 50);
  await node.client.set('large', 'x'.repeat(50_000), { ttl: 3600 });
  const digest = await node.client.digest();
  await writeMany(node, 'late', 5);
  const { position, historyHash } = await node.client.replication();
  const late = await node.client.digest();
  assert.notEqual(late.digest, digest.digest);
  await node.stop('SIGKILL');
  const keyspace = readFileSync(join(cluster.data('node'), 'keyspace-1.db'));
  const file = cluster.data('backup.db');
  const made = json(await psyncd(['backup', file, '--data', cluster.data('node'), '--json']));
  assert.deepEqual(
    [`${made.runId}:${made.offset}`, made.keys, made.digest, made.hash],
    [position, 56, late.digest, historyHash],
  );
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.deepEqual(readFileSync(join(cluster.data('node'), 'keyspace-1.db')), keyspace);
  const { file: path, ...manifest } = made;
  const verified = json(await psyncd(['verify', file, '--json']));
  assert.deepEqual(verified, { result: 'whole', path, kind: 'backup', ...manifest });
  const folder = json(await psyncd(['verify', cluster.data('node'), '--json']));
  assert.deepEqual(
    [`${folder.runId}:${folder.offset}`, folder.keys, folder.digest],
    [position, 56, late.digest],
  );
  const again = await cluster.start('node');
  assert.deepEqual(await again.client.digest(), late);
});

test('a restored node has the entries, versions and expiries of the backup, under a run ID of its own', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await writeMany(node, 'k', 20);
  await node.client.set('expires', 'later', { ttl: 3600 });
  const entry = await node.client.entry('expires');
  const { digest, keys, position } = await node.client.digest();
  const file = cluster.data('backup.db');
  await node.stop();
  json(await psyncd(['backup', file, '--data', cluster.data('node'), '--json']));
  const dry = await psyncd(['restore', file, cluster.data('restored'), '--dry-run']);
  assert.match(dry.stdout, /^would be restored: 21 entries.*\n.*nothing was changed\n/);
  assert.ok(!existsSync(cluster.data('restored')));
  const outcome = json(await psyncd(['restore', file, cluster.data('restored'), '--json']));
  assert.match((await psyncd(['verify', cluster.data('restored')])).stdout, /^whole: 21 entries at /);
  const restored = await cluster.start('restored');
  const state = await restored.client.replication();
  assert.deepEqual([state.role, state.position], ['master', outcome.position]);
  const [runId, offset] = position.split(':');
  const [ancestor] = state.lineage;
  assert.deepEqual({ ...ancestor, at: 0 }, { runId, validTo: Number(offset), reason: 'restored', at: 0 });
  assert.notEqual(state.runId, runId);
  assert.deepEqual(
    [(await restored.client.digest()).digest, (await restored.client.digest()).keys],
    [digest, keys],
  );
  assert.deepEqual(await restored.client.entry('expires'), entry);
  assert.doesNotMatch(restored.log, /new-run-id/);
  await restored.stop();
  const again = await cluster.start('restored');
  assert.equal((await again.client.replication()).runId, state.runId);
});

test('replicas and followers of the old history that are past the backup get everything anew, others continue', async (t) => {
  const cluster = await Cluster.create(t);
  const first = await cluster.start('master');
  await writeMany(first, 'k', 20);
  const behind = await cluster.start('behind', '--replica-of', first.wsUrl);
  await converged(first, behind);
  const shared = await first.client.replication();
  await behind.stop();
  await first.stop();
  const file = cluster.data('backup.db');
  json(await psyncd(['backup', file, '--data', cluster.data('master'), '--json']));
  const second = await cluster.restart('master', first);
  const ahead = await cluster.start('ahead', '--replica-of', second.wsUrl);
  await writeMany(second, 'lost', 5);
  await converged(second, ahead);
  const lost = await second.client.replication();
  await second.stop();
  // The clients of the restored node write as many bytes as the lost ones, so that the offsets are the same.
  json(await psyncd(['restore', file, cluster.data('restored'), '--json']));
  const restored = await cluster.restart('restored', first);
  await writeMany(restored, 'newk', 5);
  assert.equal((await restored.client.replication()).position.split(':')[1], lost.position.split(':')[1]);
  const back = await cluster.start('behind', '--replica-of', restored.wsUrl);
  await converged(restored, back, ahead);
  assert.equal(await textOf(ahead, 'lost0'), null);
  assert.equal((await ahead.client.replication()).kept?.length, 1);
  const { counters } = await restored.client.replication();
  assert.deepEqual([counters.syncFull, counters.syncPartialOk], [1, 1]);
  const { sessions } = await restored.client.sessions();
  const reasons = sessions.flatMap(({ events }) => events.flatMap(({ fields }) => fields.reason ?? []));
  assert.ok(reasons.includes('past-shared-history'), JSON.stringify(sessions));
  const past = TestFollower.follow(t, restored.url, { query: `position=${lost.position}` });
  const reset = await past.next();
  assert.deepEqual([reset?.type, reset?.reason], ['reset', 'past-shared-history']);
  const before = TestFollower.follow(t, restored.url, { query: `position=${shared.position}` });
  assert.equal((await before.next())?.type, 'continue');
});

test('a node is backed up while clients write, and the restored one has what the backup says', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  await writeMany(master, 'k', 100);
  let isOver = false;
  const writing = (async () => {
    for (let index = 0; !isOver; index += 1) await master.client.set(`w${index % 50}`, `${index}`);
  })();
  const file = cluster.data('backup.db');
  const made = json(
    await psyncd(['backup', file, '--node', master.url, '--json']).finally(() => {
      isOver = true;
    }),
  );
  await writing;
  assert.match(String(made.hash), /^[0-9a-f]{16}$/);
  json(await psyncd(['restore', file, cluster.data('restored'), '--json']));
  const restored = await cluster.start('restored');
  const { digest, keys } = await restored.client.digest();
  assert.deepEqual([keys, digest], [made.keys, made.digest]);
  assert.ok(keys >= 100);
  assert.equal((await restored.client.replication()).lineage[0]?.runId, made.runId);
  // Nobody writes any more: the node has the digest of its last byte, which a second backup has too.
  const second = json(await psyncd(['backup', cluster.data('second.db'), '--node', master.url, '--json']));
  const now = await master.client.replication();
  assert.equal(`${second.runId}:${second.offset}`, now.position);
  assert.equal(second.hash, now.historyHash);
  assert.equal(second.digest, (await master.client.digest()).digest);
});

test('a replica of before gets everything anew from a node that was restored from a backup without a history hash', async (t) => {
  const cluster = await Cluster.create(t);
  const first = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', first.wsUrl);
  await writeMany(first, 'k', 5);
  await converged(first, replica);
  await first.stop();
  const file = cluster.data('backup.db');
  json(await psyncd(['backup', file, '--data', cluster.data('master'), '--json']));
  await withoutHash(file);
  const outcome = await psyncd(['restore', file, cluster.data('restored')]);
  assert.match(outcome.stdout, /no history hash, so all replicas and followers get everything anew/);
  const restored = await cluster.restart('restored', first);
  await converged(restored, replica);
  const { lineage, counters } = await restored.client.replication();
  assert.deepEqual([lineage, counters.syncFull, counters.syncPartialOk], [[], 1, 0]);
});

test('nothing is backed up or restored into a folder of a node, and a node removes only its own files from there', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const inside = join(cluster.data('node'), 'snapshots');
  const mine = join(inside, 'mine.db');
  mkdirSync(inside, { recursive: true });
  writeFileSync(mine, 'mine');
  const link = cluster.data('link');
  symlinkSync(inside, link);
  const file = cluster.data('backup.db');
  json(await psyncd(['backup', file, '--node', node.url, '--json']));
  assert.equal(readdirSync(inside).length, 2);
  for (const target of [inside, join(inside, 'sunday.db'), link, join(link, 'sunday.db')]) {
    failed(await psyncd(['backup', target, '--node', node.url]), 1, /the data folder of a node/);
  }
  for (const folder of [join(cluster.data('node'), 'new'), join(inside, 'new'), link, join(link, 'new')]) {
    failed(await psyncd(['restore', file, folder]), 1, /the data folder of a node/);
  }
  await node.stop();
  assert.deepEqual(readdirSync(inside), ['mine.db']);
  await cluster.start('node');
  assert.deepEqual(readdirSync(inside), ['mine.db']);
});
