/** Snapshots whose connection breaks: the next one goes on where it broke. `PSYNCD_SEED=N` repeats a run's random numbers. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { crc32 } from 'node:zlib';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { byteProxy } from '../support/byte-proxy.ts';
import { Cluster, converged, counters, linkState, textOf } from '../support/cluster.ts';
import { seeded } from '../support/random.ts';
import { RawReplica } from '../support/raw-replica.ts';
import { scriptedMaster } from '../support/scripted-master.ts';

const MIB = 1024 * 1024;
const CUTS = 20;
/** So large that the part of a mebibyte that each cut may cost is less than a tenth of all. */
const LARGE_MIB = 256;
const RUN_ID = 'a'.repeat(40);

/** Fills a node with values of 4 MiB that compress and repeat nowhere. */
async function fill(node: ChildNode, mib: number): Promise<void> {
  for (let at = 0; at < mib; at += 4) await node.client.set(`large${at}`, randomBytes(4 * MIB));
}

/** @returns how many snapshots the node has gone on with, and the bytes that it did not send again */
async function resumes(node: ChildNode): Promise<{ readonly count: number; readonly bytes: number }> {
  const text = await (await fetch(`${node.url}/metrics`)).text();
  const value = (name: string): number => Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1]);
  return {
    count: value('psyncd_snapshot_resumes_total'),
    bytes: value('psyncd_snapshot_resumed_bytes_total'),
  };
}

async function keyspaceFiles(cluster: Cluster, name: string): Promise<string[]> {
  return (await readdir(cluster.data(name))).filter((file) => /^keyspace-\d+\.db$/.test(file));
}

test(`a snapshot that is cut at ${CUTS} random points under writers arrives with less than a tenth sent twice`, async (t) => {
  const { random, seed } = seeded();
  t.diagnostic(`PSYNCD_SEED=${seed}`);
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  await fill(master, LARGE_MIB);
  const points = Array.from({ length: CUTS }, () => random() * LARGE_MIB * MIB).sort((a, b) => a - b);
  const limits: (number | null)[] = points.map((point, index) =>
    Math.ceil(point - (points[index - 1] ?? 0) + 1),
  );
  // Before the first connection the replica asks over HTTP who the master follows.
  limits.unshift(null);
  const proxy = await byteProxy(t, master.port, () => limits.shift() ?? null);
  const writing = new AbortController();
  const writer = (async () => {
    for (let index = 0; !writing.signal.aborted; index += 1)
      await master.client.set(`w${index % 500}`, `${index}`);
  })();
  const replica = await cluster.start('replica', '--replica-of', proxy.wsUrl);
  const { upstream } = await linkState(replica, 'streaming');
  const { passedBytes } = proxy;
  writing.abort();
  await writer;
  await converged(master, replica);
  const { count, bytes } = await resumes(master);
  const length = upstream?.lastSync?.bytes ?? 0;
  t.diagnostic(`${count} resumes; ${passedBytes} bytes for a snapshot of ${length}; ${bytes} not sent again`);
  assert.equal(proxy.breaks, CUTS);
  assert.ok(length > LARGE_MIB * MIB, `PSYNCD_SEED=${seed}`);
  assert.ok(passedBytes < 1.1 * length, `PSYNCD_SEED=${seed}: ${passedBytes} bytes for ${length}`);
  assert.ok((upstream?.lastSync?.resumedBytes ?? 0) > 0);
  // Each connection was answered with a full resync, and the stream continued behind the last one.
  assert.equal((await counters(master)).syncFull, CUTS + 1);
  assert.equal((await keyspaceFiles(cluster, 'replica')).length, 1);
});

