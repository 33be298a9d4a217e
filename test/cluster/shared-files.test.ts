/** One file never belongs to two nodes: not after a restore that was killed, and not in the middle of one. */
import assert from 'node:assert/strict';
import { linkSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { until } from '../../src/cli/until.ts';
import { failed, json, makeBackup, psyncd } from '../support/backups.ts';
import { Cluster, textOf, writeMany } from '../support/cluster.ts';
import { FaultyDisk } from '../support/faulty-disk.ts';

/** The places between which a restore changes the data folder. */
const HELD = ['restore-staged', 'restore-file', 'restore-switch', 'restore-switched', 'restore-end'] as const;

test('a node does not start on files that another folder has too, and no command writes into them', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await writeMany(node, 'k', 3);
  await node.stop();
  const backup = cluster.data('backup.db');
  await makeBackup(backup);
  for (const shared of [['psyncd.db', 'keyspace-1.db'], ['keyspace-1.db']]) {
    mkdirSync(cluster.data('twin'));
    for (const name of shared) linkSync(join(cluster.data('node'), name), join(cluster.data('twin'), name));
    const message = new RegExp(`${shared[0]} has 2 names`);
    await assert.rejects(cluster.start('node'), message);
    failed(await psyncd(['verify', cluster.data('node')]), 2, message);
    // A backup reads the keyspace file and does not write into it.
    if (shared.length === 2) {
      failed(await psyncd(['backup', cluster.data('b.db'), '--data', cluster.data('node')]), 1, message);
      await assert.rejects(cluster.start('twin'), message);
      failed(await psyncd(['restore', backup, cluster.data('node'), '--force']), 1, message);
    }
    await rm(cluster.data('twin'), { recursive: true });
  }
  assert.equal(await textOf(await cluster.start('node'), 'k2'), 'v2');
});

for (const isForced of [true, false]) {
  const into = isForced ? 'over the files of a node' : 'into an empty folder';
  test(`no node and no other restore begins in the middle of a restore ${into}`, async (t) => {
    const cluster = await Cluster.create(t);
    const backup = cluster.data('backup.db');
    const { digest } = await makeBackup(backup);
    const [data, trace] = [cluster.data('node'), cluster.data('trace')];
    writeFileSync(trace, '');
    if (isForced) await (await cluster.start('node')).stop();
    else mkdirSync(data);
    const disk = await FaultyDisk.create(cluster, 'restore');
    await disk.fail({ trace, [HELD[0]]: 'hold' });
    const args = ['restore', backup, data, '--json', ...(isForced ? ['--force'] : [])];
    const restoring = psyncd(args, { PSYNCD_FAULTS: disk.file });
    for (const [index, point] of HELD.entries()) {
      await until(`the restore is held at ${point}`, () =>
        readFileSync(trace, 'utf8').includes(`${point} held\n`),
      );
      const isSwitched = index >= HELD.indexOf('restore-switched');
      await assert.rejects(
        cluster.start('node'),
        isSwitched
          ? /in use by another process/
          : isForced
            ? /a restore is at work/
            : /is no data folder of psyncd/,
        point,
      );
      failed(await psyncd(['restore', backup, data, '--force']), 1, /in use|a restore is at work/);
      const next = HELD[index + 1];
      await disk.fail({ trace, ...(next !== undefined && { [next]: 'hold' }) });
    }
    json(await restoring);
    const restored = await cluster.start('node');
    assert.equal((await restored.client.digest()).digest, digest);
  });
}

test('a node that starts after a restore was killed has its files for itself', async (t) => {
  const cluster = await Cluster.create(t);
  const backup = cluster.data('backup.db');
  const { digest } = await makeBackup(backup);
  const data = cluster.data('node');
  const disk = await FaultyDisk.create(cluster, 'restore');
  let node = await cluster.start('node');
  await writeMany(node, 'k', 3);
  const before = (await node.client.digest()).digest;
  for (const [point, has] of [
    ['restore-switch', before],
    ['restore-switched', digest],
  ] as const) {
    await node.stop();
    await disk.fail({ [point]: 'kill' });
    const outcome = await psyncd(['restore', backup, data, '--force'], { PSYNCD_FAULTS: disk.file });
    assert.equal(outcome.code, null, outcome.stderr);
    if (point === 'restore-switch') {
      await assert.rejects(cluster.start('node/restoring'), /a restore makes its files in .*restoring/);
      const aside = (await readdir(join(data, 'restoring'))).find((name) => name.startsWith('replaced-'));
      await assert.rejects(cluster.start(`node/restoring/${aside}`), /psyncd\.db has 2 names/);
    }
    node = await cluster.start('node');
    assert.equal((await node.client.digest()).digest, has, point);
    const names = await readdir(data);
    assert.ok(!names.includes('restoring'), names.join());
    assert.equal(names.filter((name) => name.startsWith('replaced-')).length, Number(has === digest));
    for (const entry of await readdir(data, { recursive: true, withFileTypes: true })) {
      const path = join(entry.parentPath, entry.name);
      if (entry.isFile()) assert.equal(statSync(path).nlink, 1, path);
    }
  }
});
