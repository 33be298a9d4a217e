/** Nodes that lie: what another node says is parsed, bounded, and refused in words; it ends no process and no other link. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import test, { type TestContext } from 'node:test';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { Cluster, linkState, textOf } from '../support/cluster.ts';
import { RawReplica } from '../support/raw-replica.ts';
import { infoOf } from '../support/reports.ts';
import { scriptedMaster } from '../support/scripted-master.ts';
import { longestStall } from '../support/stalls.ts';

const OTHER_ID = 'f'.repeat(40);

/** An HTTP server that is no node. @returns its `ws://HOST:PORT`, and the paths that were asked for */
async function stranger(
  t: TestContext,
  answer: RequestListener,
): Promise<{ readonly wsUrl: string; readonly asked: string[] }> {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(request.url ?? '');
    answer(request, response);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return { wsUrl: `ws://127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
}

/** What a node that follows `url` says of itself. */
function followerOf(url: string): string {
  return JSON.stringify({ nodeId: OTHER_ID, upstream: { url, state: 'streaming' } });
}

async function follow(
  node: ChildNode,
  url: string,
): Promise<{ status: number; code?: string; detail?: string }> {
  const response = await fetch(`${node.url}/v1/replication/upstream`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ url }),
  });
  const { code, detail } = (await response.json()) as { code?: string; detail?: string };
  return {
    status: response.status,
    ...(code === undefined ? {} : { code }),
    ...(detail === undefined ? {} : { detail }),
  };
}

async function serves(node: ChildNode): Promise<void> {
  assert.equal((await fetch(`${node.url}/healthz`)).status, 200);
  assert.equal(node.process.exitCode, null);
}

test('a master that names a malformed upstream is refused in one clear line, and stops no node', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await node.client.set('k', 'v');
  const refused = /says whom it follows, and ".*" is no URL of the form ws:\/\/HOST:PORT$/;
  for (const upstream of ['ftp://h:1', 'ws://u:p@h:1', 'ws://h:1/admin?drop=1', 'nonsense', 'ws://h,x=1:1']) {
    const liar = await stranger(t, (_request, response) => response.end(followerOf(upstream)));
    const { status, code, detail = '' } = await follow(node, liar.wsUrl);
    assert.deepEqual([status, code], [502, 'BAD_PEER'], upstream);
    assert.match(detail, refused);
  }
  assert.equal((await node.client.replication()).role, 'master');
  // One that begins to lie when it is followed already: the link says so, also after a restart, and the data stay.
  let says = JSON.stringify({ nodeId: OTHER_ID, upstream: null });
  const turncoat = await scriptedMaster(
    t,
    (socket, [, asked]) => socket.send(Buffer.from(`+CONTINUE ${asked}\r\n`)),
    (_request, response) => response.end(says),
  );
  assert.equal((await follow(node, turncoat.wsUrl)).status, 202);
  await linkState(node, 'streaming');
  says = followerOf('ftp://h:1');
  await node.stop();
  for (const flags of [[], ['--replica-of', turncoat.wsUrl]]) {
    const again = await cluster.restart('node', node, ...flags);
    await until('the link is refused', async () => {
      const { upstream } = await again.client.replication();
      return upstream?.state === 'refused' && refused.test(upstream.detail ?? '');
    });
    await serves(again);
    assert.equal(await textOf(again, 'k'), 'v');
    assert.equal(await again.stop(), 0);
  }
});

test('a peer is asked for /v1/replication and nothing else, and no redirect of it is followed', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const victim = await stranger(t, (_request, response) => response.end('secret'));
  const victimHost = victim.wsUrl.replace('ws://', '');
  for (const url of [
    `ws://u:p@${victimHost}`,
    `ws://${victimHost}/v1/keys/k?`,
    `${victim.wsUrl}/#`,
    `${victim.wsUrl}?`,
  ]) {
    const liar = await stranger(t, (_request, response) => response.end(followerOf(url)));
    assert.equal((await follow(node, liar.wsUrl)).code, 'BAD_PEER', url);
    assert.equal((await follow(node, url)).code, 'BAD_REQUEST', url);
    const to = JSON.stringify({ to: url });
    const headers = { 'content-type': 'application/json' };
    const failover = await fetch(`${node.url}/v1/replication/failover`, {
      method: 'POST',
      headers,
      body: to,
    });
    assert.equal(failover.status, 400, url);
  }
  const redirecting = await stranger(t, (_request, response) => {
    response.writeHead(302, { location: `http://${victimHost}/v1/replication` }).end();
  });
  // It does not answer like a node: whether it is one shows when it is dialled.
  assert.equal((await follow(node, redirecting.wsUrl)).status, 202);
  assert.deepEqual(victim.asked, []);
  assert.equal(redirecting.asked[0], '/v1/replication');
  // Another URL that is one, though not of a node: the one path is all that is asked for, apart from the WebSocket.
  assert.equal((await follow(node, `${victim.wsUrl}/`)).status, 202);
  await until('it has been asked', () => victim.asked.length > 0);
  for (const path of victim.asked) assert.match(path, /^\/v1\/replication(?:\/stream)?$/);
});

