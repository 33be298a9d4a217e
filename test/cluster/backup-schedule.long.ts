/** Backups by a schedule, of real nodes, into folders and into object storage. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import type { ReplicationAnswer } from '../../src/client/rest.ts';
import { failed, json, psyncd } from '../support/backups.ts';
import { Cluster, converged, writeMany } from '../support/cluster.ts';
import { BUCKET, FakeS3 } from '../support/fake-s3.ts';
import { FaultyDisk } from '../support/faulty-disk.ts';
import { metric } from '../support/snapshot-downloads.ts';

const TO_BUCKET = ['--backup-to', `s3://${BUCKET}`, '--backup-every', '1s', '--cluster', 'shop'] as const;

type Backups = NonNullable<ReplicationAnswer['backups']>;

/** Waits until the schedule has come so far. */
function backupsWhen(node: ChildNode, what: string, is: (backups: Backups) => boolean): Promise<Backups> {
  return until(what, async () => {
    const { backups } = await node.client.replication();
    assert.ok(backups !== null);
    return is(backups) ? backups : null;
  });
}

/** Waits for a backup of the present position. */
async function backedUp(node: ChildNode): Promise<NonNullable<Backups['last']>> {
  const { position } = await node.client.replication();
  const { last } = await backupsWhen(
    node,
    `a backup of ${position}`,
    ({ last }) => last?.position === position,
  );
  assert.ok(last !== null);
  return last;
}

function logged(node: ChildNode, event: string): number {
  return node.log.split('\n').filter((line) => line.includes(`"msg":"${event}"`)).length;
}

async function begun(t: TestContext): Promise<{ cluster: Cluster; fake: FakeS3 }> {
  return { fake: await FakeS3.start(t), cluster: await Cluster.create(t) };
}

test('a node puts backups into a bucket while clients write, and what they hold is what a restored node has', async (t) => {
  const { cluster, fake } = await begun(t);
  const node = await cluster.startWith(fake.env, 'node', ...TO_BUCKET);
  let isOver = false;
  const writing = (async () => {
    for (let count = 0; !isOver; count += 1)
      await node.client.set(`w${count % 500}`, 'v'.repeat(count % 3_000));
  })();
  await until('there are three backups', () => fake.objects.size >= 3);
  isOver = true;
  await writing;
  const { digest } = await node.client.digest();
  const last = await backedUp(node);
  for (const name of fake.objects.keys()) {
    assert.match(name, /^shop\/[0-9a-f]{40}\/\d+-\d{8}T\d{6}Z\.db$/);
    const verified = json(await psyncd(['verify', `s3://${BUCKET}/${name}`, '--json'], fake.env));
    assert.equal(verified.result, 'whole');
    if (name === last.name) assert.deepEqual([verified.digest, verified.bytes], [digest, last.bytes]);
  }
  const source = `s3://${BUCKET}/${last.name}`;
  const answer = await psyncd(['restore', source, cluster.data('restored'), '--json'], fake.env);
  assert.equal((json(answer).backup as Record<string, unknown>).digest, digest);
  const restored = await cluster.start('restored');
  assert.equal((await restored.client.digest()).digest, digest);
  assert.ok((await metric(node, 'psyncd_backup_last_success_timestamp_seconds')) > 1.6e9);
  assert.equal(await metric(node, 'psyncd_backup_last_size_bytes'), last.bytes);
  assert.equal(await metric(node, 'psyncd_backup_last_duration_seconds'), last.durationMs / 1_000);
  assert.equal(await metric(node, 'psyncd_backup_failures_total'), 0);
});

