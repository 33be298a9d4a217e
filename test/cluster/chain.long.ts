/** Replicas of replicas, and what becomes of a history when its master changes: who is told, who continues, from where. */
import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import type { ReplicaAnswer, ReplicationAnswer } from '../../src/client/rest.ts';
import { Cluster, converged, counters, linkState, samePosition, writeMany } from '../support/cluster.ts';
import { RawReplica } from '../support/raw-replica.ts';
import { sessionsOf } from '../support/reports.ts';

/** The close codes with which this node has ended sessions, oldest first. */
async function endings(node: ChildNode): Promise<readonly unknown[]> {
  return (await sessionsOf(node))
    .toReversed()
    .flatMap(({ events }) => events.filter(({ event }) => event === 'session-ended'))
    .map(({ fields }) => fields.code);
}

/** What `node` says of its session with `replica`. */
async function session(node: ChildNode, replica: ChildNode): Promise<ReplicaAnswer | undefined> {
  return (await node.client.replication()).replicas.find(({ url }) => url === replica.wsUrl);
}

/** The run IDs of the lineage and how far each is shared, newest first. */
function bounds({ lineage }: ReplicationAnswer): readonly string[] {
  return lineage.map(({ runId, validTo }) => `${runId}:${validTo}`);
}

async function sameLineage(...nodes: readonly ChildNode[]): Promise<readonly string[]> {
  const answers = await Promise.all(nodes.map((node) => node.client.replication()));
  const [first] = answers;
  assert.ok(first !== undefined);
  for (const { lineage } of answers) assert.deepEqual(lineage, first.lineage);
  return bounds(first);
}

/** Speaks PSYNC to the node: its answer, and what comes after it. @param asked the first byte that is lacking */
async function psync(
  t: TestContext,
  node: ChildNode,
  runId: string,
  asked: number,
): Promise<{ readonly line: string; readonly replica: RawReplica }> {
  const replica = await RawReplica.connect(t, node);
  replica.say('PSYNC', runId, String(asked));
  return { line: await replica.line(), replica };
}

test('bytes, offsets, versions and run ID pass through a chain unchanged', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const middle = await cluster.start('middle', '--replica-of', master.wsUrl);
  const leaf = await cluster.start('leaf', '--replica-of', middle.wsUrl);
  const last = await cluster.start('last', '--replica-of', leaf.wsUrl);
  const nodes = [master, middle, leaf, last];
  await samePosition(...nodes);
  await writeMany(master, 'a/', 20);
  const batch = await fetch(`${master.url}/v1/batch`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"ops":[{"op":"set","key":"b","value":"of a batch"},{"op":"delete","key":"a/3"}]}',
  });
  assert.equal(batch.status, 200);
  const fleeting = await fetch(`${master.url}/v1/keys/fleeting?ttl=3600`, { method: 'PUT', body: 'x' });
  assert.equal(fleeting.status, 201);
  await converged(...nodes);

  const { runId, offset } = await master.client.replication();
  for (const [above, below] of [
    [master, middle],
    [middle, leaf],
    [leaf, last],
  ] as const) {
    const { replicas } = await above.client.replication();
    assert.deepEqual(
      replicas.map(({ url }) => url),
      [below.wsUrl],
    );
    assert.deepEqual(await counters(above), { syncFull: 1, syncPartialOk: 0, syncPartialErr: 0 });
  }
  assert.deepEqual(await counters(last), { syncFull: 0, syncPartialOk: 0, syncPartialErr: 0 });

  const streams: Buffer[] = [];
  const versions = new Set<string | null>();
  for (const node of nodes) {
    const { line, replica } = await psync(t, node, runId, 1);
    assert.equal(line, `+CONTINUE ${runId}`);
    streams.push(await replica.take(offset));
    versions.add((await fetch(`${node.url}/v1/keys/b`)).headers.get('etag'));
  }
  for (const stream of streams) assert.ok(stream.equals(streams[0] as Buffer));
  assert.equal(versions.size, 1);
});

