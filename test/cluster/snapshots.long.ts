/** Snapshots to download when the disk fails, room is short, the node is killed, or the keyspace file is replaced. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { until } from '../../src/cli/until.ts';
import { digestOf } from '../../src/store/checks/digest.ts';
import { Cluster, converged, linkState, samePosition, writeMany } from '../support/cluster.ts';
import { Connection, isProblem } from '../support/contract.ts';
import { FaultyDisk } from '../support/faulty-disk.ts';
import {
  begun,
  filled,
  metric,
  opened,
  parts,
  placeOf,
  readAll,
  sha256Of,
  snapshotsIn,
} from '../support/snapshot-downloads.ts';

test('a snapshot of a master or a replica has the digest of the other one at the same position, and a URL that the other one refuses if its bytes differ', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  await writeMany(master, 'before', 30);
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await writeMany(master, 'k', 30);
  await master.client.delete('k3');
  await converged(master, replica);
  for (const [one, other] of [
    [master, replica],
    [replica, master],
  ] as const) {
    const place = await placeOf(t, one);
    const { body } = await new Connection(t, one).send('GET', place);
    const { path, sha256 } = parts(place);
    const theirs = parts(await placeOf(t, other));
    assert.equal(theirs.path, path);
    const { status } = await new Connection(t, other).send('GET', place);
    assert.equal(status, theirs.sha256 === sha256 ? 200 : 410);
    const { position, keys, digest } = await other.client.digest();
    const found = await opened(t, body, digestOf);
    assert.deepEqual(
      [`${found.position.runId}:${found.position.offset}`, found.keys, found.digest],
      [position, keys, digest],
    );
  }
});

test('a snapshot that nobody reads is removed, and its URL says so; the next one may be of the same position', async (t) => {
  const { cluster, node } = await filled(t, '--snapshot-keep', '500ms');
  const place = await placeOf(t, node);
  await until('it is removed', async () => (await snapshotsIn(cluster, 'node')).length === 0);
  isProblem(
    await new Connection(t, node).send('GET', place),
    410,
    'POSITION_LOST',
    /start the download anew/,
  );
  const again = await placeOf(t, node);
  assert.equal(parts(again).path, parts(place).path);
  assert.equal((await new Connection(t, node).send('GET', again)).status, 200);
});

test('a snapshot that is removed while it is downloaded is sent to its end, and its room counts until then', async (t) => {
  const { cluster, node } = await filled(t, '--snapshot-budget', '13mb');
  const place = await placeOf(t, node);
  const download = await begun(t, node, place);
  await node.client.set('second', 'v');
  const second = await placeOf(t, node);
  await node.client.set('third', 'v');
  const third = await placeOf(t, node);
  isProblem(await new Connection(t, node).send('GET', second), 410, 'POSITION_LOST');
  assert.equal((await snapshotsIn(cluster, 'node')).length, 2);
  const other = await begun(t, node, third);
  await node.client.set('fourth', 'v');
  isProblem(
    await new Connection(t, node).send('GET', '/v1/snapshot'),
    429,
    'TOO_MANY_REQUESTS',
    /downloads of earlier ones/,
  );
  assert.equal(await metric(node, 'psyncd_snapshots_downloads'), 2);
  assert.equal(sha256Of(await readAll(download)), parts(place).sha256);
  assert.equal(sha256Of(await readAll(other)), parts(third).sha256);
  await until('both have ended', async () => (await metric(node, 'psyncd_snapshots_downloads')) === 0);
  await placeOf(t, node);
});

test('a copy that becomes shorter on the disk ends the download, and one that is damaged has another hash than it says', async (t) => {
  const { cluster, node } = await filled(t);
  const place = await placeOf(t, node);
  const [name = ''] = await snapshotsIn(cluster, 'node');
  const path = join(cluster.data('node'), 'snapshots', name);
  const bytes = await readFile(path);
  bytes[2_000_000] = (bytes[2_000_000] ?? 0) ^ 1;
  await writeFile(path, bytes);
  const { body, headers } = await new Connection(t, node).send('GET', place);
  const digest = createHash('sha256').update(body).digest('base64');
  assert.notEqual(headers['repr-digest'], `sha-256=:${digest}:`);
  await truncate(path, 1_000_000);
  await assert.rejects(readAll(await begun(t, node, place)));
  assert.equal((await fetch(`${node.url}/healthz`)).status, 200);
});

for (const [point, code, status, problem] of [
  ['copy-room', 'ENOSPC', 507, 'DISK_FULL'],
  ['copy-write', 'ENOSPC', 507, 'DISK_FULL'],
  ['copy-write', 'EDQUOT', 507, 'DISK_FULL'],
  ['copy-create', 'EACCES', 503, 'STORAGE_FAILED'],
  ['copy-write', 'EIO', 503, 'STORAGE_FAILED'],
  ['copy-rename', 'EIO', 503, 'STORAGE_FAILED'],
] as const) {
  test(`a copy that fails (${point}, ${code}) is answered with ${status}, leaves nothing, and the next one is made`, async (t) => {
    const cluster = await Cluster.create(t);
    const disk = await FaultyDisk.create(cluster, 'node');
    const node = await disk.start(cluster, 'node');
    await writeMany(node, 'k', 20);
    await disk.fail({ [point]: code });
    isProblem(await new Connection(t, node).send('GET', '/v1/snapshot'), status, problem);
    assert.deepEqual(await snapshotsIn(cluster, 'node'), []);
    await node.client.set('k1', 'goes on');
    await disk.mend();
    const place = await placeOf(t, node);
    const { body } = await new Connection(t, node).send('GET', place);
    assert.equal(sha256Of(body), parts(place).sha256);
    assert.equal(await metric(node, 'psyncd_snapshots_failed_total'), 1);
  });
}

test('a snapshot that is larger than the budget is not made', async (t) => {
  const { cluster, node } = await filled(t, '--snapshot-budget', '1mb');
  const answer = await new Connection(t, node).send('GET', '/v1/snapshot');
  isProblem(answer, 507, 'DISK_FULL', /--snapshot-budget allows 1048576/);
  assert.deepEqual(await snapshotsIn(cluster, 'node'), []);
});

test('of a node that was killed while it made a copy, or had some, the next start has none', async (t) => {
  const cluster = await Cluster.create(t);
  const disk = await FaultyDisk.create(cluster, 'node');
  const node = await disk.start(cluster, 'node');
  await writeMany(node, 'k', 50, 'x'.repeat(100_000));
  const place = await placeOf(t, node);
  await node.client.set('more', 'v');
  await disk.fail({ 'copy-write': 'kill#3' });
  const exited = once(node.process, 'exit');
  await assert.rejects(fetch(`${node.url}/v1/snapshot`));
  await exited;
  const left = await snapshotsIn(cluster, 'node');
  assert.equal(left.length, 2);
  assert.ok(left.some((name) => name.endsWith('.part')));
  await disk.mend();
  const again = await disk.start(cluster, 'node');
  assert.deepEqual(await snapshotsIn(cluster, 'node'), []);
  isProblem(await new Connection(t, again).send('GET', place), 410, 'POSITION_LOST');
  await placeOf(t, again);
  await again.stop('SIGTERM');
  assert.ok(!existsSync(join(cluster.data('node'), 'snapshots')));
});

test('a replica whose keyspace file is replaced while it is copied says so; earlier snapshots stay what they were', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  await writeMany(master, 'k', 30);
  const disk = await FaultyDisk.create(cluster, 'replica');
  const replica = await disk.start(cluster, 'replica', '--replica-of', 'no-one');
  await writeMany(replica, 'own', 30);
  const place = await placeOf(t, replica);
  await replica.client.set('own', 'more');
  await disk.fail({ 'copy-create': 'hold' });
  const asked = new Connection(t, replica).send('GET', '/v1/snapshot');
  await until('it is being made', async () => (await metric(replica, 'psyncd_snapshots_made_total')) === 1);
  await fetch(`${replica.url}/v1/replication/upstream`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ url: master.wsUrl }),
  });
  await linkState(replica, 'streaming');
  await samePosition(master, replica);
  await disk.mend();
  const answer = await asked;
  // The copy may have been frozen before the file was replaced, or after it.
  if (answer.status !== 307) isProblem(answer, 503, 'LOADING', /replaced the keyspace file.*ask again/);
  const { body } = await new Connection(t, replica).send('GET', place);
  assert.equal(sha256Of(body), parts(place).sha256);
  const now = parts(await placeOf(t, replica));
  assert.equal(`${now.runId}:${now.offset}`, (await master.client.replication()).position);
});