/** A master with 8 MiB, and a replica whose connection has broken after 5 MiB and does not come back before `restore`. */
async function cutOff(t: TestContext): Promise<{
  readonly cluster: Cluster;
  readonly master: ChildNode;
  readonly replica: ChildNode;
  restore(): void;
}> {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  await fill(master, 8);
  // Before the first connection the replica asks over HTTP who the master follows.
  const limits = [null, 5.5 * MIB];
  let later: number | null = 0;
  const proxy = await byteProxy(t, master.port, () => limits.shift() ?? later);
  const replica = await cluster.start('replica', '--replica-of', proxy.wsUrl);
  await until('the replica keeps a part of its snapshot', async () => {
    const { upstream } = await replica.client.replication();
    return /; 5242880 of \d+ bytes of the snapshot are kept$/.test(upstream?.detail ?? '');
  });
  return {
    cluster,
    master,
    replica,
    restore: () => {
      later = null;
    },
  };
}

test('a replica says what it keeps of a snapshot, and that the rest was enough', async (t) => {
  const { cluster, master, replica, restore } = await cutOff(t);
  assert.equal((await keyspaceFiles(cluster, 'replica')).length, 2);
  const { keptSnapshot } = (await replica.client.replication()).upstream ?? assert.fail();
  assert.ok(keptSnapshot !== undefined);
  const { announced, bytes, length, position } = keptSnapshot;
  assert.equal(bytes, 5 * MIB);
  const check = async (snapshot: string): Promise<{ reason: string; bytes: number; resumedBytes: number }> =>
    (await (await fetch(`${master.url}/v1/replication/check?snapshot=${snapshot}`)).json()) as never;
  const { reason, bytes: wanted, resumedBytes } = await check(String(announced));
  assert.deepEqual([reason, wanted, resumedBytes], ['first-sync', length - bytes, bytes]);
  const other = await check(`${position}:${length}:${bytes}:00000000`);
  assert.equal(other.resumedBytes, 0);
  assert.ok(other.bytes >= length);
  assert.deepEqual(await resumes(master), { count: 0, bytes: 0 });
  restore();
  await converged(master, replica);
  assert.deepEqual(await resumes(master), { count: 1, bytes: 5 * MIB });
  assert.equal((await replica.client.replication()).upstream?.keptSnapshot, undefined);
  assert.equal((await replica.client.replication()).upstream?.lastSync?.resumedBytes, 5 * MIB);
  const [session] = (await master.client.replication()).replicas;
  assert.equal(session?.sync?.resumedBytes, 5 * MIB);
  assert.equal((await keyspaceFiles(cluster, 'replica')).length, 1);
});

test('a master that was restarted meanwhile sends another snapshot as a whole', async (t) => {
  const { cluster, master, replica, restore } = await cutOff(t);
  await master.stop();
  const again = await cluster.restart('master', master);
  await again.client.set('later', 'entry');
  restore();
  await converged(again, replica);
  assert.deepEqual(await resumes(again), { count: 0, bytes: 0 });
  assert.equal((await replica.client.replication()).upstream?.lastSync?.resumedBytes, undefined);
  assert.equal((await keyspaceFiles(cluster, 'replica')).length, 1);
});

test('a replica that becomes a master, or follows another one, keeps nothing of the snapshot', async (t) => {
  const { cluster, master, replica } = await cutOff(t);
  await replica.client.promote();
  assert.equal((await keyspaceFiles(cluster, 'replica')).length, 1);
  await replica.client.replicaOf(master.wsUrl);
  await converged(master, replica);
  assert.deepEqual(await resumes(master), { count: 0, bytes: 0 });
});

test('a replica that stops leaves nothing of the snapshot in its folder', async (t) => {
  const { cluster, replica } = await cutOff(t);
  await replica.stop();
  assert.equal((await keyspaceFiles(cluster, 'replica')).length, 1);
});

