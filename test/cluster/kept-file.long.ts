/** A keyspace file that a replica has put aside, or that somebody has downloaded, becomes a backup, which can be restored. */
import assert from 'node:assert/strict';
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { contents, failed, json, psyncd } from '../support/backups.ts';
import { Cluster, converged, writeMany } from '../support/cluster.ts';

test('the file that a full resync has put aside is backed up and restored, with all its entries', async (t) => {
  const cluster = await Cluster.create(t);
  const [master, other] = [await cluster.start('master'), await cluster.start('other')];
  await writeMany(master, 'm', 3);
  await writeMany(other, 'k', 20);
  await other.client.set('large', 'x'.repeat(50_000), { ttl: 3600 });
  const { digest, position } = await other.client.digest();
  const text = { method: 'PUT', headers: { 'content-type': 'application/json' } };
  const body = JSON.stringify({ url: master.wsUrl });
  const answer = await fetch(`${other.url}/v1/replication/upstream`, { ...text, body });
  assert.ok(answer.ok, await answer.text());
  await converged(master, other);
  const [kept] = (await other.client.replication()).kept ?? [];
  assert.ok(kept !== undefined);
  const path = join(cluster.data('other'), kept.file);
  const before = readFileSync(path);
  const file = cluster.data('backup.db');
  const made = json(await psyncd(['backup', file, '--data', path, '--json']));
  assert.deepEqual([`${made.runId}:${made.offset}`, made.digest, made.hash], [position, digest, null]);
  assert.deepEqual(readFileSync(path), before);
  assert.match((await psyncd(['verify', file])).stdout, /^whole: 21 entries at /);
  json(await psyncd(['restore', file, cluster.data('restored'), '--json']));
  const restored = await cluster.start('restored');
  assert.equal((await restored.client.digest()).digest, digest);
  await other.stop();
  const own = (await contents(cluster.data('other'))).keys();
  const live = [...own].find((name) => /keyspace-\d+\.db$/.test(name)) ?? '';
  symlinkSync(live, cluster.data('link.db'));
  for (const path of [live, cluster.data('link.db')])
    failed(
      await psyncd(['backup', cluster.data('b.db'), '--data', path]),
      1,
      /give the data folder to --data/,
    );
});

test('a downloaded snapshot is backed up, and a file that is cut or no keyspace file is not', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await writeMany(node, 'k', 300);
  const { digest } = await node.client.digest();
  const bytes = Buffer.from(await (await fetch(`${node.url}/v1/snapshot`)).arrayBuffer());
  const snapshot = cluster.data('snapshot.db');
  writeFileSync(snapshot, bytes);
  const made = json(await psyncd(['backup', cluster.data('b.db'), '--data', snapshot, '--json']));
  assert.deepEqual([made.keys, made.digest], [300, digest]);
  const flipped = Buffer.from(bytes);
  flipped[bytes.indexOf('k7')] = 0x55;
  for (const wrong of [
    bytes.subarray(0, bytes.length - 4096),
    flipped,
    Buffer.alloc(0),
    Buffer.from('none'),
  ]) {
    writeFileSync(snapshot, wrong);
    const outcome = await psyncd(['backup', cluster.data('c.db'), '--data', snapshot]);
    failed(outcome, 1, new RegExp(`${snapshot} is no whole keyspace file`));
  }
});