test('a cut at the top leaves the links below standing; a node in the middle that was killed is continued from', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const link = await cluster.proxy(master);
  let middle = await cluster.start('middle', '--replica-of', link.wsUrl);
  const leaf = await cluster.start('leaf', '--replica-of', middle.wsUrl);
  await writeMany(master, 'a/', 10);
  await converged(master, middle, leaf);
  const below = await session(middle, leaf);

  link.cut();
  await linkState(middle, 'waiting');
  await writeMany(master, 'b/', 10);
  const missed = (await master.client.replication()).offset - (await middle.client.replication()).offset;
  await linkState(leaf, 'streaming');
  link.restore();
  await converged(master, middle, leaf);
  assert.deepEqual((await session(master, middle))?.sync, { kind: 'partial', bytes: missed });
  assert.deepEqual(await counters(master), { syncFull: 1, syncPartialOk: 1, syncPartialErr: 0 });
  assert.equal((await session(middle, leaf))?.id, below?.id);
  assert.deepEqual(await counters(middle), { syncFull: 1, syncPartialOk: 0, syncPartialErr: 0 });

  await middle.stop('SIGKILL');
  await writeMany(master, 'c/', 10);
  middle = await cluster.restart('middle', middle);
  await converged(master, middle, leaf);
  assert.deepEqual(await counters(master), { syncFull: 1, syncPartialOk: 2, syncPartialErr: 0 });
  assert.deepEqual(await counters(middle), { syncFull: 0, syncPartialOk: 1, syncPartialErr: 0 });
});

test('a promotion in the middle: all below are told to ask again, and continue; so does the old master', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const middle = await cluster.start('middle', '--replica-of', master.wsUrl);
  const leaf = await cluster.start('leaf', '--replica-of', middle.wsUrl);
  const last = await cluster.start('last', '--replica-of', leaf.wsUrl);
  await writeMany(master, 'a/', 10);
  await converged(master, middle, leaf, last);
  const before = await master.client.replication();

  const promoted = await middle.client.promote();
  assert.notEqual(promoted.runId, before.runId);
  assert.deepEqual(bounds(promoted), [before.position]);
  await converged(middle, leaf, last);
  for (const above of [middle, leaf]) {
    assert.deepEqual(await endings(above), [4409]);
    assert.deepEqual(await counters(above), { syncFull: 1, syncPartialOk: 1, syncPartialErr: 0 });
  }
  assert.deepEqual((await session(middle, leaf))?.sync, { kind: 'partial', bytes: 0 });

  await writeMany(middle, 'b/', 10);
  await converged(middle, leaf, last);
  const { offset } = await middle.client.replication();
  // The one that was on top follows the one that was at the bottom.
  await master.client.replicaOf(last.wsUrl);
  await converged(middle, leaf, last, master);
  assert.deepEqual((await session(last, master))?.sync, { kind: 'partial', bytes: offset - before.offset });
  assert.deepEqual(await counters(last), { syncFull: 0, syncPartialOk: 1, syncPartialErr: 0 });
  assert.deepEqual(await sameLineage(middle, leaf, last, master), [before.position]);
});