test('whatever a replica claims to have, it gets what it lacks of the snapshot or all of it', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  await fill(master, 32);
  const connect = async (...capabilities: readonly string[]): Promise<RawReplica> => {
    const replica = await RawReplica.connect(t, master);
    replica.say('PING');
    replica.say('REPLCONF', ...capabilities.flatMap((each) => ['capa', each]));
    assert.deepEqual([await replica.line(), await replica.line()], ['+PONG', '+OK']);
    return replica;
  };
  const ask = async (replica: RawReplica): Promise<{ runId: string; offset: string; header: string }> => {
    replica.say('PSYNC', '?', '-1');
    const [, runId = '', offset = ''] = (await replica.line()).split(' ');
    return { runId, offset, header: await replica.line() };
  };
  // It takes a part of the snapshot, and then no more: the snapshot stays.
  const held = await connect('snapshot-crc32', 'snapshot-resume');
  const { runId, offset, header } = await ask(held);
  const length = Number(/^\$(\d+) crc32 0$/.exec(header)?.[1]);
  await held.pauseAfter(3 * MIB);
  const file = held.received;
  const sum = (bytes: number): string => crc32(file.subarray(0, bytes)).toString(16).padStart(8, '0');
  const place = `${runId}:${offset}`;
  const other = `${RUN_ID}:${offset}`;
  const good = `${place}:${length}:${2 * MIB}:${sum(2 * MIB)}`;
  for (const claim of [
    `${place}:${length}:${2 * MIB}:00000000`,
    `${place}:${length}:${length}:00000000`,
    `${place}:${length}:${2 * MIB - 1}:${sum(2 * MIB - 1)}`,
    `${place}:${length + 1}:${2 * MIB}:${sum(2 * MIB)}`,
    `${runId}:${Number(offset) + 1}:${length}:${2 * MIB}:${sum(2 * MIB)}`,
    `${other}:${length}:${2 * MIB}:${sum(2 * MIB)}`,
  ]) {
    const replica = await connect('snapshot-crc32', 'snapshot-resume');
    replica.say('REPLCONF', 'snapshot', claim);
    assert.equal(await replica.line(), '+OK');
    assert.equal((await ask(replica)).header, `$${length} crc32 0`, claim);
    replica.socket.terminate();
  }
  for (const claim of [
    '',
    `${place}:${length}:-1:${sum(1)}`,
    `${place}:${length}:${length + 1}:${sum(1)}`,
    'x'.repeat(8_000),
  ]) {
    const replica = await connect('snapshot-crc32', 'snapshot-resume');
    replica.say('REPLCONF', 'snapshot', claim);
    assert.match(await replica.line(), /^-ERR snapshot is not /);
    replica.socket.terminate();
  }
  const flood = await connect('snapshot-crc32', 'snapshot-resume');
  for (let index = 0; index < 64; index += 1) flood.say('REPLCONF', 'snapshot', good);
  assert.equal((await flood.whenClosed()).code, 4400);
  const old = await connect('snapshot-crc32');
  old.say('REPLCONF', 'snapshot', good);
  assert.equal(await old.line(), '+OK');
  assert.equal((await ask(old)).header, `$${length} crc32`);
  old.socket.terminate();
  const honest = await connect('snapshot-crc32', 'snapshot-resume');
  honest.say('REPLCONF', 'snapshot', good);
  assert.equal(await honest.line(), '+OK');
  assert.equal((await ask(honest)).header, `$${length} crc32 ${2 * MIB}`);
  const rest = await honest.take(length - 2 * MIB);
  const all = crc32(rest, crc32(file.subarray(0, 2 * MIB)));
  assert.equal(await honest.line(), `$crc32 ${all.toString(16).padStart(8, '0')}`);
});

test('a snapshot that its replica has found damaged is not given to the next one', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  await fill(master, 4);
  const offsetOf = async (close: (replica: RawReplica) => void): Promise<number> => {
    const replica = await RawReplica.connect(t, master);
    replica.say('REPLCONF', 'capa', 'snapshot-crc32', 'capa', 'snapshot-resume');
    replica.say('PSYNC', '?', '-1');
    assert.equal(await replica.line(), '+OK');
    const offset = Number((await replica.line()).split(' ')[2]);
    await replica.take(Number(/^\$(\d+) /.exec(await replica.line())?.[1]));
    assert.match(await replica.line(), /^\$crc32 /);
    await master.client.set('later', 'entry');
    close(replica);
    await until(
      'the session has ended',
      async () => (await master.client.replication()).replicas.length === 0,
    );
    return offset;
  };
  const cut = (replica: RawReplica): void => replica.socket.terminate();
  const first = await offsetOf(cut);
  assert.equal(await offsetOf((replica) => replica.socket.close(4422, 'page 2')), first);
  assert.ok((await offsetOf(cut)) > first);
});