test('a target that fails is told once, writes go on, and backups come when it works again', async (t) => {
  const { cluster, fake } = await begun(t);
  const first = await cluster.start('node');
  await first.stop();
  fake.fault = () => ({ status: 403, text: '<Error><Code>AccessDenied</Code></Error>' });
  const node = await cluster.startWith(fake.env, 'node', ...TO_BUCKET);
  const { failing } = await backupsWhen(node, 'two failures', ({ failures }) => failures >= 2);
  assert.equal(failing?.code, 'NO_ACCESS');
  await writeMany(node, 'k', 20);
  assert.equal(logged(node, 'backup-failed'), 1);
  assert.match(node.log, /"code":"NO_ACCESS","error":"s3:.*AccessDenied/);
  assert.equal(await metric(node, 'psyncd_backup_last_success_timestamp_seconds'), 0);
  fake.fault = () => null;
  await backedUp(node);
  const { backups } = await node.client.replication();
  assert.equal(backups?.failing, null);
});

test('a replica that does not follow its master says that its backups wait for that', async (t) => {
  const { cluster, fake } = await begun(t);
  const master = await cluster.start('master');
  const replica = await cluster.startWith(fake.env, 'replica', ...TO_BUCKET, '--replica-of', master.wsUrl);
  const info = async (): Promise<string> => (await psyncd(['info', '--node', replica.url])).stdout;
  await backupsWhen(replica, 'a success', ({ lastSuccessAt }) => lastSuccessAt !== null);
  assert.match(await info(), /^backups +last success 20\S+Z(, at work now)?$/m);
  await master.stop();
  await backupsWhen(replica, 'the backups wait', ({ waitsFor }) => waitsFor === 'master');
  assert.match(await info(), /^backups +last success .*, waits until this node follows its master/m);
  await until('the log says so', () => logged(replica, 'backup-waits') === 1);
});

test('a stop ends a backup that the target does not take, and leaves nothing in the data folder', async (t) => {
  const { cluster, fake } = await begun(t);
  fake.fault = ({ method }) => (method === 'PUT' ? 'silent' : null);
  const node = await cluster.startWith(fake.env, 'node', ...TO_BUCKET);
  await until('the backup is on its way', () => fake.seen.some(({ method }) => method === 'PUT'));
  await node.client.set('k', 'v');
  await node.stop();
  assert.equal(logged(node, 'stopped'), 1);
  assert.deepEqual((await readdir(cluster.data('node'))).sort(), ['keyspace-1.db', 'psyncd.db']);
});

test('a master and its replica may have one target', async (t) => {
  const { cluster, fake } = await begun(t);
  const master = await cluster.startWith(fake.env, 'master', ...TO_BUCKET);
  const replica = await cluster.startWith(fake.env, 'replica', ...TO_BUCKET, '--replica-of', master.wsUrl);
  await writeMany(master, 'k', 20);
  const { digest } = await converged(master, replica);
  const { position } = await master.client.replication();
  const newest = await until('there is a backup of the last write', () =>
    [...fake.objects.keys()].find((name) => name.includes(`/${position.replace(':', '/')}-`)),
  );
  for (const node of [master, replica]) {
    const { failures } = await backupsWhen(
      node,
      'both know of it',
      ({ lastSuccessAt }) => lastSuccessAt !== null,
    );
    assert.equal(failures, 0);
  }
  const verified = json(await psyncd(['verify', `s3://${BUCKET}/${newest}`, '--json'], fake.env));
  assert.equal(verified.digest, digest);
});

test('only the named role makes backups', async (t) => {
  const { cluster, fake } = await begun(t);
  const master = await cluster.startWith(fake.env, 'master', ...TO_BUCKET, '--backup-role', 'replica');
  const flags = [...TO_BUCKET, '--backup-role', 'replica', '--replica-of', master.wsUrl];
  const replica = await cluster.startWith(fake.env, 'replica', ...flags);
  await writeMany(master, 'k', 5);
  await converged(master, replica);
  const { name } = await backedUp(replica);
  assert.ok(fake.objects.has(name));
  assert.equal((await master.client.replication()).backups?.last, null);
  assert.ok(Number.isNaN(await metric(master, 'psyncd_backup_last_success_timestamp_seconds')));
});

test('a folder keeps what the rules say, and nothing of others goes', async (t) => {
  const cluster = await Cluster.create(t);
  const folder = cluster.data('backups');
  await mkdir(folder);
  await writeFile(join(folder, 'letter.txt'), 'Dear');
  const flags = ['--backup-to', folder, '--backup-every', '1s', '--backup-keep', '1h=1h'];
  const node = await cluster.start('node', ...flags);
  for (let count = 0; count < 3; count += 1) {
    await node.client.set(`k${count}`, 'v');
    await backedUp(node);
  }
  const { name } = await backedUp(node);
  await until('only the newest is left', async () => {
    const names = await readdir(join(folder, name, '..'));
    // At the turn of an hour there are two.
    return names.length <= 2 && names.includes(name.slice(name.lastIndexOf('/') + 1));
  });
  assert.ok(existsSync(join(folder, 'letter.txt')));
  assert.ok(name.startsWith('psyncd/'));
});

test('a disk without the room for a backup makes none, and takes writes', async (t) => {
  const cluster = await Cluster.create(t);
  await mkdir(cluster.data('backups'));
  const disk = await FaultyDisk.create(cluster, 'node');
  await disk.fail({ 'backup-seal': 'ENOSPC' });
  const node = await disk.start(
    cluster,
    'node',
    '--backup-to',
    cluster.data('backups'),
    '--backup-every',
    '1s',
  );
  const { failing } = await backupsWhen(node, 'a failure', ({ failures }) => failures > 0);
  assert.equal(failing?.code, 'DISK_FULL');
  await node.client.set('k', 'v');
  await disk.mend();
  await backedUp(node);
  const left = await readdir(join(cluster.data('node'), 'snapshots'));
  assert.ok(
    left.every((name) => !name.includes('.backup')),
    left.join(),
  );
});

test('what a killed backup has left goes with the next start', async (t) => {
  const cluster = await Cluster.create(t);
  const first = await cluster.start('node');
  await first.stop('SIGKILL');
  const snapshots = join(cluster.data('node'), 'snapshots');
  await mkdir(snapshots);
  for (const suffix of ['', '.part', '.backup', '.backup-journal']) {
    await writeFile(join(snapshots, `${'a'.repeat(40)}-5.db${suffix}`), 'x');
  }
  await cluster.start('node');
  assert.ok(!existsSync(snapshots));
});

test('a target that is none, or in a data folder, is refused before any file is made', async (t) => {
  const cluster = await Cluster.create(t);
  const other = await cluster.start('other');
  const data = cluster.data('node');
  for (const [target, message] of [
    [data, /is in .*, the data folder of a node/],
    [join(data, 'backups'), /is in .*, the data folder of a node/],
    [cluster.data('other'), /is in .*, the data folder of a node/],
    ['gs://bucket', /--backup-to: gs:.*a target is a folder/],
    ['s3://b', /--backup-to: s3:\/\/b: the name of a bucket has 3 to 63 characters/],
    ['s3://bucket', /--backup-to: object storage needs AWS_ACCESS_KEY_ID/],
  ] as const) {
    const flags = ['serve', '--port', '0', '--data', data, '--backup-to', target];
    failed(await psyncd(flags, { AWS_ACCESS_KEY_ID: '' }), 1, message);
    assert.ok(!existsSync(data));
  }
  await other.stop();
});
