/** Peers that break off, lie or send junk: the old data is kept and served, and the next attempt is made. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import test from 'node:test';
import { WebSocket } from 'ws';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { Cluster, converged, linkState, textOf, writeMany } from '../support/cluster.ts';
import { Connection, isProblem } from '../support/contract.ts';
import { scriptedMaster } from '../support/scripted-master.ts';

const RUN_ID = 'ab'.repeat(20);

async function keyspaceFiles(cluster: Cluster, name: string): Promise<readonly string[]> {
  return (await readdir(cluster.data(name))).filter((file) => /^keyspace-\d+\.db$/.test(file));
}

/** Waits until something has gone wrong with the link, and tells what. */
function refusalOf(replica: ChildNode): Promise<string> {
  return until('the replica refuses', async () => (await replica.client.replication()).upstream?.detail);
}

test('a replica discards a snapshot that breaks off, however often, and serves its old data', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await scriptedMaster(t, (socket) => {
    socket.send(Buffer.from(`+FULLRESYNC ${RUN_ID} 1000 unknown-run-id\r\n$100000\r\n`));
    socket.send(Buffer.alloc(50_000, 1), () => socket.terminate());
  });
  const replica = await cluster.start('replica');
  await replica.client.set('old', 'data');
  const before = await replica.client.replication();
  await replica.client.replicaOf(master.wsUrl);
  await until('three attempts were made', () => master.requests.length >= 3);
  assert.equal(await textOf(replica, 'old'), 'data');
  const after = await linkState(replica, 'waiting');
  assert.equal(after.position, before.position);
  // It asks for what it lacks each time: what came of the snapshot has left no trace.
  for (const request of master.requests)
    assert.deepEqual(request, ['PSYNC', before.runId, String(before.offset + 1)]);
  await replica.stop('SIGKILL');
  const again = await cluster.start('replica', '--replica-of', 'no-one');
  assert.equal(await textOf(again, 'old'), 'data');
  assert.deepEqual(await keyspaceFiles(cluster, 'replica'), ['keyspace-1.db']);
});

test('a snapshot that is no keyspace file is refused, and the old data is served', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await scriptedMaster(t, (socket) => {
    socket.send(Buffer.from(`+FULLRESYNC ${RUN_ID} 1000 forced\r\n$20000\r\n`));
    socket.send(Buffer.alloc(20_000, 1));
  });
  const replica = await cluster.start('replica');
  await replica.client.set('old', 'data');
  await replica.client.replicaOf(master.wsUrl);
  assert.match(await refusalOf(replica), /snapshot: .*not a database/);
  assert.equal(await textOf(replica, 'old'), 'data');
  // Between two attempts nothing of the last one is left.
  await until('only the old file is there', async () => {
    return (await keyspaceFiles(cluster, 'replica')).join() === 'keyspace-1.db';
  });
});

test('a snapshot with damaged pages is refused, and the old data is served', async (t) => {
  const cluster = await Cluster.create(t);
  const source = await cluster.start('source');
  const lines = Array.from(
    { length: 5_000 },
    (_, index) => `{"key":"k${index}","value":"${'x'.repeat(100)}"}\n`,
  );
  await fetch(`${source.url}/v1/import`, { method: 'POST', body: lines.join('') });
  const { runId, offset } = await source.client.replication();
  await source.stop();
  const file = await readFile(join(cluster.data('source'), 'keyspace-1.db'));
  for (let page = 20; (page + 1) * 4096 <= file.length; page += 3)
    file.fill(0xaa, page * 4096, (page + 1) * 4096);
  const master = await scriptedMaster(t, (socket) => {
    socket.send(Buffer.from(`+FULLRESYNC ${runId} ${offset} forced\r\n$${file.length}\r\n`));
    socket.send(file);
  });
  const replica = await cluster.start('replica');
  await replica.client.set('old', 'data');
  await replica.client.replicaOf(master.wsUrl);
  assert.match(await refusalOf(replica), /snapshot: it is damaged/);
  assert.equal(await textOf(replica, 'old'), 'data');
});