test('a replica that never comes back for its snapshot does not let the WAL grow beyond its limit', async (t) => {
  const cluster = await Cluster.create(t);
  const limit = ['--replica-output-limit', '8mb', '--replica-output-soft-limit', '8mb'];
  const master = await cluster.start('master', ...limit);
  await fill(master, 32);
  const replica = await RawReplica.connect(t, master);
  replica.say('REPLCONF', 'capa', 'snapshot-crc32', 'capa', 'snapshot-resume');
  replica.say('PSYNC', '?', '-1');
  await replica.pauseAfter(3 * MIB);
  replica.socket.terminate();
  await until('the session has ended', async () => (await master.client.replication()).replicas.length === 0);
  const wal = join(cluster.data('master'), 'keyspace-1.db-wal');
  const before = (await stat(wal)).size;
  // The replica may have been sent all 32 MiB, and each byte gives room for two.
  const most = before + (8 + 2 * 33) * MIB;
  let written = 0;
  await until('much more was written than the limit allows', async () => {
    await master.client.set(`large${written % 32}`, randomBytes(4 * MIB));
    written += 4;
    const { size } = await stat(wal);
    assert.ok(size < most + 64 * MIB, `${size} bytes after ${written} MiB`);
    return written > 400;
  });
});

test('wrong bytes behind a part are found, and the replica begins anew with nothing of them', async (t) => {
  const cluster = await Cluster.create(t);
  const replica = await cluster.start('replica');
  await replica.client.set('old', 'data');
  const good = randomBytes(3 * MIB);
  const answers: ((send: (bytes: string | Buffer) => void, end: () => void) => void)[] = [
    (send, end) => {
      send(`$${good.length} crc32 0\r\n`);
      send(good.subarray(0, 2 * MIB + 5));
      end();
    },
    (send) => {
      send(`$${good.length} crc32 ${2 * MIB}\r\n`);
      send(Buffer.alloc(MIB, '?'));
      send(`$crc32 ${crc32(good).toString(16).padStart(8, '0')}\r\n`);
    },
  ];
  const master = await scriptedMaster(t, (socket) => {
    socket.send(Buffer.from(`+FULLRESYNC ${RUN_ID} 7 forced -\r\n`));
    const send = (bytes: string | Buffer): void => {
      const all = Buffer.from(bytes);
      for (let at = 0; at < all.length; at += MIB / 4) socket.send(all.subarray(at, at + MIB / 4));
    };
    answers.shift()?.(send, () => socket.close());
  });
  await replica.client.replicaOf(master.wsUrl);
  await until('the replica asks a third time', () => master.requests.length >= 3);
  const sum = crc32(good.subarray(0, 2 * MIB))
    .toString(16)
    .padStart(8, '0');
  assert.deepEqual(master.parts, [`${RUN_ID}:7:${good.length}:${2 * MIB}:${sum}`]);
  assert.match(replica.log, /it is not what the master has sent: its CRC-32 is/);
  assert.equal(await textOf(replica, 'old'), 'data');
});

test('a replica keeps nothing of a master that cannot send the rest of a snapshot', async (t) => {
  const cluster = await Cluster.create(t);
  const replica = await cluster.start('replica');
  const master = await scriptedMaster(t, (socket) => {
    socket.send(Buffer.from(`+FULLRESYNC ${RUN_ID} 7 forced -\r\n$${3 * MIB} crc32\r\n`));
    for (let at = 0; at < 2 * MIB; at += MIB / 4) socket.send(Buffer.alloc(MIB / 4));
    socket.close();
  });
  await replica.client.replicaOf(master.wsUrl);
  await until('the replica asks a second time', () => master.requests.length >= 2);
  assert.deepEqual(master.parts, []);
});
