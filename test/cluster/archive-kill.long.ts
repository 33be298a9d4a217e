/** A node that archives into a bucket with errors and is killed again and again: each position that it has answered can be restored. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { until } from '../../src/cli/until.ts';
import { json, psyncd } from '../support/backups.ts';
import { Cluster } from '../support/cluster.ts';
import { BUCKET, FakeS3 } from '../support/fake-s3.ts';
import { seeded } from '../support/random.ts';
import { metric } from '../support/snapshot-downloads.ts';

const ROUNDS = 4;
const TARGET = `s3://${BUCKET}/prod`;

test('kill -9 of a node while it archives, and errors of the bucket, lose no position', async (t) => {
  const { random, seed } = seeded();
  t.diagnostic(`seed ${seed}`);
  const fake = await FakeS3.start(t);
  const cluster = await Cluster.create(t);
  const flags = ['--archive-to', TARGET, '--cluster', 'shop'];
  let node = await cluster.startWith(fake.env, 'node', ...flags);
  await until('there is a base', () => [...fake.objects.keys()].some((key) => key.endsWith('.db')));
  fake.fault = ({ method }) =>
    random() < 0.2 ? (method === 'PUT' ? 'lost-answer' : { status: 500, text: 'InternalError' }) : null;
  const told: { readonly position: string; readonly digest: string }[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const size = 20_000 + Math.floor(random() * 100_000);
    for (let index = 0; index < 60; index += 1)
      await node.client.set(`k${round}-${index % 20}`, 'x'.repeat(size));
    const { position, digest } = await node.client.digest();
    told.push({ position, digest });
    const writing = Promise.allSettled(
      Array.from({ length: 30 }, (_, index) => node.client.set(`lost${index}`, 'y'.repeat(size))),
    );
    const segments = fake.objects.size;
    // The node dies while a segment is on its way, or at any other moment.
    if (random() < 0.5) await until('something was archived', () => fake.objects.size > segments);
    await node.stop('SIGKILL');
    await writing;
    node = await cluster.startWith(fake.env, 'node', '--port', String(node.port), ...flags);
  }
  fake.fault = () => null;
  await until(
    'everything is archived',
    async () => (await metric(node, 'psyncd_archive_lag_bytes')) === 0,
    90_000,
  );
  assert.equal(await metric(node, 'psyncd_archive_restarts_total'), 0);
  await node.stop();
  for (const [index, { position, digest }] of told.entries()) {
    const name = `restored${index}`;
    const args = ['restore', TARGET, cluster.data(name), '--to-position', position, '--json'];
    const { backup } = json(await psyncd(args, fake.env)) as { backup: { digest: string } };
    assert.equal(backup.digest, digest, `${position}; repeat with PSYNCD_SEED=${seed}`);
  }
  assert.equal([...fake.objects.keys()].filter((key) => key.endsWith('.db')).length, 1);
});
