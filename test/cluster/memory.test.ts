/** What a burst of writes takes is given back. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { fill } from '../../bench/fill.ts';
import { pidOf } from '../../bench/requests.ts';
import { residentBytes } from '../../bench/resident-bytes.ts';
import { keyAt, VALUE } from '../../bench/workload.ts';
import { until } from '../../src/cli/until.ts';
import { Cluster, textOf } from '../support/cluster.ts';

const ENTRIES = 300_000;

test('with nothing to do, a node gives back what a burst of writes took, and answers as before', {
  skip: process.platform !== 'linux',
}, async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const pid = pidOf(node);
  await fill(node, ENTRIES);
  const after = residentBytes(pid);
  await until('a third of it has been given back', () => residentBytes(pid) < (after * 2) / 3, 60_000);
  assert.equal(await textOf(node, keyAt(ENTRIES - 1)), VALUE);
});
