/** What a full resync must not destroy: data that an empty master would wipe, and what only this node has. */
import assert from 'node:assert/strict';
import { readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import Database from 'better-sqlite3';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { ApiError } from '../../src/client/api-error.ts';
import { Cluster, converged, counters, linkState, textOf, writeMany } from '../support/cluster.ts';

const QUICK = ['--repl-timeout', '400ms', '--repl-ping-interval', '100ms'];

async function accept(node: ChildNode): Promise<Response> {
  return fetch(`${node.url}/v1/replication/accept`, { method: 'POST' });
}

/** Waits until the node's link is refused because of the wipe guard. */
async function guarded(node: ChildNode): Promise<string> {
  const { upstream } = await until('the full resync is guarded', async () => {
    const answer = await node.client.replication();
    return answer.upstream?.guarded === true ? answer : null;
  });
  assert.equal(upstream?.state, 'refused');
  return upstream?.detail ?? '';
}

/** The entries of a kept file, by key. */
function entriesOf(cluster: Cluster, name: string, file: string): Readonly<Record<string, string>> {
  const db = new Database(join(cluster.data(name), file), { readonly: true });
  try {
    const rows = db.prepare('SELECT key, CAST(value AS TEXT) FROM whole_entries').raw().all() as [
      string,
      string,
    ][];
    return Object.fromEntries(rows);
  } finally {
    db.close();
  }
}

test('an empty master cannot wipe its replica, which says so, keeps serving, and waits for the operator', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await writeMany(master, 'k', 50);
  await converged(master, replica);
  const before = await replica.client.replication();
  const sum = await replica.client.digest();

  await master.stop('SIGKILL');
  await rm(cluster.data('master'), { recursive: true });
  const empty = await cluster.restart('master', master);
  const detail = await guarded(replica);
  assert.match(detail, /the master has no entries, and another history .*POST \/v1\/replication\/accept/);
  assert.equal((await replica.client.replication()).position, before.position);
  assert.equal(await textOf(replica, 'k7'), 'v7');
  assert.equal((await fetch(`${replica.url}/readyz`)).status, 503);
  // It asks once, and does not go on asking for snapshots.
  await empty.client.delete('nothing');
  assert.deepEqual(await counters(empty), { syncFull: 1, syncPartialOk: 0, syncPartialErr: 1 });
  // It has not forgotten after a restart either.
  await replica.stop('SIGKILL');
  let again = await cluster.start('replica');
  await guarded(again);
  assert.deepEqual(await again.client.digest(), sum);
  // Writes are not sent to the master that it refuses; and if that one has been written to, it is refused all the same.
  const write = await fetch(`${again.url}/v1/keys/k`, { method: 'PUT', body: 'v', redirect: 'manual' });
  assert.deepEqual([write.status, ((await write.json()) as { code: string }).code], [503, 'LOADING']);
  await empty.client.set('new', 'life');
  await again.stop();
  again = await cluster.start('replica');
  assert.match(await guarded(again), /the master had no entries/);
  assert.deepEqual(await again.client.digest(), sum);

  assert.equal((await accept(again)).status, 200);
  await converged(empty, again);
  assert.equal(await textOf(again, 'k7'), null);
  const { kept } = await again.client.replication();
  assert.deepEqual(
    kept.map(({ position, reason }) => ({ position, reason })),
    [{ position: before.position, reason: 'unknown-run-id' }],
  );
  assert.equal(entriesOf(cluster, 'replica', kept[0]?.file ?? '').k7, 'v7');
  // Accepted is one full resync, not the next one too.
  const refused = await accept(again);
  assert.equal(refused.status, 409);
  assert.equal(((await refused.json()) as { code: string }).code, 'NOTHING_GUARDED');
});

test('a replica that has refused an empty master follows it again by itself once the master has its data back', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl, '--repl-timeout', '1s');
  await writeMany(master, 'k', 10);
  await converged(master, replica);

  await master.stop();
  await rename(cluster.data('master'), cluster.data('away'));
  const empty = await cluster.restart('master', master);
  await guarded(replica);
  await empty.stop();
  await rm(cluster.data('master'), { recursive: true });
  await rename(cluster.data('away'), cluster.data('master'));
  const repaired = await cluster.restart('master', empty);
  const { upstream } = await linkState(replica, 'streaming');
  assert.equal(upstream?.guarded, undefined);
  await repaired.client.set('new', 'write');
  await converged(repaired, replica);
  // With its short time-out it may have come back more than once.
  const { syncFull, syncPartialOk, syncPartialErr } = await counters(repaired);
  assert.deepEqual([syncFull, syncPartialErr], [0, 0]);
  assert.ok(syncPartialOk >= 1);
});

