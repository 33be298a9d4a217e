/** `--archive-to` and `psyncd restore --to-…` with real nodes. */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { failed, json, psyncd } from '../support/backups.ts';
import { Cluster, converged, writeMany } from '../support/cluster.ts';
import { scraped, valueIn } from '../support/exposition.ts';
import { seeded } from '../support/random.ts';

/** More than one segment. */
const LARGE = Array.from({ length: 30 }, (_, index) => `large${index}`);

/** Waits until the archive has everything that the node has. */
async function archived(node: ChildNode): Promise<void> {
  await until('everything is archived', async () => {
    const metrics = await scraped(node.url);
    const success = valueIn(metrics, 'psyncd_archive_last_success_timestamp_seconds') ?? 0;
    return valueIn(metrics, 'psyncd_archive_lag_bytes') === 0 && success > 0;
  });
}

/** Waits until a target has a base: what is written then goes into segments. */
async function hasBase(target: string): Promise<void> {
  await until('there is a base', () =>
    readdirSync(target, { recursive: true }).some((name) => String(name).endsWith('.db')),
  );
}

/** Restores, and starts a node there. @returns its digest, and what the command has said */
async function restored(
  cluster: Cluster,
  name: string,
  target: string,
  ...goal: string[]
): Promise<{ digest: string; outcome: Record<string, unknown> }> {
  const outcome = json(await psyncd(['restore', target, cluster.data(name), ...goal, '--json']));
  const node = await cluster.start(name);
  const { digest } = await node.client.digest();
  await node.stop();
  return { digest, outcome };
}

test('a node that was killed while it archived gives back each of its positions, and what it had at a time', async (t) => {
  const cluster = await Cluster.create(t);
  const target = cluster.data('target');
  mkdirSync(target);
  const flags = ['--archive-to', target, '--cluster', 'shop'];
  const first = await cluster.start('node', ...flags);
  await hasBase(target);
  await writeMany(first, 'k', 20);
  await first.client.set('expires', 'later', { ttl: 3600 });
  const one = await first.client.digest();
  // The name of a base has whole seconds, so what it has counts as written in its last millisecond.
  const over = Date.now() + 1_000;
  await until('the second is over', () => Date.now() > over);
  const time = new Date().toISOString();
  await until('the time is over', () => Date.now() > Date.parse(time) + 20);
  const writing = Promise.allSettled(LARGE.map((key) => first.client.set(key, 'x'.repeat(500_000))));
  await until('a segment is there', () =>
    readdirSync(target, { recursive: true }).some((name) => String(name).endsWith('.zst')),
  );
  await first.stop('SIGKILL');
  await writing;
  // An archive may have both kinds of segments.
  const second = await cluster.restart('node', first, ...flags, '--archive-compress');
  await writeMany(second, 'late', 5);
  await archived(second);
  const two = await second.client.digest();
  await second.stop();
  const atOne = await restored(cluster, 'one', target, '--to-position', one.position);
  assert.deepEqual([atOne.digest, (atOne.outcome.backup as { keys: number }).keys], [one.digest, one.keys]);
  assert.equal((await restored(cluster, 'time', target, '--to-time', time)).digest, one.digest);
  const atTwo = await restored(cluster, 'two', target, '--to-position', two.position);
  assert.equal(atTwo.digest, two.digest);
  const { runId, offset } = atTwo.outcome.backup as { runId: string; offset: number };
  assert.equal(`${runId}:${offset}`, two.position);
  assert.ok(!second.log.includes('archive-failed'), second.log);
});

