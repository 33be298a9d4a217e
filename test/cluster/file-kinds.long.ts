/** A data folder in which something else has the name of a file. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { failed, psyncd } from '../support/backups.ts';
import { Cluster, writeMany } from '../support/cluster.ts';

test('a pipe or a folder in place of a file of a node is told at once, and keeps no command and no start waiting', {
  skip: process.platform === 'win32',
}, async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await writeMany(node, 'k', 5);
  await node.stop();
  const data = cluster.data('node');
  const other = cluster.data('other');
  for (const name of ['keyspace-1.db', 'keyspace-1.db-wal', 'psyncd.db', 'psyncd.db-wal', 'psyncd.db-shm']) {
    for (const make of ['mkfifo', 'mkdir']) {
      cpSync(data, other, { recursive: true });
      rmSync(join(other, name), { force: true });
      execFileSync(make, [join(other, name)]);
      const message = new RegExp(`${name} is no file`);
      failed(await psyncd(['backup', cluster.data('b.db'), '--data', other]), 1, message);
      failed(await psyncd(['verify', other]), 2, message);
      await assert.rejects(cluster.start('other'), message);
      rmSync(other, { recursive: true });
    }
  }
});
