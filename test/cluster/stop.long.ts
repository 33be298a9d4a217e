/** SIGTERM: no more writes, the replicas have everything, the turn finished, everything in the files, exit code 0, in time. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdir, writeFile } from 'node:fs/promises';
import test, { type TestContext } from 'node:test';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { loadPlaces } from '../../src/cli/demo/places.ts';
import { waitingLine } from '../../src/cli/tasks/serve.ts';
import { until } from '../../src/cli/until.ts';
import { byteProxy } from '../support/byte-proxy.ts';
import { Cluster, converged, linkState, textOf } from '../support/cluster.ts';
import { endlessImport } from '../support/endless-import.ts';
import { RawReplica } from '../support/raw-replica.ts';

/** More than this process would wait: whoever waits in vain is noticed. */
const FOR_EVER = ['--shutdown-timeout', '1h'];

interface LogLine {
  readonly msg: string;
  readonly [field: string]: unknown;
}

/** The lines of the node's log that tell of this event. */
function logged(node: ChildNode, event: string): readonly LogLine[] {
  return node.log
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as LogLine)
    .filter(({ msg }) => msg === event);
}

/** A replica that takes part in the stream from where the master is now, and says nothing more. */
async function silentReplica(t: TestContext, master: ChildNode, url: string): Promise<RawReplica> {
  const { runId, offset } = await master.client.replication();
  const replica = await RawReplica.connect(t, master);
  replica.say('REPLCONF', 'listening-url', url);
  assert.equal(await replica.line(), '+OK');
  replica.say('PSYNC', runId, String(offset + 1));
  assert.match(await replica.line(), /^\+CONTINUE/);
  return replica;
}

test('SIGTERM in the middle of writes, an import and a replica: exit code 0, and nothing answered is lost', async (t) => {
  const cluster = await Cluster.create(t);
  let master = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  const { client, url } = master;
  let answered = 0;
  const writing = (async () => {
    for (let number = 1; ; number += 1) {
      await client.set('counter', String(number));
      answered = number;
    }
  })().catch(() => undefined);
  const importing = endlessImport(url, loadPlaces().ndjson)
    .then(async (response) => response && { status: response.status, body: await response.json() })
    .catch(() => null);
  await until(
    'writes are under way',
    async () => answered > 20 && (await client.replication()).offset > 1_000_000,
  );

  const code = await master.stop('SIGTERM');
  assert.equal(code, 0);
  assert.match(master.log, /"msg":"stopped"/);
  await writing;
  const outcome = await importing;
  // Either the answer came (503, with how much is in), or the connection was given up after two seconds.
  if (outcome !== null) {
    const { status, body } = outcome as { status: number; body: { code: string; imported: number } };
    assert.deepEqual({ status, code: body.code }, { status: 503, code: 'SHUTTING_DOWN' });
    assert.ok(body.imported > 0);
  }
  // A clean stop leaves two files: the write-ahead logs are moved into them.
  assert.deepEqual((await readdir(cluster.data('master'))).sort(), ['keyspace-1.db', 'psyncd.db']);

  master = await cluster.restart('master', master);
  const found = Number(await textOf(master, 'counter'));
  assert.ok(found >= answered, `counter is ${found}, answered was ${answered}`);
  await converged(master, replica);
  assert.equal(await replica.stop('SIGINT'), 0);
  assert.equal(await master.stop('SIGINT'), 0);
});

test('a node ends when the process that started it has ended', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const exited = new Promise((resolve) => node.process.once('exit', resolve));
  node.process.disconnect();
  assert.equal(await exited, 0);
});

test('a master that stops waits until a replica over a slow link has everything, and answers reads meanwhile', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master', ...FOR_EVER);
  const link = await byteProxy(t, master.port);
  const replica = await cluster.start('replica', '--replica-of', link.wsUrl);
  await linkState(replica, 'streaming');
  link.stall();
  const value = 'x'.repeat(2 ** 20);
  // More than the sockets of both ends hold.
  for (let index = 0; index < 25; index += 1) await master.client.set(`large/${index}`, value);
  const before = await master.client.digest();
  const stopped = master.stop('SIGTERM');
  await until('the master waits', () => logged(master, 'waiting-for-replicas').length > 0);

  assert.equal((await fetch(`${master.url}/v1/keys/large/7`)).status, 200);
  const write = await fetch(`${master.url}/v1/keys/late`, { method: 'PUT', body: 'value' });
  assert.equal(write.status, 503);
  assert.equal(((await write.json()) as { code: string }).code, 'SHUTTING_DOWN');
  assert.equal((await fetch(`${master.url}/readyz`)).status, 503);
  await assert.rejects(master.client.replicaOf(replica.wsUrl), { code: 'SHUTTING_DOWN' });
  const [waiting] = (await master.client.replication()).replicas;
  assert.ok((waiting?.lagBytes ?? 0) > 10 * 2 ** 20, `it lacks ${waiting?.lagBytes}`);

  link.flow();
  assert.equal(await stopped, 0);
  assert.deepEqual(await replica.client.digest(), before);
  assert.deepEqual(logged(master, 'replica-left-behind'), []);
  const [summary] = logged(master, 'replicas-at-stop');
  assert.deepEqual(
    { replicas: summary?.replicas, upToDate: summary?.upToDate },
    { replicas: 1, upToDate: 1 },
  );
});