test("a replica whose link is cut and master changed while snapshots arrive ends up with the last master's data in one file", async (t) => {
  const cluster = await Cluster.create(t);
  const masters = [await cluster.start('one'), await cluster.start('two')] as const;
  for (const [index, master] of masters.entries()) {
    const lines = Array.from(
      { length: 3_000 },
      (_, key) => `{"key":"${index}/${key}","value":"${'x'.repeat(100)}"}\n`,
    );
    await fetch(`${master.url}/v1/import`, { method: 'POST', body: lines.join('') });
  }
  const links = [await cluster.proxy(masters[0]), await cluster.proxy(masters[1])] as const;
  const replica = await cluster.start('replica');
  for (let round = 0; round < 12; round += 1) {
    const link = links[round % 2 === 0 ? 0 : 1];
    await replica.client.replicaOf(link.wsUrl);
    // A little further each time: handshake, snapshot, check, switch.
    await until('the attempt is under way', async () => {
      const { upstream } = await replica.client.replication();
      return upstream?.state !== 'connecting';
    });
    if (round % 3 !== 0) continue;
    link.cut();
    link.restore();
  }
  await replica.client.replicaOf(masters[1].wsUrl);
  await converged(masters[1], replica);
  await until(
    'one keyspace file is left',
    async () => (await keyspaceFiles(cluster, 'replica')).length === 1,
  );
  await replica.stop('SIGKILL');
  const again = await cluster.start('replica');
  await converged(masters[1], again);
});

test('an export that nobody reads keeps neither writers nor a full resync waiting', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master', '--overlay-size', '1mb');
  const lines = Array.from(
    { length: 20_000 },
    (_, index) => `{"key":"k${index}","value":"${'x'.repeat(1000)}"}\n`,
  );
  await fetch(`${master.url}/v1/import`, { method: 'POST', body: lines.join('') });
  const stalled = connect(master.port, '127.0.0.1');
  stalled.on('error', () => undefined);
  t.after(() => stalled.destroy());
  stalled.write('GET /v1/export HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await once(stalled, 'readable');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await linkState(replica, 'streaming');
  await writeMany(master, 'during/', 200);
  stalled.destroy();
  await converged(master, replica);
});

test('a replica that is told -LOADING asks again later with the same position', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await scriptedMaster(t, (socket) => socket.send(Buffer.from('-LOADING not ready\r\n')));
  const replica = await cluster.start('replica');
  await replica.client.set('old', 'data');
  const { runId, offset } = await replica.client.replication();
  await replica.client.replicaOf(master.wsUrl);
  await until('it asked twice', () => master.requests.length >= 2);
  for (const request of master.requests) assert.deepEqual(request, ['PSYNC', runId, String(offset + 1)]);
  assert.equal((await linkState(replica, 'waiting')).upstream?.detail, 'LOADING not ready');
});

test('a replica drops the link of a master that sends an invalid command, and applies nothing of it', async (t) => {
  const cluster = await Cluster.create(t);
  const closes: number[] = [];
  const master = await scriptedMaster(t, (socket, [, runId]) => {
    socket.on('close', (code) => closes.push(code));
    socket.send(Buffer.from(`+CONTINUE ${runId}\r\n`));
    socket.send(
      Buffer.from('*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$3\r\nold\r\n$3\r\nnew\r\n*1\r\n$4\r\nJUNK\r\n'),
    );
  });
  const replica = await cluster.start('replica');
  await replica.client.set('old', 'data');
  const before = await replica.client.replication();
  await replica.client.replicaOf(master.wsUrl);
  await until('the replica closes the link', () => closes.length > 0);
  assert.equal(closes[0], 4400);
  assert.equal(await textOf(replica, 'old'), 'data');
  assert.equal((await replica.client.replication()).position, before.position);
});

test('a replica that reaches itself by another name is refused, and keeps its data', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await node.client.set('k', 'v');
  const roundabout = await cluster.proxy(node);
  await assert.rejects(node.client.replicaOf(roundabout.wsUrl), /is this node itself/);
  assert.equal((await node.client.replication()).role, 'master');
  // Nobody answers there when it is told to follow; later it is this node that does.
  roundabout.cut();
  await node.client.replicaOf(roundabout.wsUrl);
  roundabout.restore();
  const { upstream } = await linkState(node, 'refused');
  assert.match(upstream?.detail ?? '', /cannot be its own master/);
  assert.equal(await textOf(node, 'k'), 'v');
});

