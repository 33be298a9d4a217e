/** SIGTERM: no more requests, the turn finished, everything in the files, exit code 0, in time. */
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import test from 'node:test';
import { loadPlaces } from '../../src/cli/places.ts';
import { until } from '../../src/cli/until.ts';
import { Cluster, converged, textOf } from '../support/cluster.ts';

test('SIGTERM in the middle of writes, an import and a replica: exit code 0, and nothing answered is lost', async (t) => {
  const cluster = await Cluster.create(t);
  let master = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  const { client, url } = master;
  let answered = 0;
  const writing = (async () => {
    for (let number = 1; ; number += 1) {
      await client.set('counter', String(number));
      answered = number;
    }
  })().catch(() => undefined);
  const importing = fetch(`${url}/v1/import`, { method: 'POST', body: new Uint8Array(loadPlaces().ndjson) })
    .then(async (response) => ({ status: response.status, body: await response.json() }))
    .catch(() => null);
  await until(
    'writes are under way',
    async () => answered > 20 && (await client.replication()).offset > 1_000_000,
  );

  const code = await master.stop('SIGTERM');
  assert.equal(code, 0);
  assert.match(master.log, /"msg":"stopped"/);
  await writing;
  const outcome = await importing;
  // Either the answer came (503, with how much is in), or the connection was given up after two seconds.
  if (outcome !== null) {
    const { status, body } = outcome as { status: number; body: { code: string; imported: number } };
    assert.deepEqual({ status, code: body.code }, { status: 503, code: 'SHUTTING_DOWN' });
    assert.ok(body.imported > 0);
  }
  // A clean stop leaves two files: the write-ahead logs are moved into them.
  assert.deepEqual((await readdir(cluster.data('master'))).sort(), ['keyspace-1.db', 'psyncd.db']);

  master = await cluster.restart('master', master);
  const found = Number(await textOf(master, 'counter'));
  assert.ok(found >= answered, `counter is ${found}, answered was ${answered}`);
  await converged(master, replica);
  assert.equal(await replica.stop('SIGINT'), 0);
  assert.equal(await master.stop('SIGINT'), 0);
});

test('a node whose starter has gone ends by itself', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const exited = new Promise((resolve) => node.process.once('exit', resolve));
  node.process.disconnect();
  assert.equal(await exited, 0);
});
