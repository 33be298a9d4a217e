/** `?durable=true` (Redis's WAITAOF): a write is answered once it is on the disks of the master and of as many replicas as it asks for. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { Cluster, converged } from '../support/cluster.ts';
import { type Answer, Connection, json } from '../support/contract.ts';
import { FaultyDisk } from '../support/faulty-disk.ts';
import { RawReplica } from '../support/raw-replica.ts';
import { infoOf } from '../support/reports.ts';

/** Milliseconds that a write may wait that will get what it waits for. */
const FOR_EVER = 60_000;

/** @returns status, replicas and whether the node has it, of a write of `k` */
async function written(http: Connection, query: string): Promise<unknown[]> {
  const answer: Answer = await http.send('PUT', `/v1/keys/k?${query}`, 'v');
  const { acks, durable } = json(answer);
  return [answer.status, acks, durable];
}

async function fsyncs(node: ChildNode): Promise<number> {
  return Number((await infoOf(node)).journal_fsyncs);
}

for (const policy of ['no', 'everysec', 'always']) {
  test(`with --fsync ${policy} a durable write is on both disks when it is answered`, async (t) => {
    const cluster = await Cluster.create(t);
    const master = await cluster.start('master', '--fsync', policy);
    const replica = await cluster.start('replica', '--fsync', policy, '--replica-of', master.wsUrl);
    await converged(master, replica);
    const http = new Connection(t, master);
    assert.deepEqual(await written(http, `durable=true&acks=1&timeout=${FOR_EVER}`), [201, 1, true]);
    const { offset, replicas } = await master.client.replication();
    assert.deepEqual([replicas[0]?.offset, replicas[0]?.durableOffset], [offset, offset]);
    assert.ok((await fsyncs(master)) > 0 && (await fsyncs(replica)) > 0);
    assert.deepEqual(await written(http, `durable=true&timeout=${FOR_EVER}`), [200, 0, true], 'alone');
    assert.deepEqual(await written(http, `durable=false&acks=1&timeout=${FOR_EVER}`), [200, 1, undefined]);
    assert.deepEqual(await written(http, 'durable=true&acks=2&timeout=100'), [202, 1, true]);
  });
}

test('every kind of write may ask for it, and malformed questions are refused before anything is written', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node', '--fsync', 'no');
  const http = new Connection(t, node);
  for (const [method, path, body] of [
    ['PUT', '/v1/keys/k?ttl=100&durable=true', '{"a":1}'],
    ['PATCH', '/v1/keys/k?durable=true', '{"a":2}'],
    ['POST', '/v1/keys/text/append?durable=true', 'v'],
    ['POST', '/v1/keys/n/increment?durable=true', undefined],
    ['PUT', '/v1/keys/n/expiry?durable=true', '{"ttl":100}'],
    ['DELETE', '/v1/keys/n/expiry?durable=true', undefined],
    ['POST', '/v1/batch?durable=true', '{"ops":[{"op":"delete","key":"n"}]}'],
    ['POST', '/v1/import?durable=true', '{"key":"i","value":"v"}\n'],
    ['DELETE', '/v1/keys/k?durable=true', undefined],
    ['DELETE', '/v1/keys?prefix=t&durable=true', undefined],
  ] as const) {
    const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json';
    const answer = await http.send(method, path, body, {
      'content-type': path.includes('import') ? 'application/x-ndjson' : type,
    });
    assert.ok(answer.status < 202, `${method} ${path}: ${answer.status} ${answer.body}`);
    assert.equal(json(answer).durable, true, `${method} ${path}`);
  }
  const { position } = await node.client.replication();
  for (const query of ['durable=yes', 'durable=', 'durable=true&durable=true', 'durable=true&timeout=-1']) {
    assert.equal((await http.send('PUT', `/v1/keys/k?${query}`, 'v')).status, 400, query);
  }
  assert.equal((await node.client.replication()).position, position);
});

test('bytes whose fsync failed never count as being on the disk, until the node has started anew', async (t) => {
  const cluster = await Cluster.create(t);
  const disks = await Promise.all(['master', 'replica'].map((name) => FaultyDisk.create(cluster, name)));
  const [masterDisk, replicaDisk] = disks as [FaultyDisk, FaultyDisk];
  const master = await masterDisk.start(cluster, 'master', '--fsync', 'no');
  const follow = ['--fsync', 'no', '--replica-of', master.wsUrl];
  const replica = await replicaDisk.start(cluster, 'replica', ...follow);
  await converged(master, replica);
  const http = new Connection(t, master);
  await replicaDisk.fail({ 'journal-fsync': 'EIO' });
  assert.deepEqual(await written(http, 'durable=true&acks=1&timeout=300'), [202, 0, true]);
  await replicaDisk.mend();
  assert.deepEqual(await written(http, 'durable=true&acks=1&timeout=300'), [202, 0, true]);
  assert.deepEqual(await written(http, `acks=1&timeout=${FOR_EVER}`), [200, 1, undefined]);
  assert.equal(await replica.stop(), 0);
  const again = await cluster.start('replica', ...follow);
  await converged(master, again);
  assert.deepEqual(await written(http, `durable=true&acks=1&timeout=${FOR_EVER}`), [200, 1, true]);
  await masterDisk.fail({ 'journal-fsync': 'EIO' });
  assert.deepEqual(await written(http, 'durable=true&timeout=300'), [202, 0, false]);
  await masterDisk.mend();
  assert.deepEqual(await written(http, 'durable=true&acks=1&timeout=300'), [202, 1, false]);
});

test('a replica of an earlier version counts for acks, and not for durable ones', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  await master.client.set('k', 'v');
  const { runId, offset } = await master.client.replication();
  const replica = await RawReplica.connect(t, master);
  const asked: string[] = [];
  replica.socket.on('ping', (data: Buffer) => asked.push(data.toString()));
  replica.say('PSYNC', runId, String(offset + 1));
  assert.match(await replica.line(), /^\+CONTINUE/);
  const answer = written(new Connection(t, master), 'durable=true&acks=1&timeout=500');
  const end = await until('it is written', async () => {
    const now = (await master.client.replication()).offset;
    return now > offset ? now : null;
  });
  replica.say('REPLCONF', 'ACK', String(end));
  assert.deepEqual(await answer, [202, 0, true]);
  assert.ok(asked.includes('GETFACK'), asked.join());
  const [shown] = (await master.client.replication()).replicas;
  assert.deepEqual([shown?.offset, shown?.durableOffset], [end, undefined]);
});
