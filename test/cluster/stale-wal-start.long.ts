/**
 * An older copy is put over the files of a node that was killed, and a newer WAL stays beside it: the node says so, and
 * does not serve a mixture of both.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, statSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { promisify } from 'node:util';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import type { DigestAnswer } from '../../src/client/rest.ts';
import { Cluster, converged, samePosition, writeMany } from '../support/cluster.ts';

const sh = promisify(execFile);

/** Applies writes soon, so that the keyspace file has a WAL with them. */
const SOON = ['--apply-interval', '20ms'];
const STALE =
  /is damaged: \S+-wal belongs to another state of it.*remove all \*\.db-wal and \*\.db-shm files/;

/** Puts files of the copy over those of the node, as `cp` does. */
async function overwrite(cluster: Cluster, name: string, files: string): Promise<void> {
  await sh('sh', ['-c', `cp ${join(cluster.data('bak'), files)} ${cluster.data(name)}`]);
}

/** A hash of each file, and of each WAL, that the copy has overwritten. */
async function hashesOf(folder: string, files: string): Promise<Record<string, string>> {
  const names = (await readdir(folder)).filter((name) => /\.db(-wal)?$/.test(name));
  const touched = names.filter((name) => files === '*' || name.startsWith(files)).sort();
  const hash = async (name: string): Promise<[string, string]> => [
    name,
    createHash('sha256')
      .update(await readFile(join(folder, name)))
      .digest('hex'),
  ];
  return Object.fromEntries(await Promise.all(touched.map(hash)));
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/** Waits until the applier has committed something, so that the keyspace file has a WAL. */
async function applied(folder: string): Promise<void> {
  await until('the keyspace file has a WAL', () =>
    readdirSync(folder).some((name) => /^keyspace-\d+\.db-wal$/.test(name) && sizeOf(join(folder, name)) > 0),
  );
}

/**
 * The node is stopped and copied, then runs once more to a clean stop, and once until it is killed.
 * @param master whom it follows; without one, it is a master itself
 * @returns what the copy holds
 */
async function killed(cluster: Cluster, master?: ChildNode): Promise<DigestAnswer> {
  const write = async (node: ChildNode, prefix: string, value?: string): Promise<void> => {
    await writeMany(master ?? node, prefix, 200, value);
    if (master !== undefined) await samePosition(master, node);
  };
  const upstream = master === undefined ? [] : ['--replica-of', master.wsUrl];
  const first = await cluster.start('node', ...SOON, ...upstream);
  await write(first, 'old');
  const copied = await first.client.digest();
  assert.equal(await first.stop(), 0);
  await sh('cp', ['-r', cluster.data('node'), cluster.data('bak')]);
  const second = await cluster.start('node', ...SOON);
  await write(second, 'old', 'changed');
  await write(second, 'second');
  assert.equal(await second.stop(), 0);
  const third = await cluster.start('node', ...SOON);
  await write(third, 'third');
  await applied(cluster.data('node'));
  await third.stop('SIGKILL');
  return copied;
}

for (const files of ['*', 'keyspace-1.db', 'psyncd.db'] as const) {
  test(`an older copy of ${files} is put over the files of a killed node: it refuses to start, changes nothing, and says what to do`, async (t) => {
    const cluster = await Cluster.create(t);
    const copied = await killed(cluster);
    await overwrite(cluster, 'node', files);
    const before = await hashesOf(cluster.data('node'), files);
    await assert.rejects(cluster.start('node'), STALE);
    await assert.rejects(cluster.start('node'), STALE);
    assert.deepEqual(await hashesOf(cluster.data('node'), files), before);

    await sh('sh', ['-c', `rm ${cluster.data('node')}/*.db-wal ${cluster.data('node')}/*.db-shm`]);
    await overwrite(cluster, 'node', '*');
    const node = await cluster.start('node');
    const { keys, digest } = await node.client.digest();
    assert.deepEqual([keys, digest], [copied.keys, copied.digest]);
  });
}

test('a replica with stale WALs is a replica still, and gets everything anew from its master if it may', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  await writeMany(master, 'at first', 10);
  await killed(cluster, master);
  await overwrite(cluster, 'node', '*');
  await assert.rejects(cluster.start('node'), STALE);
  const node = await cluster.start('node', '--on-damage', 'resync');
  assert.equal(node.ready.role, 'replica');
  await converged(master, node);
});

test('a copy of the very state in which the WAL began makes no mixture: the node has all that it wrote', async (t) => {
  const cluster = await Cluster.create(t);
  const first = await cluster.start('node', ...SOON);
  await writeMany(first, 'old', 300);
  assert.equal(await first.stop(), 0);
  await sh('cp', ['-r', cluster.data('node'), cluster.data('bak')]);
  const second = await cluster.start('node', ...SOON);
  await writeMany(second, 'old', 300, 'changed');
  await applied(cluster.data('node'));
  const before = await second.client.digest();
  await second.stop('SIGKILL');
  await overwrite(cluster, 'node', '*');
  assert.deepEqual(await (await cluster.start('node')).client.digest(), before);
});
