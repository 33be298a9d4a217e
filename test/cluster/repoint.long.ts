/** REPLICAOF at runtime: to whom, in the middle of what, and what becomes of the entries that it costs. */
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import Database from 'better-sqlite3';
import type { WebSocket } from 'ws';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import {
  Cluster,
  converged,
  counters,
  linkState,
  samePosition,
  textOf,
  writeMany,
} from '../support/cluster.ts';
import { scriptedMaster } from '../support/scripted-master.ts';

/** REPLICAOF, with the status of its answer. */
async function replicaOf(
  node: ChildNode,
  url: string,
): Promise<{ readonly status: number; readonly code?: string; readonly detail?: string }> {
  const response = await fetch(`${node.url}/v1/replication/upstream`, {
    method: 'PUT',
    body: JSON.stringify({ url }),
    headers: { 'content-type': 'application/json' },
  });
  const { code, detail } = (await response.json()) as { code?: string; detail?: string };
  return {
    status: response.status,
    ...(code === undefined ? {} : { code }),
    ...(detail === undefined ? {} : { detail }),
  };
}

/** What must not change when a REPLICAOF changes nothing. */
async function standing(...nodes: readonly ChildNode[]): Promise<unknown> {
  const answers = await Promise.all(nodes.map((node) => node.client.replication()));
  return answers.map(({ role, position, lineage, upstream, replicas, counters }) => ({
    role,
    position,
    lineage,
    upstream: upstream === null ? null : { url: upstream.url, state: upstream.state },
    sessions: replicas.map(({ id }) => id),
    counters,
  }));
}

/** Waits until the node's link says something like this. */
function linkSays(node: ChildNode, detail: RegExp): Promise<string> {
  return until(`the link says ${detail}`, async () => {
    const said = (await node.client.replication()).upstream?.detail;
    return said !== undefined && detail.test(said) ? said : null;
  });
}

function onlyKeyspaceFile(cluster: Cluster, name: string): Promise<boolean> {
  return until('one keyspace file is left', async () => {
    const files = await readdir(cluster.data(name));
    return files.filter((file) => /^keyspace-\d+\.db$/.test(file)).length === 1;
  });
}

test('replicas that are moved to and fro within one history need no snapshot; their own replicas only get a new run ID', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const [sibling, middle] = await Promise.all([
    cluster.start('sibling', '--replica-of', master.wsUrl),
    cluster.start('middle', '--replica-of', master.wsUrl),
  ]);
  const leaf = await cluster.start('leaf', '--replica-of', middle.wsUrl);
  await writeMany(master, 'a/', 10);
  await converged(master, sibling, middle, leaf);
  const session = async (): Promise<string | undefined> => {
    return (await middle.client.replication()).replicas[0]?.id;
  };
  const before = await session();
  for (const to of [sibling, master, sibling, master]) {
    assert.equal((await replicaOf(middle, to.wsUrl)).status, 202);
    await samePosition(to, middle);
    await master.client.set('by way of', to.url);
    await converged(master, sibling, middle, leaf);
  }
  assert.equal(await session(), before);

  await sibling.client.promote();
  await sibling.client.set('from', 'the sibling');
  assert.equal((await replicaOf(middle, sibling.wsUrl)).status, 202);
  await converged(sibling, middle, leaf);
  assert.notEqual(await session(), before);
  assert.deepEqual(await counters(master), { syncFull: 2, syncPartialOk: 2, syncPartialErr: 0 });
  assert.deepEqual(await counters(sibling), { syncFull: 0, syncPartialOk: 3, syncPartialErr: 0 });
  assert.deepEqual(await counters(middle), { syncFull: 1, syncPartialOk: 1, syncPartialErr: 0 });
});