test('no more than 1 MiB of a peer’s answer is read, and no answer is waited for longer than a second or two', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  let [sent, ended] = [0, false];
  const flood = await stranger(t, (_request, response) => {
    const more = (): void => {
      while (!ended) {
        sent += 65_536;
        if (!response.write(' '.repeat(65_536))) return;
      }
    };
    response.on('drain', more);
    response.on('close', () => {
      ended = true;
    });
    more();
  });
  assert.equal((await follow(node, flood.wsUrl)).status, 202);
  await until('the flood was left', () => ended);
  // What the sockets of both sides hold was sent too.
  assert.ok(sent < 32 * 1024 * 1024, `${sent} bytes were taken`);
  const trickle = await stranger(t, (_request, response) => {
    const timer = setInterval(() => response.write(' '), 50);
    response.on('close', () => clearInterval(timer));
  });
  assert.equal((await follow(node, trickle.wsUrl)).status, 202);
  await serves(node);
});

test('a listening-url that is more than a node’s URL is refused in the handshake, and INFO shows nothing of it', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const replica = await RawReplica.connect(t, node);
  for (const url of [
    'ws://h:1/v1/keys/k',
    'ws://user:secret@h:1',
    'ws://h,state=online,offset=999:1',
    'ws://h:1\r\nmaster_replid:0',
    `ws://${'x'.repeat(3_000)}:1`,
  ]) {
    replica.say('REPLCONF', 'listening-url', url, 'node-id', OTHER_ID);
    assert.match(await replica.line(), /^-ERR listening-url/, url);
  }
  replica.say('REPLCONF', 'listening-url', 'ws://good.example');
  assert.equal(await replica.line(), '+OK');
  replica.say('PSYNC', '?', '-1');
  assert.match(await replica.line(), /^\+FULLRESYNC/);
  const info = await infoOf(node);
  assert.match(info.slave0 ?? '', /^ip=good\.example,port=80,state=[a-z_]+,offset=0,lag=0,lag_bytes=0,/);
  assert.equal(info.slave1, undefined);
});

/** What a master may say at each place of the conversation, and should not. */
const NONSENSE: readonly (readonly [what: string, answer: (runId: string) => string | Buffer])[] = [
  ['nothing like an answer', () => 'HTTP/1.1 200 OK\r\n\r\n'],
  ['an endless line', () => 'x'.repeat(100_000)],
  ['bytes', () => Buffer.alloc(10_000, 0xff)],
  ['a malformed full resync', () => '+FULLRESYNC x y z\r\n'],
  ['a snapshot of 0 bytes', () => `+FULLRESYNC ${OTHER_ID} 5 forced -\r\n$0\r\n`],
  ['a snapshot that is none', () => `+FULLRESYNC ${OTHER_ID} 5 forced -\r\n$4096\r\n${'x'.repeat(4_096)}`],
  ['a snapshot beyond all bounds', () => `+FULLRESYNC ${OTHER_ID} 5 forced -\r\n$17592186044417\r\nx`],
  ['a lineage that is none', (runId) => `+CONTINUE ${runId} 0 constructor:__proto__:1:1\r\n*0\r\n`],
  ['a stream of no commands', (runId) => `+CONTINUE ${runId}\r\n*2\r\n$4\r\nINCR\r\n$1\r\nk\r\n`],
  ['a length beyond all bounds', (runId) => `+CONTINUE ${runId}\r\n*99999999999\r\n`],
  ['a refusal with control characters', () => '-ERR \u001b[2J\u0007 no\r\n'],
  ['a line of another protocol', () => '$-1\r\n'],
];

