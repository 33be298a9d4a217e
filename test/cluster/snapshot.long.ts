/** Full resyncs: the snapshot is of one position, nobody has to ask twice, and what arrives is what was sent. */
import assert from 'node:assert/strict';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { crc32 } from 'node:zlib';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { byteProxy } from '../support/byte-proxy.ts';
import { Cluster, converged, counters, textOf } from '../support/cluster.ts';
import { RawReplica } from '../support/raw-replica.ts';

const SNAPSHOTS = 20;

test('a full resync that begins while the applier writes entries into the file completes', async (t) => {
  const cluster = await Cluster.create(t);
  // The applier commits again as soon as it has committed.
  const master = await cluster.start('master', '--apply-interval', '1ms');
  let writing = true;
  const writers = [0, 1, 2].map(async (writer) => {
    for (let index = 0; writing; index += 1) await master.client.set(`${writer}/${index % 100}`, `${index}`);
  });
  try {
    for (let count = 1; count <= SNAPSHOTS; count += 1) {
      const replica = await RawReplica.connect(t, master);
      replica.say('PSYNC', '?', '-1');
      await until('it is answered', () => replica.receivedBytes > 0 || replica.closed !== null);
      assert.equal(replica.closed, null);
      replica.socket.terminate();
      await until('the session has ended', async () => {
        return (await master.client.replication()).replicas.length === 0;
      });
    }
  } finally {
    writing = false;
    await Promise.all(writers);
  }
  assert.deepEqual(await counters(master), { syncFull: SNAPSHOTS, syncPartialOk: 0, syncPartialErr: 0 });
});

test('a replica notices a bit of a snapshot that flips on the way, keeps its data, and asks again', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const mark = 'a value that can be found on the wire';
  await master.client.set('marked', mark.repeat(100));
  let spoils = true;
  const proxy = await byteProxy(t, master.port, undefined, (chunk) => {
    const at = chunk.indexOf(mark);
    if (!spoils || at === -1) return;
    chunk[at + 5] = (chunk[at + 5] as number) ^ 0x04;
  });
  const replica = await cluster.start('replica');
  await replica.client.set('old', 'data');
  const { position } = await replica.client.replication();
  await replica.client.replicaOf(proxy.wsUrl);
  const detail = await until('it refuses', async () => (await replica.client.replication()).upstream?.detail);
  assert.match(
    detail,
    /^snapshot: it is not what the master has sent: its CRC-32 is [0-9a-f]{8}, sent was [0-9a-f]{8}$/,
  );
  assert.equal((await replica.client.replication()).position, position);
  assert.equal(await textOf(replica, 'old'), 'data');
  assert.match(replica.log, /it is not what the master has sent.*link-down/);
  spoils = false;
  await converged(master, replica);
  assert.equal(await textOf(replica, 'marked'), mark.repeat(100));
  const begun = replica.log.match(/"msg":"full-resync"/g)?.length ?? 0;
  assert.ok(begun >= 2);
  assert.deepEqual(await counters(master), { syncFull: begun, syncPartialOk: 0, syncPartialErr: begun });

  // A peer gets the checksum only if it says that it knows it.
  const [knows, doesNot] = [await RawReplica.connect(t, master), await RawReplica.connect(t, master)];
  knows.say('REPLCONF', 'capa', 'snapshot-crc32');
  assert.equal(await knows.line(), '+OK');
  const files = [];
  for (const peer of [knows, doesNot]) {
    peer.say('PSYNC', '?', '-1');
    assert.match(await peer.line(), /^\+FULLRESYNC [0-9a-f]{40} \d+ first-sync$/);
    const length = await peer.line();
    assert.match(length, peer === knows ? /^\$\d+ crc32$/ : /^\$\d+$/);
    files.push(await peer.take(Number.parseInt(length.slice(1), 10)));
  }
  assert.equal(
    await knows.line(),
    `$crc32 ${crc32(files[0] ?? '')
      .toString(16)
      .padStart(8, '0')}`,
  );
  assert.deepEqual(files[1], files[0]);
  await master.client.set('after', 'wards');
  const set = '*3\r\n$3\r\nSET\r\n$5\r\nafter\r\n$5\r\nwards\r\n';
  for (const peer of [knows, doesNot]) assert.equal((await peer.take(set.length)).toString(), set);
});

test('deleted entries do not stay on the disk, and do not travel with a full resync', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master', '--apply-interval', '20ms');
  const file = join(cluster.data('master'), 'keyspace-1.db');
  const fileBytes = async (): Promise<number> => (await stat(file)).size;
  await master.client.set('kept', 'value');
  for (let index = 0; index < 12; index += 1) await master.client.set(`large/${index}`, 'x'.repeat(2 ** 20));
  const received = async (replica: ChildNode): Promise<number> => {
    await converged(master, replica);
    return (await replica.client.replication()).upstream?.lastSync?.bytes ?? Number.NaN;
  };
  await until('the check says how much a snapshot is, wherever its pages are', async () => {
    const check = await fetch(`${master.url}/v1/replication/check?position=${'0'.repeat(40)}:0`);
    return ((await check.json()) as { bytes: number }).bytes > 12 * 2 ** 20;
  });
  const before = await received(await cluster.start('early', '--replica-of', master.wsUrl));
  assert.ok(before > 12 * 2 ** 20, `${before} bytes`);
  await fetch(`${master.url}/v1/keys?prefix=large/`, { method: 'DELETE' });
  // There is no checkpoint before: everything is in the WAL.
  await until('the pages were given back', async () => {
    const bytes = await fileBytes();
    return bytes > 2 ** 20 && bytes < 5 * 2 ** 20;
  });
  const late = await cluster.start('late', '--replica-of', master.wsUrl);
  const after = await received(late);
  assert.ok(after < 5 * 2 ** 20, `${after} bytes`);
  assert.equal(await textOf(late, 'kept'), 'value');
});

test('a full resync does not wait for an export that its client does not read, and the export goes on', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  // More than sockets hold.
  for (let index = 0; index < 20; index += 1) await master.client.set(`large/${index}`, 'x'.repeat(2 ** 20));
  const exported = await fetch(`${master.url}/v1/export`);
  await master.client.set('since', 'then');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await converged(master, replica);
  assert.deepEqual(await counters(master), { syncFull: 1, syncPartialOk: 0, syncPartialErr: 0 });
  const lines = (await exported.text()).trim().split('\n');
  assert.equal(lines.length, 20);
});
