/** Who may make a replica the master: only its own master, and only while that one hands over to this replica. */
import assert from 'node:assert/strict';
import type { RequestListener } from 'node:http';
import test, { type TestContext } from 'node:test';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { Cluster, linkState } from '../support/cluster.ts';
import { RawReplica } from '../support/raw-replica.ts';
import { scriptedMaster } from '../support/scripted-master.ts';

const MASTER_ID = 'a'.repeat(40);

/** Connects a peer that says it is the master and hands over to the node, which stands at its position. */
async function handingOverTo(t: TestContext, node: ChildNode, masterId: string): Promise<RawReplica> {
  const [runId = '', offset] = (await node.client.replication()).position.split(':');
  const raw = await RawReplica.connect(t, node);
  raw.say('PING');
  raw.say('REPLCONF', 'capa', 'psync2');
  raw.say('REPLCONF', 'node-id', masterId);
  for (const expected of ['+PONG', '+OK', '+OK']) assert.equal(await raw.line(), expected);
  raw.say('PSYNC', runId, String(Number(offset) + 1), 'FAILOVER');
  return raw;
}

/** @returns the answer to such a peer */
async function handOverTo(t: TestContext, node: ChildNode, masterId: string): Promise<string> {
  const raw = await handingOverTo(t, node, masterId);
  return await raw.line();
}

test('a peer that says it is the master, which does not hand over, makes no master of a replica', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  await master.client.set('k', 'v');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await linkState(replica, 'streaming');
  const { nodeId } = await master.client.replication();
  assert.match(
    await handOverTo(t, replica, nodeId),
    /^-ERR FAILOVER: the master does not say that it hands over/,
  );
  assert.equal((await replica.client.replication()).role, 'replica');
  assert.equal((await master.client.replication()).role, 'master');
});

/** What the master says of its own upstream, and the answer of a replica that is asked to take over. */
const SAYS: readonly (readonly [what: string, upstream: (id: string) => unknown, answer: RegExp])[] = [
  ['that it follows nobody', () => null, /^-ERR FAILOVER: the master does not say/],
  ['only whom it follows', () => ({ url: 'ws://h:1' }), /^-ERR FAILOVER: the master does not say/],
  ['nonsense', (id) => ({ url: 'ws://h:1', handsOverTo: [id] }), /^-ERR FAILOVER: the master does not say/],
  ['that it does not know to whom', () => ({ url: 'ws://h:1', handsOverTo: null }), /^-LOADING/],
  ['another process', () => ({ url: 'ws://h:1', handsOverTo: 'b'.repeat(40) }), /^-LOADING/],
];

test('a replica takes over only if its own master says that it hands over to this process', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await node.client.set('k', 'v');
  const { nodeId } = await node.client.replication();
  let says: RequestListener = (_request, response) => response.end(JSON.stringify({ nodeId: MASTER_ID }));
  const master = await scriptedMaster(
    t,
    (socket, [, runId]) => socket.send(Buffer.from(`+CONTINUE ${runId}\r\n`)),
    (request, response) => says(request, response),
  );
  await node.client.replicaOf(master.wsUrl);
  await linkState(node, 'streaming');
  says = (_request, response) => response.writeHead(404).end();
  assert.match(await handOverTo(t, node, MASTER_ID), /^-LOADING the master does not answer/);
  for (const [what, upstream, answer] of SAYS) {
    assert.equal((await node.client.replication()).role, 'replica', what);
    says = (_request, response) =>
      response.end(JSON.stringify({ nodeId: MASTER_ID, upstream: upstream(nodeId) }));
    assert.match(await handOverTo(t, node, MASTER_ID), answer, what);
  }
  const { position } = await node.client.replication();
  const [runId, offset] = position.split(':');
  for (const [where, answer] of [
    [undefined, /^-ERR FAILOVER .* but the master stands elsewhere/],
    [`${runId}:${Number(offset) + 30}`, /^-ERR FAILOVER .* but the master stands elsewhere/],
    [position, /^\+CONTINUE/],
  ] as const) {
    assert.equal((await node.client.replication()).role, 'replica');
    const upstream = { url: 'ws://h:1', handsOverTo: nodeId };
    says = (_request, response) =>
      response.end(JSON.stringify({ nodeId: MASTER_ID, position: where, upstream }));
    assert.match(await handOverTo(t, node, MASTER_ID), answer, where);
  }
  assert.equal((await node.client.replication()).role, 'master');
});

test('a replica that takes over asks again while its master does not know its token yet, and refuses in the end', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await node.client.set('k', 'v');
  const { nodeId, position } = await node.client.replication();
  let refusals = Number.POSITIVE_INFINITY;
  const master = await scriptedMaster(
    t,
    (socket, [, runId]) => socket.send(Buffer.from(`+CONTINUE ${runId}\r\n`)),
    (_request, response) => {
      refusals -= 1;
      if (refusals >= 0) response.writeHead(401).end();
      else {
        const upstream = { url: 'ws://h:1', handsOverTo: nodeId };
        response.end(JSON.stringify({ nodeId: MASTER_ID, position, upstream }));
      }
    },
  );
  await node.client.replicaOf(master.wsUrl);
  await linkState(node, 'streaming');
  assert.match(await handOverTo(t, node, MASTER_ID), /^-ERR FAILOVER: the master needs a token/);
  refusals = 2;
  assert.match(await handOverTo(t, node, MASTER_ID), /^\+CONTINUE/);
});

test('requests to take over do not hold up an administrator while the master does not answer', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await node.client.set('k', 'v');
  let isSilent = false;
  let answered = 0;
  let asked = 0;
  const master = await scriptedMaster(
    t,
    (socket, [, runId]) => socket.send(Buffer.from(`+CONTINUE ${runId}\r\n`)),
    (_request, response) => {
      if (isSilent) {
        asked += 1;
        return;
      }
      answered += 1;
      response.end(JSON.stringify({ nodeId: MASTER_ID }));
    },
  );
  await node.client.replicaOf(master.wsUrl);
  await linkState(node, 'streaming');
  await until('the node and its link know who the master is', () => answered === 2);
  isSilent = true;
  const first = await handingOverTo(t, node, MASTER_ID);
  await until('the node asks its master', () => asked === 1);
  const others = await Promise.all(Array.from({ length: 4 }, () => handOverTo(t, node, MASTER_ID)));
  for (const answer of others) assert.match(answer, /^-LOADING .* request to take over/);
  await node.client.promote();
  assert.equal(asked, 1, 'the administrator waits for no answer of the master');
  await until('the first request has ended', () => first.closed !== null);
  assert.equal((await node.client.replication()).role, 'master');
});