test('the archive of a right guess is as long as that of a wrong one, unless --archive-compress was given', async (t) => {
  const cluster = await Cluster.create(t);
  const { random, seed } = seeded();
  t.diagnostic(`seed ${seed}`);
  const text = (): string =>
    Array.from({ length: 3_000 }, () => 'abcdefgh'[Math.floor(random() * 8)]).join('');
  const secret = text();
  const lengthOf = async (name: string, guess: string, ...flags: string[]): Promise<number> => {
    const target = cluster.data(`${name}-target`);
    mkdirSync(target);
    const node = await cluster.start(name, '--archive-to', target, ...flags);
    await hasBase(target);
    await node.client.batch([
      { op: 'set', key: 'theirs:1', value: secret },
      { op: 'set', key: 'mine:1', value: guess },
    ]);
    await archived(node);
    const free = valueIn(await scraped(node.url), 'psyncd_disk_free_bytes') as number;
    assert.equal(free % (1024 * 1024), 0);
    const names = readdirSync(target, { recursive: true }).map(String);
    const segments = names.filter((each) => each.endsWith('.zst'));
    assert.equal(segments.length, 1);
    return statSync(join(target, segments[0] as string)).size;
  };
  const [right, wrong, compressed] = await Promise.all([
    lengthOf('right', secret),
    lengthOf('wrong', text()),
    lengthOf('compressed', secret, '--archive-compress'),
  ]);
  assert.equal(right, wrong);
  assert.ok(right > 6_000 && compressed < 3_000, `${right} and ${compressed} bytes`);
});

test('a master and its replica archive into one target, and a promotion leaves no gap', async (t) => {
  const cluster = await Cluster.create(t);
  const target = cluster.data('target');
  mkdirSync(target);
  const { master, replica } = await cluster.linked(['--archive-to', target], ['--archive-to', target]);
  await writeMany(master, 'k', 10);
  await converged(master, replica);
  await archived(master);
  await archived(replica);
  await master.stop('SIGKILL');
  await replica.client.promote();
  await writeMany(replica, 'new', 10);
  await archived(replica);
  const { digest, position } = await replica.client.digest();
  await replica.stop();
  const found = await restored(cluster, 'restored', target, '--to-position', position);
  assert.equal(found.digest, digest);
  assert.equal((await restored(cluster, 'now', target, '--to-time', '2200-01-01T00:00:00Z')).digest, digest);
});

test('what a node has written just before it is told to stop can be restored', async (t) => {
  const cluster = await Cluster.create(t);
  const target = cluster.data('target');
  mkdirSync(target);
  const node = await cluster.start('node', '--archive-to', target);
  await writeMany(node, 'k', 10);
  await archived(node);
  await writeMany(node, 'last', 10);
  const { digest, position } = await node.client.digest();
  const { archive } = (await node.client.replication()) as { archive: Record<string, unknown> };
  assert.deepEqual([archive.hasBase, archive.failing, archive.restarts], [true, null, 0]);
  await node.stop();
  assert.equal((await restored(cluster, 'restored', target, '--to-position', position)).digest, digest);
});

test('a target that is away does not hold the stop of a node', async (t) => {
  const cluster = await Cluster.create(t);
  const target = cluster.data('target');
  mkdirSync(target);
  const node = await cluster.start('node', '--archive-to', target);
  await archived(node);
  rmSync(target, { recursive: true });
  await writeMany(node, 'last', 10);
  await until('the target was asked', async () => {
    const { archive } = (await node.client.replication()) as {
      archive: { failing: { code: string } | null };
    };
    return archive.failing?.code === 'NO_SUCH_BUCKET';
  });
  assert.match(
    (await psyncd(['info', '--node', node.url])).stdout,
    /^archive .* behind, failing: NO_SUCH_BUCKET$/m,
  );
  await node.stop();
  assert.ok(node.log.includes('archive-failed'), node.log);
  assert.ok(!node.log.includes('stopped-late'), node.log);
});

test('a node refuses to archive into its own folder, and into what is no target', async (t) => {
  const cluster = await Cluster.create(t);
  const serve = (...flags: string[]) =>
    psyncd(['serve', '--port', '0', '--data', cluster.data('node'), ...flags]);
  failed(
    await serve('--archive-to', join(cluster.data('node'), 'archive')),
    1,
    /--archive-to: .* is in .*, the data folder/,
  );
  failed(await serve('--archive-to', 'ftp://x/y'), 1, /--archive-to: ftp/);
});