test('a master of an unrelated history that was emptied by its clients cannot wipe a replica either', async (t) => {
  const cluster = await Cluster.create(t);
  const [stranger, node] = [await cluster.start('stranger'), await cluster.start('node')];
  await stranger.client.set('k', 'v');
  await stranger.client.delete('k');
  await node.client.set('mine', 'data');
  await node.client.replicaOf(stranger.wsUrl);
  await guarded(node);
  // Told to follow somebody else, it does.
  const other = await cluster.start('other');
  await other.client.set('from', 'other');
  await node.client.replicaOf(other.wsUrl);
  await converged(other, node);
  assert.equal((await accept(node)).status, 409);
});

test('the guard allows a full resync from a master with data, of the same history emptied, and into an empty replica', async (t) => {
  const cluster = await Cluster.create(t);
  const { master, link, replica } = await cluster.linked(['--backlog-size', '16kb']);
  await writeMany(master, 'k', 10);
  await converged(master, replica);
  link.cut();
  await linkState(replica, 'waiting');
  await master.client.set('large', 'x'.repeat(20_000));
  await fetch(`${master.url}/v1/keys?all=true`, { method: 'DELETE' });
  link.restore();
  // A full resync to nothing, and meant: it is the same history.
  assert.equal((await converged(master, replica)).keys, 0);
  assert.equal((await replica.client.replication()).upstream?.lastSync?.reason, 'behind-backlog');
  // Nothing is kept of what the master's history has too.
  assert.deepEqual((await replica.client.replication()).kept, []);
  // This one has no entries: nothing is lost by following a stranger that has none.
  const stranger = await cluster.start('stranger');
  await replica.client.replicaOf(stranger.wsUrl);
  await converged(stranger, replica);
});

test('--allow-empty-master lets an empty master wipe its replica', async (t) => {
  const cluster = await Cluster.create(t);
  const [empty, node] = [await cluster.start('empty'), await cluster.start('node', '--allow-empty-master')];
  await node.client.set('mine', 'data');
  await node.client.replicaOf(empty.wsUrl);
  assert.equal((await converged(empty, node)).keys, 0);
});

test('a full resync of a diverged history keeps the replaced data as one file; the oldest kept files go, and none is orphaned', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node', '--keep-replaced', '2', ...QUICK);
  const positions: string[] = [];
  for (const name of ['one', 'two', 'three']) {
    const other = await cluster.start(name);
    await other.client.set('from', name);
    // Written here and nowhere else, some of it only in the journal and the overlay.
    await node.client.promote();
    await node.client.set('mine', `before ${name}`);
    positions.push((await node.client.replication()).position);
    await node.client.replicaOf(other.wsUrl);
    await converged(other, node);
  }
  const { kept } = await until('two files are kept', async () => {
    const answer = await node.client.replication();
    return answer.kept.length === 2 ? answer : null;
  });
  assert.deepEqual(
    kept.map(({ position }) => position),
    positions.slice(1),
  );
  for (const [index, { file }] of kept.entries()) {
    assert.deepEqual(entriesOf(cluster, 'node', file), {
      from: ['one', 'two'][index] as string,
      mine: `before ${['two', 'three'][index]}`,
    });
  }
  assert.match(node.log, new RegExp(`"kept":"${kept[1]?.file}".*snapshot-replaced-another-history`));
  await node.stop();
  const files = (await readdir(cluster.data('node'))).filter((name) => name.endsWith('.db'));
  assert.deepEqual(
    files.filter((name) => !/^keyspace-\d+\.db$/.test(name)).sort(),
    [...kept.map(({ file }) => file), 'psyncd.db'].sort(),
  );
  assert.equal(files.length, 4);
});

test('a node killed right after a diverged history was replaced still has the kept file', async (t) => {
  const cluster = await Cluster.create(t);
  const other = await cluster.start('other');
  await writeMany(other, 'o', 20);
  for (let round = 0; round < 3; round += 1) {
    const name = `node${round}`;
    let node = await cluster.start(name);
    await node.client.set('mine', `data ${round}`);
    const { position } = await node.client.replication();
    await node.client.replicaOf(other.wsUrl);
    await until('it has been replaced', async () => (await node.client.replication()).position !== position);
    await node.stop('SIGKILL');
    node = await cluster.start(name);
    const { kept } = await node.client.replication();
    assert.deepEqual(
      kept.map((each) => each.position),
      [position],
    );
    assert.deepEqual(entriesOf(cluster, name, kept[0]?.file ?? ''), { mine: `data ${round}` });
    await converged(other, node);
  }
});

test('accepting when nothing is guarded is refused, on a master and on a replica that streams', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await linkState(replica, 'streaming');
  for (const node of [master, replica]) assert.equal((await accept(node)).status, 409);
  await assert.rejects(
    replica.client.check('nonsense'),
    (error) => error instanceof ApiError && error.code === 'BAD_REQUEST',
  );
});
