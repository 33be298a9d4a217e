/** Peers that stall, pose as somebody, or take what is not theirs: nobody else pays for it. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import test from 'node:test';
import { WebSocket } from 'ws';
import { until } from '../../src/cli/until.ts';
import { Cluster, converged, linkState, textOf } from '../support/cluster.ts';
import { Connection, isProblem } from '../support/contract.ts';
import { RawReplica } from '../support/raw-replica.ts';
import { scriptedMaster } from '../support/scripted-master.ts';

const QUICK = ['--repl-timeout', '500ms', '--repl-ping-interval', '100ms'];

test('the master gives up the snapshot of a replica that reads nothing, and the next replica gets one', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master', ...QUICK, '--backlog-size', '16kb');
  for (let index = 0; index < 30; index += 1) await master.client.set(`k${index}`, 'x'.repeat(1_000_000));
  const stalled = await RawReplica.connect(t, master);
  stalled.say('PSYNC', '?', '-1');
  // It reads nothing any more, and says all the time that it is alive.
  await stalled.pauseAfter(1);
  const alive = setInterval(() => stalled.socket.ping(), 100);
  t.after(() => clearInterval(alive));
  await master.client.set('more', 'x'.repeat(100_000));
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await converged(master, replica);
  await until('the other one is given up', async () => {
    const { replicas } = await master.client.replication();
    return replicas.length === 1 && replicas[0]?.state === 'online';
  });
});

test('a connection that sends no PSYNC, or too much before it, does not take the place of a replica', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const chatty = await RawReplica.connect(t, node);
  for (let count = 0; count < 100; count += 1) chatty.say('PING');
  assert.deepEqual((await chatty.whenClosed()).code, 4400);
});

test('a web page of another origin can neither connect as a replica nor write', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const page = new WebSocket(`${node.wsUrl}/v1/replication/stream`, 'psync.v1', {
    origin: 'http://evil.example',
  });
  page.on('error', () => undefined);
  const [, answer] = await once(page, 'unexpected-response');
  assert.equal(answer.statusCode, 403);
  answer.resume();
  page.terminate();
  const http = new Connection(t, node);
  const foreign = { origin: 'http://evil.example', 'content-type': 'text/plain' };
  isProblem(await http.send('POST', '/v1/import', '{"key":"k","value":"v"}\n', foreign), 403, 'FORBIDDEN');
  isProblem(await http.send('DELETE', '/v1/keys?all=true', undefined, foreign), 403, 'FORBIDDEN');
  const own = { origin: node.url };
  assert.equal((await http.send('PUT', '/v1/keys/k', 'v', own)).status, 201);
  assert.equal((await http.send('GET', '/v1/keys/k', undefined, foreign)).status, 200);
});

test('a node that is not the master cannot hand over to a replica', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await master.client.set('k', 'v');
  await converged(master, replica);
  const { runId, offset } = await replica.client.replication();
  const stranger = await RawReplica.connect(t, replica);
  stranger.say('REPLCONF', 'node-id', 'somebody');
  assert.equal(await stranger.line(), '+OK');
  stranger.say('PSYNC', runId, String(offset + 1), 'FAILOVER');
  assert.match(await stranger.line(), /^-ERR FAILOVER comes from a node that is not the master/);
  assert.equal((await replica.client.replication()).role, 'replica');
  await linkState(replica, 'streaming');
});

test('a master that sends nonsense ends its link, not the replica', async (t) => {
  const cluster = await Cluster.create(t);
  const replica = await cluster.start('replica');
  await replica.client.set('k', 'v');
  const ping = '*1\r\n$4\r\nPING\r\n';
  const many = await scriptedMaster(t, (socket, [, runId]) => {
    socket.send(Buffer.from(`+CONTINUE ${runId}\r\n*1\r\n$5\r\nMULTI\r\n`));
    for (let part = 0; part < 10; part += 1) socket.send(Buffer.from(ping.repeat(20_000)));
    socket.send(Buffer.from('*1\r\n$4\r\nEXEC\r\n'));
  });
  const { offset } = await replica.client.replication();
  await replica.client.replicaOf(many.wsUrl);
  await until(
    'the transaction was taken',
    async () => (await replica.client.replication()).offset > offset + 2_000_000,
  );
  const absurd = await scriptedMaster(t, (socket) => {
    socket.send(Buffer.from(`+FULLRESYNC ${'ab'.repeat(20)} 9007199254740991 forced\r\n$0\r\n${ping}`));
  });
  await replica.client.replicaOf(absurd.wsUrl);
  await until('it was refused', async () =>
    /malformed/.test((await replica.client.replication()).upstream?.detail ?? ''),
  );
  assert.equal(await textOf(replica, 'k'), 'v');
});

test('waiting reads end when their clients disconnect', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node', '--max-waiting', '50');
  await node.client.set('k', 'v');
  const { runId, offset } = await node.client.replication();
  const path = `/v1/keys/k?position=${runId}:${offset + 1_000_000}&timeout=600000`;
  const gone = connect(node.port, '127.0.0.1');
  await once(gone, 'connect');
  const one = `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`;
  // Few enough that the node reads to their end without an answer.
  gone.write(one.repeat(500));
  const http = new Connection(t, node);
  const waits = `/v1/keys/k?position=${runId}:${offset + 1_000_000}&timeout=1`;
  await until('all places are taken', async () => {
    // A probe has a place for a moment, which then is refused to one of the others: so more of them come.
    gone.write(one);
    return (await http.send('GET', waits)).status === 429;
  });
  gone.destroy();
  await until('there are places again', async () => (await http.send('GET', waits)).status === 503);
  assert.equal(await node.stop(), 0);
});
