/**
 * A replica that sets its damaged files aside, or begins in a new folder, and is killed or fails on the way: it is a replica
 * at the next start too, never an empty master that takes writes.
 */
import assert from 'node:assert/strict';
import { cp, mkdir, readdir, rename, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import type { ChildNode } from '../../src/cli/child-node.ts';
import type { FaultPoint } from '../../src/store/fault-point.ts';
import { Cluster, converged, linkState, writeMany } from '../support/cluster.ts';

/** Starts a node that is expected not to come up. */
async function failingStart(
  cluster: Cluster,
  name: string,
  faults: Partial<Record<FaultPoint, string>>,
  ...flags: string[]
): Promise<string> {
  const file = cluster.data(`${name}.faults.json`);
  await writeFile(file, JSON.stringify(faults));
  const started = cluster.startWith({ PSYNCD_FAULTS: file }, name, ...flags);
  return started.then(
    () => assert.fail(`it has started in spite of ${JSON.stringify(faults)}`),
    (error: Error) => error.message,
  );
}

async function isReplicaOf(node: ChildNode, master: ChildNode): Promise<void> {
  const { role, upstream } = await node.client.replication();
  assert.deepEqual([role, upstream?.url], ['replica', master.wsUrl]);
}

test('a replica killed while it sets damaged files aside is a replica at its next start, and gets a full resync', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await writeMany(master, 'k', 20);
  await converged(master, replica);
  await replica.stop('SIGKILL');
  const folder = cluster.data('replica');
  const [file = ''] = (await readdir(folder)).filter((each) => /^keyspace.*db$/.test(each));
  await truncate(join(folder, file), 5_000);
  await truncate(join(folder, `${file}-wal`));

  const resync = ['--on-damage', 'resync'];
  const faults: Partial<Record<FaultPoint, string>>[] = [
    { 'aside-begin': 'kill' },
    { 'state-made': 'kill' },
    { 'aside-file': 'kill' },
    { 'aside-file': 'kill#2' },
    { 'aside-switch': 'kill' },
    { 'aside-end': 'kill' },
    { 'state-open': 'kill#2' },
    { 'keyspace-open': 'SQLITE_FULL#2' },
    { 'state-save': 'EIO' },
    { 'aside-file': 'EACCES#2' },
  ];
  for (const [index, fault] of faults.entries()) {
    const name = `replica${index}`;
    await cp(folder, cluster.data(name), { recursive: true });
    const why = await failingStart(cluster, name, fault, ...resync);
    if (!JSON.stringify(fault).includes('kill')) assert.match(why, /cannot be opened/);
    // What SQLite had beside the old psyncd.db: it must not be taken for the new one's.
    if ('aside-switch' in fault) {
      await cp(join(folder, 'psyncd.db-wal'), join(cluster.data(name), 'psyncd.db-wal'));
    }
    const again = await cluster.start(name, ...resync);
    await isReplicaOf(again, master);
    await converged(master, again);
    const names = await readdir(cluster.data(name));
    assert.ok(!names.some((each) => each.startsWith('psyncd-next')), names.join());
    assert.ok(
      names.some((each) => each.startsWith('damaged-')),
      names.join(),
    );
    await again.stop();
  }
});

test('a new replica that is killed at its first start is never an empty master that takes writes', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  await master.client.set('k', 'v');
  const points: FaultPoint[] = [
    'state-new',
    'keyspace-open',
    'keyspace-switch',
    'keyspace-switched',
    'state-saved',
  ];
  for (const point of points) {
    await failingStart(cluster, point, { [point]: 'kill' }, '--replica-of', master.wsUrl);
    // Before the first row nothing says that there has been a start.
    const again = await cluster.start(
      point,
      ...(point === 'state-new' ? ['--replica-of', master.wsUrl] : []),
    );
    await isReplicaOf(again, master);
    await converged(master, again);
    await again.stop();
  }
});

test('a first start that would close a circle leaves a replica, not an empty master', async (t) => {
  const cluster = await Cluster.create(t);
  const one = await cluster.start('one');
  await one.stop();
  const two = await cluster.start('two', '--replica-of', one.wsUrl);
  const flags = ['--port', String(one.port), '--replica-of', two.wsUrl];
  await assert.rejects(cluster.start('new', ...flags), /circle/i);
  const again = await cluster.start('new', '--port', String(one.port));
  await isReplicaOf(again, two);
  const { upstream } = await linkState(again, 'refused');
  assert.match(upstream?.detail ?? '', /circle/i);
});

test('a folder with files set aside, whose first start found no room for a new psyncd.db, does not become an empty master', async (t) => {
  const cluster = await Cluster.create(t);
  await mkdir(join(cluster.data('node'), 'damaged-1790000000000'), { recursive: true });
  const why = await failingStart(
    cluster,
    'node',
    { 'state-new': 'ENOSPC' },
    '--replica-of',
    'ws://127.0.0.1:9',
  );
  assert.match(why, /no space left/);
  assert.match(await failingStart(cluster, 'node', {}), /holds only files that were set aside/);
  const node = await cluster.start('node', '--replica-of', 'ws://127.0.0.1:9');
  assert.equal((await node.client.replication()).role, 'replica');
});

test('a folder without its psyncd.db does not become an empty master by itself', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await node.client.set('k', 'v');
  await node.stop();
  // An older psyncd could be killed here.
  const aside = join(cluster.data('node'), 'damaged-1');
  await mkdir(aside);
  for (const name of ['psyncd.db', 'keyspace-1.db']) {
    await rename(join(cluster.data('node'), name), join(aside, name));
  }
  await assert.rejects(cluster.start('node'), /--replica-of no-one for a new, empty master/);
  const again = await cluster.start('node', '--replica-of', 'no-one');
  assert.equal(again.ready.offset, 0);
  await again.stop();
  // An empty file is none that a start has left: data is there.
  await truncate(join(cluster.data('node'), 'psyncd.db'));
  await assert.rejects(cluster.start('node'), /psyncd\.db is damaged: it is empty/);
  await assert.rejects(cluster.start('node'), /psyncd\.db is damaged: it is empty/);
});
