/** `--fsync always`: answered means on disk, and requests that come together share one commit and one fsync. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import test from 'node:test';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { Cluster } from '../support/cluster.ts';
import { Pipeline } from '../support/pipeline.ts';
import { infoOf } from '../support/reports.ts';

const CONNECTIONS = 8;
const WRITES = 250;

/** Sends the writes of all connections at once: `<connection>/0`, `<connection>/1`, … */
async function writeTogether(
  t: Parameters<typeof Pipeline.to>[0],
  node: ChildNode,
): Promise<readonly Pipeline[]> {
  const pipelines = await Promise.all(Array.from({ length: CONNECTIONS }, () => Pipeline.to(t, node)));
  for (const [number, pipeline] of pipelines.entries()) {
    pipeline.send(Array.from({ length: WRITES }, (_, at) => ['PUT', `/v1/keys/${number}/${at}`, 'value']));
  }
  return pipelines;
}

async function journal(node: ChildNode): Promise<{ readonly commits: number; readonly fsyncs: number }> {
  const info = await infoOf(node);
  const [commits, fsyncs] = [Number(info.journal_commits), Number(info.journal_fsyncs)];
  return { commits, fsyncs };
}

test('--fsync always: each commit is one fsync, and many requests share one', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node', '--fsync', 'always');
  assert.deepEqual(await journal(node), { commits: 0, fsyncs: 0 });
  await node.client.set('one', 'write');
  assert.deepEqual(await journal(node), { commits: 1, fsyncs: 1 });
  for (const pipeline of await writeTogether(t, node)) {
    await pipeline.drained();
    assert.deepEqual([...pipeline.statuses], [[201, WRITES]]);
  }
  const { commits, fsyncs } = await journal(node);
  t.diagnostic(`${CONNECTIONS * WRITES} writes, ${commits} commits`);
  assert.equal(fsyncs, commits);
  assert.ok(commits * 5 < CONNECTIONS * WRITES, `${commits} commits`);
});

test('with the other fsync policies a commit does not wait for an fsync', async (t) => {
  const cluster = await Cluster.create(t);
  for (const policy of ['everysec', 'no']) {
    const node = await cluster.start(policy, '--fsync', policy);
    await node.client.set('one', 'write');
    if (policy === 'everysec') await until('it was', async () => (await journal(node)).fsyncs === 1);
    else assert.equal((await journal(node)).fsyncs, 0);
    assert.equal((await journal(node)).commits, 1);
  }
});

for (const [point, there] of [
  ['journal-append', 'nothing of them is there'],
  ['journal-appended', 'the whole turn is there'],
] as const) {
  test(`killed at ${point}, none of the requests that share the commit is answered, and ${there}`, async (t) => {
    const cluster = await Cluster.create(t);
    const faults = cluster.data('faults.json');
    await writeFile(faults, '{}');
    const node = await cluster.startWith({ PSYNCD_FAULTS: faults }, 'node', '--fsync', 'always');
    await node.client.set('first', 'entry');
    const { runId, offset } = await node.client.replication();
    await writeFile(faults, JSON.stringify({ [point]: 'kill' }));
    const pipelines = await writeTogether(t, node);
    await until('it has been killed', () => node.process.signalCode !== null);
    await until('all notice', () => pipelines.every(({ closed }) => closed));
    assert.equal(
      pipelines.reduce((sum, { answered }) => sum + answered, 0),
      0,
    );
    const again = await cluster.start('node', '--fsync', 'always');
    assert.equal(again.ready.runId, runId);
    assert.equal(again.ready.offset > offset, point === 'journal-appended');
    const { keys } = await again.client.digest();
    if (point === 'journal-append') assert.equal(keys, 1);
    else assert.ok(keys > 2, `${keys} keys`);
  });
}