test('a replica re-pointed or promoted during a handshake or a snapshot behaves as if that had not begun', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await writeMany(master, 'a/', 10);
  const { position } = await converged(master, replica);
  const sockets: WebSocket[] = [];
  const silent = await scriptedMaster(t, (socket) => sockets.push(socket));
  const slow = await scriptedMaster(t, (socket) => {
    sockets.push(socket);
    socket.send(Buffer.from(`+FULLRESYNC ${'ab'.repeat(20)} 1000 unknown-run-id\r\n$100000\r\n`));
    socket.send(Buffer.alloc(50_000, 1));
  });
  const reached = async (): Promise<void> => {
    await replicaOf(replica, silent.wsUrl);
    await until('PSYNC has come', () => silent.requests.length > 0);
    await linkState(replica, 'handshake');
  };
  const begun = async (): Promise<void> => {
    await replicaOf(replica, slow.wsUrl);
    await until('half of the snapshot has come', async () => {
      return (await replica.client.replication()).upstream?.progress?.received === 50_000;
    });
  };
  for (const [index, inTheMiddle] of [reached, begun].entries()) {
    await inTheMiddle();
    assert.equal(await textOf(replica, 'a/0'), 'v0');
    await replicaOf(replica, master.wsUrl);
    await converged(master, replica);
    const { replicas } = await master.client.replication();
    assert.deepEqual(replicas[0]?.sync, { kind: 'partial', bytes: 0 });
    assert.deepEqual(await counters(master), { syncFull: 1, syncPartialOk: index + 1, syncPartialErr: 0 });
    await onlyKeyspaceFile(cluster, 'replica');
  }
  await begun();
  const promoted = await replica.client.promote();
  assert.deepEqual(
    promoted.lineage.map(({ runId, validTo }) => `${runId}:${validTo}`),
    [position],
  );
  await replicaOf(master, replica.wsUrl);
  await replica.client.set('b', '1');
  await converged(replica, master);
  assert.deepEqual(await counters(replica), { syncFull: 0, syncPartialOk: 1, syncPartialErr: 0 });
  await onlyKeyspaceFile(cluster, 'replica');
  await until('the connections are closed', () => {
    return sockets.every((socket) => socket.readyState === socket.CLOSED);
  });
});

test('re-pointing a node to its own master, to itself or in a circle changes nothing, and the answer names a circle', async (t) => {
  const cluster = await Cluster.create(t);
  const top = await cluster.start('top');
  const middle = await cluster.start('middle', '--replica-of', top.wsUrl);
  const leaf = await cluster.start('leaf', '--replica-of', middle.wsUrl);
  const [toTop, toMiddle] = [await cluster.proxy(top), await cluster.proxy(middle)];
  await writeMany(top, 'a/', 10);
  await converged(top, middle, leaf);
  const before = await standing(top, middle, leaf);

  for (const url of [top.wsUrl, `${top.wsUrl}/`, top.wsUrl.replace('ws:', 'WS:')]) {
    assert.deepEqual(await replicaOf(middle, url), { status: 200 });
  }
  for (const url of [top.wsUrl, top.wsUrl.replace('127.0.0.1', 'localhost')]) {
    const { status, code, detail } = await replicaOf(top, url);
    assert.deepEqual([status, code, detail], [400, 'BAD_REQUEST', `${url} is this node itself`]);
  }
  const circles: readonly (readonly [ChildNode, string, string])[] = [
    [top, toTop.wsUrl, `${toTop.wsUrl} is this node itself`],
    [top, middle.wsUrl, `a circle: this node -> ${middle.wsUrl} -> ${top.wsUrl}, which is this node`],
    [
      top,
      leaf.wsUrl,
      `a circle: this node -> ${leaf.wsUrl} -> ${middle.wsUrl} -> ${top.wsUrl}, which is this node`,
    ],
    [middle, leaf.wsUrl, `a circle: this node -> ${leaf.wsUrl} -> ${middle.wsUrl}, which is this node`],
    [top, toMiddle.wsUrl, `a circle: this node -> ${toMiddle.wsUrl} -> ${top.wsUrl}, which is this node`],
  ];
  for (const [node, url, detail] of circles) {
    assert.deepEqual(await replicaOf(node, url), { status: 409, code: 'CIRCLE', detail });
  }
  assert.deepEqual(await standing(top, middle, leaf), before);
  await top.client.set('b', 'still the master');
  await converged(top, middle, leaf);
});