test('a full resync in the middle: those below ask again, and who stands on what is shared continues', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const link = await cluster.proxy(master);
  const [sibling, middle] = await Promise.all([
    cluster.start('sibling', '--replica-of', link.wsUrl),
    cluster.start('middle', '--replica-of', master.wsUrl),
  ]);
  const lower = await cluster.proxy(middle);
  const [ahead, behind] = await Promise.all([
    cluster.start('ahead', '--replica-of', middle.wsUrl),
    cluster.start('behind', '--replica-of', lower.wsUrl),
  ]);
  await writeMany(master, 'shared/', 10);
  const { position } = await converged(master, sibling, middle, ahead, behind);
  link.cut();
  lower.cut();
  await Promise.all([linkState(sibling, 'waiting'), linkState(behind, 'waiting')]);
  await writeMany(master, 'not-shared/', 10);
  await converged(master, middle, ahead);

  const { offset } = await sibling.client.promote();
  await middle.client.replicaOf(sibling.wsUrl);
  await converged(sibling, middle, ahead);
  for (const replica of [middle, ahead]) {
    const { upstream } = await replica.client.replication();
    assert.equal(upstream?.lastSync?.reason, 'past-shared-history');
  }
  assert.deepEqual(await endings(middle), [4409]);
  await writeMany(sibling, 'new/', 10);
  await converged(sibling, middle, ahead);

  // It knows nothing but the first run ID, which is an ancestor of what the middle got with the snapshot.
  lower.restore();
  await converged(sibling, middle, ahead, behind);
  const lacking = (await sibling.client.replication()).offset - offset;
  assert.deepEqual((await session(middle, behind))?.sync, { kind: 'partial', bytes: lacking });
  assert.deepEqual(await counters(sibling), { syncFull: 1, syncPartialOk: 0, syncPartialErr: 1 });
  assert.deepEqual(await counters(middle), { syncFull: 3, syncPartialOk: 1, syncPartialErr: 1 });
  assert.deepEqual(await sameLineage(sibling, middle, ahead, behind), [position]);
});

test('masters in turn: all others continue, and every ancestor is accepted up to its bound, not one byte further', async (t) => {
  const cluster = await Cluster.create(t);
  const first = await cluster.start('first');
  const [second, third, early] = await Promise.all([
    cluster.start('second', '--replica-of', first.wsUrl),
    cluster.start('third', '--replica-of', first.wsUrl),
    cluster.start('early', '--replica-of', first.wsUrl),
  ]);
  await samePosition(first, second, third, early);
  await writeMany(first, 'a/', 5);
  await converged(first, second, third, early);
  await early.stop();

  const ancestors: string[] = [];
  let newest = first;
  for (const heir of [second, third, first, second, third, first]) {
    ancestors.unshift((await heir.client.replication()).position);
    await heir.client.promote();
    newest = heir;
    const others = [first, second, third].filter((node) => node !== heir);
    for (const node of others) await node.client.replicaOf(heir.wsUrl);
    await writeMany(heir, `${ancestors.length}/`, 3);
    await converged(heir, ...others);
  }
  assert.deepEqual(await sameLineage(first, second, third), ancestors);

  // It has been away since the first of them was the only one.
  const late = await cluster.start('early', '--replica-of', newest.wsUrl);
  await converged(newest, second, third, late);
  assert.deepEqual(await sameLineage(newest, second, third, late), ancestors);
  const fulls = await Promise.all(
    [first, second, third].map(async (node) => (await counters(node)).syncFull),
  );
  assert.deepEqual(fulls, [3, 0, 0]);

  assert.equal(await newest.stop('SIGKILL'), null);
  newest = await cluster.restart('first', newest);
  await converged(newest, second, third, late);
  assert.deepEqual(await sameLineage(newest, second, third, late), ancestors);
  assert.deepEqual(await counters(newest), { syncFull: 0, syncPartialOk: 3, syncPartialErr: 0 });

  const { runId, offset } = await newest.client.replication();
  const whole = await (await psync(t, newest, runId, 1)).replica.take(offset);
  for (const ancestor of ancestors) {
    const [ancestorId = '', bound] = ancestor.split(':');
    const validTo = Number(bound);
    const within = await psync(t, newest, ancestorId, validTo + 1);
    assert.equal(within.line, `+CONTINUE ${runId}`);
    assert.deepEqual(await within.replica.take(offset - validTo), whole.subarray(validTo));
    const beyond = await psync(t, newest, ancestorId, validTo + 2);
    assert.equal(beyond.line, `+FULLRESYNC ${runId} ${offset} past-shared-history`);
  }
});

