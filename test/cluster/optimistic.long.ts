/** Optimistic writes on real nodes: what is shown at once is what the nodes have in the end. */
import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { mirror } from '../../src/client/mirror/mirror.ts';
import { type OptimisticMirror, optimistic } from '../../src/client/optimistic/optimistic.ts';
import { Client } from '../../src/client/rest.ts';
import { Cluster, linkState, textOf } from '../support/cluster.ts';
import { seeded } from '../support/random.ts';

/** What a page opens at a node. */
async function page(t: TestContext, { url }: ChildNode): Promise<OptimisticMirror> {
  const copy = mirror({ url, retryBaseMs: 10, retryMaxMs: 100 });
  t.after(() => copy.close());
  await copy.ready;
  return optimistic(copy, new Client(url));
}

test('writes at a replica reach its master, and are confirmed when the replica has them', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await linkState(replica, 'streaming');
  await master.client.set('a', '1');
  await master.client.set('settings', '{"size":1}');
  const writes = await page(t, replica);
  await until('the entries are there', () => writes.has('settings'));
  const set = writes.set('a', '2', { ifVersion: writes.getEntry('a')?.version });
  const patch = writes.patch('settings', { colour: 'blue' });
  const both = writes.set('a', '3', { ifVersion: writes.getEntry('a')?.version, ttl: 1_000 });
  assert.deepEqual(
    [writes.get('a'), writes.get('settings'), writes.pending],
    ['3', '{"size":1,"colour":"blue"}', 3],
  );
  await Promise.all([set, patch, both]);
  assert.deepEqual([writes.get('a'), writes.get('settings')], ['3', '{"size":1,"colour":"blue"}']);
  assert.deepEqual([await textOf(master, 'a'), writes.pending], ['3', 0]);
  const entry = writes.getEntry('a');
  assert.deepEqual([entry?.isPending, entry?.version], [undefined, (await both).version]);
  const stale = writes.set('a', '4', { ifVersion: (await set).version });
  await assert.rejects(stale, { code: 'PRECONDITION_FAILED' });
  await assert.rejects(writes.patch('nobody', {}), { code: 'NOT_FOUND' });
  await writes.delete('a', { ifVersion: writes.getEntry('a')?.version });
  await writes.delete('a');
  assert.deepEqual([writes.has('a'), await textOf(master, 'a')], [false, null]);
});

test('writes that are made while the node is away are carried out when it is back', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const writes = await page(t, node);
  await writes.set('a', '1');
  await writes.set('c', '{}');
  await node.stop('SIGKILL');
  await until('the page knows', () => writes.state.kind === 'waiting');
  const done = [writes.set('a', '2'), writes.set('b', '2', { ifAbsent: true }), writes.patch('c', { c: 3 })];
  assert.deepEqual([writes.get('a'), writes.get('b'), writes.get('c')], ['2', '2', '{"c":3}']);
  const again = await cluster.restart('node', node);
  await Promise.all(done);
  assert.deepEqual([await textOf(again, 'a'), await textOf(again, 'b'), writes.pending], ['2', '2', 0]);
});

test('whatever two pages write at once, both show what the node has in the end', async (t) => {
  const { seed, random } = seeded();
  t.diagnostic(`PSYNCD_SEED=${seed}`);
  const node = await (await Cluster.create(t)).start('node');
  const pages = [await page(t, node), await page(t, node)];
  const outcomes: Promise<unknown>[] = [];
  for (let step = 0; step < 300; step += 1) {
    const writes = pages[step % 2] as OptimisticMirror;
    const key = `k${Math.floor(random() * 5)}`;
    const shown = writes.getEntry(key);
    const condition =
      random() < 0.5 ? {} : shown === undefined ? { ifAbsent: true } : { ifVersion: shown.version };
    const kind = random();
    if (kind < 0.5) outcomes.push(writes.set(key, `{"step":${step}}`, condition));
    else if (kind < 0.8) outcomes.push(writes.patch(key, { [`m${step % 7}`]: step }, condition));
    else outcomes.push(writes.delete(key, shown === undefined ? {} : { ifVersion: shown.version }));
    if (random() < 0.3) await new Promise((resolve) => setImmediate(resolve));
  }
  const settled = await Promise.allSettled(outcomes);
  const codes = new Set<unknown>();
  for (const each of settled) {
    if (each.status === 'rejected') codes.add(each.reason.code ?? each.reason.name);
  }
  for (const code of codes)
    assert.ok(code === 'PRECONDITION_FAILED' || code === 'LostBasisError' || code === 'NOT_FOUND', `${code}`);
  assert.ok(settled.some(({ status }) => status === 'fulfilled'));
  for (const writes of pages) {
    assert.equal(writes.pending, 0);
    for (let index = 0; index < 5; index += 1) {
      const value = await textOf(node, `k${index}`);
      await until('the page shows it', () => (writes.get(`k${index}`) ?? null) === value);
    }
  }
});
