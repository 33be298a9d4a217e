/** What a burst of writes takes is given back. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import test from 'node:test';
import { until } from '../../src/cli/until.ts';
import { Cluster, textOf } from '../support/cluster.ts';

const ENTRIES = 300_000;
const LINES = 1_000;
const VALUE = 'v'.repeat(100);

function* ndjson(): Generator<string> {
  for (let from = 0; from < ENTRIES; from += LINES) {
    let lines = '';
    for (let key = from; key < from + LINES; key += 1) lines += `{"key":"k${key}","value":"${VALUE}"}\n`;
    yield lines;
  }
}

test('with nothing to do, a node gives back what a burst of writes took, and answers as before', {
  skip: process.platform !== 'linux',
}, async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const residentKib = async (): Promise<number> => {
    const status = await readFile(`/proc/${node.process.pid}/status`, 'utf8');
    return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]);
  };
  const body = Readable.from(ndjson()).map((lines: string) => Buffer.from(lines));
  await node.client.import(Readable.toWeb(body) as ReadableStream<Uint8Array>);
  const after = await residentKib();
  await until(
    'a third of it has been given back',
    async () => (await residentKib()) < (after * 2) / 3,
    60_000,
  );
  assert.equal(await textOf(node, `k${ENTRIES - 1}`), VALUE);
});