/** Opens a replication socket, sends the messages and returns how it was closed. */
async function closeOf(
  node: ChildNode,
  messages: readonly (Buffer | string)[],
): Promise<{ code: number; reason: string }> {
  const socket = new WebSocket(`${node.wsUrl}/v1/replication/stream`, 'psync.v1');
  socket.on('error', () => undefined);
  await once(socket, 'open');
  for (const message of messages) socket.send(message);
  const [code, reason] = (await once(socket, 'close')) as [number, Buffer];
  return { code, reason: reason.toString('utf8') };
}

test('junk on the replication socket is answered with close code 4400', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const junk: readonly (readonly (Buffer | string)[])[] = [
    ['PING\r\n'],
    [Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    [Buffer.from('*1\r\n$-1\r\n')],
    [Buffer.from('*99999999\r\n')],
    [Buffer.from('*1\r\n$99999999\r\n')],
    [Buffer.from('*1\r\n$7\r\nCOMMAND\r\n')],
    [Buffer.from('*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$1\r\n1\r\n')],
    [Buffer.from('*3\r\n$5\r\nPSYNC\r\n$1\r\n?\r\n$2\r\n-1\r\n'), Buffer.from('*1\r\n$4\r\nPING\r\n')],
    [
      Buffer.from('*3\r\n$5\r\nPSYNC\r\n$1\r\n?\r\n$2\r\n-1\r\n'),
      Buffer.from('*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$6\r\n999999\r\n'),
    ],
  ];
  for (const messages of junk) {
    assert.equal((await closeOf(node, messages)).code, 4400, String(messages[0]));
  }
  // RFC 6455's own code for a message beyond the limit.
  assert.equal((await closeOf(node, [Buffer.alloc(2 * 1024 * 1024)])).code, 1009);
  await node.client.set('k', 'v');
  assert.equal(await textOf(node, 'k'), 'v');
  await until('nobody is left', async () => (await node.client.replication()).replicas.length === 0);
});

test('more replicas than allowed are turned away with 4429', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master', '--max-replicas', '1');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await linkState(replica, 'streaming');
  // It asks for a sync: until then it would be no replica.
  const asks = [Buffer.from('*3\r\n$5\r\nPSYNC\r\n$1\r\n?\r\n$2\r\n-1\r\n')];
  assert.equal((await closeOf(master, asks)).code, 4429);
  await converged(master, replica);
});

test('a refused WebSocket upgrade is answered with a problem, like every request', async (t) => {
  const node = await (await Cluster.create(t)).start('node');
  const http = new Connection(t, node);
  const handshake = {
    connection: 'Upgrade',
    upgrade: 'websocket',
    'sec-websocket-version': '13',
    'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==',
  };
  const page = { origin: 'http://evil.example' };
  const cases = [
    ['/v1/replication/stream', {}, 400, 'BAD_REQUEST', /psync\.v1 is required/],
    ['/v1/replication/stream', { 'sec-websocket-protocol': 'other' }, 400, 'BAD_REQUEST', /psync\.v1 is/],
    ['/v1/replication/stream', page, 403, 'FORBIDDEN', /web pages/],
    ['/v1/changes', {}, 400, 'BAD_REQUEST', /psync\.v1\.json is required/],
    ['/v1/changes', page, 403, 'FORBIDDEN', /--allow-origin/],
    ['/v1/nothing', {}, 404, 'UNKNOWN_PATH', /no WebSocket at \/v1\/nothing/],
    [
      '/v1/changes',
      { 'sec-websocket-protocol': 'psync.v1.json', 'sec-websocket-key': 'short' },
      400,
      'BAD_REQUEST',
      /Sec-WebSocket-Key/,
    ],
  ] as const;
  for (const [path, headers, status, code, detail] of cases) {
    const answer = await http.send('GET', path, undefined, { ...handshake, ...headers });
    isProblem(answer, status, code, detail);
    assert.equal(answer.headers['psync-role'], 'master');
  }
});