test('both nodes name a circle that was made while one of them was down, and a promotion opens it', async (t) => {
  const cluster = await Cluster.create(t);
  const one = await cluster.start('one');
  let two = await cluster.start('two', '--replica-of', one.wsUrl);
  await writeMany(one, 'a/', 10);
  await converged(one, two);
  await two.stop();
  assert.equal((await replicaOf(one, two.wsUrl)).status, 202);
  two = await cluster.restart('two', two);
  assert.equal(
    await linkSays(one, /circle/),
    `a circle: this node -> ${two.wsUrl} -> ${one.wsUrl}, which is this node`,
  );
  assert.equal(
    await linkSays(two, /circle/),
    `a circle: this node -> ${one.wsUrl} -> ${two.wsUrl}, which is this node`,
  );
  await one.client.promote();
  await one.client.set('b', '1');
  await converged(one, two);
  assert.deepEqual(await counters(one), { syncFull: 1, syncPartialOk: 1, syncPartialErr: 0 });
  assert.deepEqual(await counters(two), { syncFull: 0, syncPartialOk: 0, syncPartialErr: 0 });
});

test('when a replica that is behind is promoted, the others keep the data that it lacks in a file', async (t) => {
  const cluster = await Cluster.create(t);
  // Of what is kept the last part is in no keyspace file before it is needed there.
  const late = ['--apply-interval', '1h'];
  const master = await cluster.start('master', ...late);
  const link = await cluster.proxy(master);
  const [behind, one, two] = await Promise.all([
    cluster.start('behind', '--replica-of', link.wsUrl),
    cluster.start('one', '--replica-of', master.wsUrl, ...late),
    cluster.start('two', '--replica-of', master.wsUrl, ...late),
  ]);
  await writeMany(master, 'shared/', 5);
  await converged(master, behind, one, two);
  link.cut();
  await linkState(behind, 'waiting');
  await writeMany(master, 'lost/', 5);
  await master.client.set('shared/0', 'changed');
  await samePosition(master, one, two);
  const { position } = await master.client.replication();

  await behind.client.promote();
  await behind.client.set('new', 'v');
  const others = { master, one, two };
  for (const node of Object.values(others)) await node.client.replicaOf(behind.wsUrl);
  await converged(behind, ...Object.values(others));
  assert.deepEqual(await counters(behind), { syncFull: 3, syncPartialOk: 0, syncPartialErr: 3 });
  for (const [name, node] of Object.entries(others)) {
    assert.equal(await textOf(node, 'lost/0'), null);
    const { upstream, kept } = await node.client.replication();
    assert.equal(upstream?.lastSync?.reason, 'past-shared-history');
    assert.deepEqual(
      kept.map((each) => [each.position, each.reason]),
      [[position, 'past-shared-history']],
    );
    const entries = await until('the file is kept', () => {
      const file = new Database(join(cluster.data(name), kept[0]?.file ?? ''), {
        readonly: true,
        fileMustExist: true,
      });
      try {
        return file.prepare<[], { key: string; value: Buffer }>('SELECT key, value FROM whole_entries').all();
      } finally {
        file.close();
      }
    });
    assert.deepEqual(Object.fromEntries(entries.map(({ key, value }) => [key, value.toString('utf8')])), {
      ...Object.fromEntries([0, 1, 2, 3, 4].map((each) => [`lost/${each}`, `v${each}`])),
      ...Object.fromEntries([1, 2, 3, 4].map((each) => [`shared/${each}`, `v${each}`])),
      'shared/0': 'changed',
    });
    await onlyKeyspaceFile(cluster, name);
  }
});