test('a master that is restarted: who was behind gets exactly what it lacks, and who was not, nothing', async (t) => {
  const cluster = await Cluster.create(t);
  let master = await cluster.start('master');
  const link = await cluster.proxy(master);
  const [behind, current] = await Promise.all([
    cluster.start('behind', '--replica-of', link.wsUrl),
    cluster.start('current', '--replica-of', master.wsUrl),
  ]);
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    await writeMany(master, `${signal}/a/`, 10);
    await converged(master, behind, current);
    link.cut();
    await linkState(behind, 'waiting');
    await writeMany(master, `${signal}/b/`, 50);
    await converged(master, current);
    const { runId, offset, backlog } = await master.client.replication();
    const lacking = offset - (await behind.client.replication()).offset;

    assert.equal(await master.stop(signal), signal === 'SIGTERM' ? 0 : null);
    master = await cluster.restart('master', master);
    assert.deepEqual(master.ready, { role: 'master', runId, offset });
    assert.deepEqual((await master.client.replication()).backlog, backlog);
    link.restore();
    await converged(master, behind, current);
    assert.deepEqual((await session(master, behind))?.sync, { kind: 'partial', bytes: lacking });
    assert.deepEqual((await session(master, current))?.sync, { kind: 'partial', bytes: 0 });
    assert.deepEqual(await counters(master), { syncFull: 0, syncPartialOk: 2, syncPartialErr: 0 });
  }
});

/** Where a write that came to this node is sent: the answer's Location. */
async function redirected(node: ChildNode): Promise<string | null> {
  const response = await fetch(`${node.url}/v1/keys/k?ttl=60`, {
    method: 'PUT',
    body: 'v',
    redirect: 'manual',
  });
  const { master } = (await response.json()) as { master: string };
  assert.equal(response.status, 307);
  assert.equal(response.headers.get('location'), `${master}/v1/keys/k?ttl=60`);
  return master;
}

test('writes are redirected to where the master announces to be, in a chain too; else to where it was dialled', async (t) => {
  const cluster = await Cluster.create(t);
  let master = await cluster.start('master');
  let middle = await cluster.start('middle', '--replica-of', master.wsUrl);
  const leaf = await cluster.start('leaf', '--replica-of', middle.wsUrl);
  await linkState(leaf, 'streaming');
  assert.deepEqual([await redirected(middle), await redirected(leaf)], [master.url, middle.url]);
  // By another name than the one that is dialled.
  const name = (node: ChildNode): string => `localhost:${node.port}`;
  await master.stop();
  master = await cluster.restart('master', master, '--announce-url', `ws://${name(master)}`);
  await until('the middle knows the name', async () => {
    const { upstream } = await middle.client.replication();
    return upstream?.announcedUrl === `ws://${name(master)}`;
  });
  assert.deepEqual(
    [await redirected(middle), await redirected(leaf)],
    [`http://${name(master)}`, middle.url],
  );
  await middle.stop();
  middle = await cluster.restart('middle', middle, '--announce-url', `ws://${name(middle)}`);
  await linkState(leaf, 'streaming');
  await until('the leaf knows the name', async () => (await redirected(leaf)) === `http://${name(middle)}`);
  await linkState(middle, 'streaming');
  const written = await fetch(`${leaf.url}/v1/keys/k`, { method: 'PUT', body: 'by name' });
  assert.deepEqual([written.status, new URL(written.url).host], [201, name(master)]);
  // Learned with a snapshot as well; and forgotten with the master that has told it.
  const fresh = await cluster.start('fresh', '--replica-of', master.wsUrl);
  await linkState(fresh, 'streaming');
  assert.equal(await redirected(fresh), `http://${name(master)}`);
  await fresh.client.replicaOf(leaf.wsUrl);
  assert.equal(await redirected(fresh), leaf.url);
  await converged(master, middle, leaf, fresh);
});