test('a replica keeps serving and asks again, whatever its master sends at any point', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await node.client.set('k', 'v');
  const { runId } = await node.client.replication();
  for (const [what, answer] of NONSENSE) {
    const master = await scriptedMaster(
      t,
      (socket) => socket.send(Buffer.from(answer(runId) as string)),
      (_request, response) => response.writeHead(404).end(),
    );
    await node.client.replicaOf(master.wsUrl);
    await until(`${what}: it asks again`, () => master.requests.length > 1);
    assert.equal(await textOf(node, 'k'), 'v', what);
  }
  await serves(node);
  await node.client.promote();
  await node.client.set('k', 'w');
  assert.doesNotMatch(node.log, /unexpected-error/);
});

/** A secret where bytes of the stream, or of a snapshot, come at the wrong place. */
const MISPLACED: readonly (readonly [what: string, answer: (runId: string) => string])[] = [
  ['as a command', (runId) => `+CONTINUE ${runId}\r\n*2\r\n$7\r\nhunter2\r\n$1\r\nk\r\n`],
  ['as a time', (runId) => `+CONTINUE ${runId}\r\n*3\r\n$9\r\nPEXPIREAT\r\n$1\r\nk\r\n$7\r\nhunter2\r\n`],
  ['as an answer', () => 'hunter2\r\n'],
  ['as a length', () => `+FULLRESYNC ${OTHER_ID} 5 forced -\r\nhunter2\r\n`],
];

test('neither the status nor the log of a replica quotes what its master sends at the wrong place', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await node.client.set('k', 'v');
  const { runId, offset } = await node.client.replication();
  for (const [what, answer] of MISPLACED) {
    const master = await scriptedMaster(
      t,
      (socket) => socket.send(Buffer.from(answer(runId))),
      (_request, response) => response.writeHead(404).end(),
    );
    await node.client.replicaOf(master.wsUrl);
    await until(`${what}: it asks again`, () => master.requests.length > 1);
    const shown = JSON.stringify(await node.client.replication());
    assert.doesNotMatch(`${shown} ${node.log}`, /hunter2/i, what);
    if (what === 'as a time') assert.match(shown, new RegExp(`after byte ${offset} are no stream: a time`));
  }
});

test('an open transaction of tiny commands ends the link before it takes memory or time', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await node.client.set('k', 'v');
  const before = Number((await infoOf(node)).used_memory_rss);
  const tiny = Buffer.from('*2\r\n$3\r\nDEL\r\n$1\r\na\r\n'.repeat(40_000));
  const master = await scriptedMaster(
    t,
    (socket, [, runId]) => {
      socket.send(Buffer.from(`+CONTINUE ${runId}\r\n*1\r\n$5\r\nMULTI\r\n`));
      for (let message = 0; message < 100; message += 1) socket.send(tiny);
    },
    (_request, response) => response.writeHead(404).end(),
  );
  await node.client.replicaOf(master.wsUrl);
  const stallMs = await longestStall(node, async () => {
    const { upstream } = await until('the link says why', async () => {
      const answer = await node.client.replication();
      return /65536 commands and keys/.test(answer.upstream?.detail ?? '') ? answer : null;
    });
    assert.notEqual(upstream?.state, 'streaming');
  });
  const grown = Number((await infoOf(node)).used_memory_rss) - before;
  assert.ok(grown < 256 * 1024 * 1024, `it has grown by ${grown} bytes`);
  assert.ok(stallMs < 3_000, `one request waited for ${stallMs} ms of work`);
  await node.client.promote();
  assert.equal(await textOf(node, 'k'), 'v');
});