test('a master does not wait for the second in which replicas acknowledge: it asks them', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master', ...FOR_EVER);
  const replica = await silentReplica(t, master, 'ws://127.0.0.1:1');
  await master.client.set('key', 'value');
  const { offset } = await master.client.replication();
  replica.socket.on('ping', (data: Buffer) => {
    if (data.toString() === 'GETACK') replica.say('REPLCONF', 'ACK', String(offset));
  });
  assert.equal(await master.stop('SIGTERM'), 0);
  assert.equal(logged(master, 'replicas-at-stop')[0]?.upToDate, 1);
});

test('when time is up a master stops all the same, and says which replica lacks how much', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master', '--shutdown-timeout', '300ms');
  const replica = await silentReplica(t, master, 'ws://127.0.0.1:1');
  const { position } = await master.client.replication();
  await master.client.set('key', 'value');
  const { offset } = await master.client.replication();
  assert.equal(await master.stop('SIGTERM'), 0);
  assert.deepEqual(
    logged(master, 'replica-left-behind').map(({ replica, state, acknowledged, lacksBytes, level }) => {
      return { replica, state, acknowledged, lacksBytes, level };
    }),
    [
      {
        replica: 'ws://127.0.0.1:1',
        state: 'online',
        acknowledged: position,
        lacksBytes: offset,
        level: 40,
      },
    ],
  );
  const [summary] = logged(master, 'replicas-at-stop');
  assert.deepEqual(
    { replicas: summary?.replicas, upToDate: summary?.upToDate },
    { replicas: 1, upToDate: 0 },
  );
  assert.deepEqual(await replica.whenClosed(), { code: 1001, reason: 'shutting down' });
});

test('a second signal ends the wait at once, and the node still stops cleanly', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master', ...FOR_EVER);
  await silentReplica(t, master, 'ws://127.0.0.1:1');
  await master.client.set('key', 'value');
  const stopped = master.stop('SIGTERM');
  // The same Ctrl-C may arrive twice.
  master.process.kill('SIGINT');
  await until('the master waits', () => logged(master, 'waiting-for-replicas').length > 0);
  let sentAt = Number.NEGATIVE_INFINITY;
  await until('a later signal is taken', () => {
    if (logged(master, 'stopping-at-once').length > 0) return true;
    // One that comes within half a second of another is the same, and two more would end the process at once.
    if (performance.now() - sentAt > 1_000) {
      sentAt = performance.now();
      master.process.kill('SIGINT');
    }
    return false;
  });
  assert.equal(await stopped, 0);
  assert.equal(logged(master, 'replica-left-behind').length, 1);
  assert.equal(logged(master, 'stopped').length, 1);
  assert.deepEqual((await readdir(cluster.data('master'))).sort(), ['keyspace-1.db', 'psyncd.db']);
});

test('nodes that are stopped together do not wait for each other, nor a replica for its replicas', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master', ...FOR_EVER);
  const middle = await cluster.start('middle', '--replica-of', master.wsUrl, ...FOR_EVER);
  await linkState(middle, 'streaming');
  await master.client.set('key', 'value');
  await converged(master, middle);
  await silentReplica(t, middle, 'ws://127.0.0.1:1');
  await master.client.set('key', 'other');
  assert.deepEqual(await Promise.all([master.stop('SIGINT'), middle.stop('SIGINT')]), [0, 0]);
  assert.deepEqual(logged(middle, 'waiting-for-replicas'), []);
});

test('on a terminal the stop says what it waits for', () => {
  assert.equal(
    waitingLine({ replicas: 1, bytes: 18 * 2 ** 20 }),
    'waiting for 1 replica, 18.0 MiB to go; press Ctrl-C again to stop at once',
  );
});

test('a node that has closed all ends with code 0, though a call of the file system never returns', {
  skip: process.platform === 'win32',
}, async (t) => {
  const cluster = await Cluster.create(t);
  const pipe = cluster.data('pipe');
  execFileSync('mkfifo', [pipe]);
  // The opening of a pipe into which nobody writes stands for a call on a disk that has gone away.
  const hanging = cluster.data('hanging.mjs');
  const lines = [
    `import { open } from 'node:fs';`,
    `import { isMainThread } from 'node:worker_threads';`,
    `if (isMainThread) open(${JSON.stringify(pipe)}, 'r', () => {});`,
  ];
  await writeFile(hanging, lines.join('\n'));
  const node = await cluster.startWith({ NODE_OPTIONS: `--import=${hanging}` }, 'node');
  await node.client.set('k', 'v');
  assert.equal(await node.stop(), 0);
  for (const event of ['stopped', 'ended-during-a-call'])
    assert.equal(logged(node, event).length, 1, node.log);
  const again = await cluster.restart('node', node);
  assert.equal(await textOf(again, 'k'), 'v');
});
