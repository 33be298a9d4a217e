/** An archive and backups of a node under many writes: a restore has what a replica had when it stopped, by its position and by the time. */
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { Dataset } from '../../bench/dataset.ts';
import { Scope } from '../../bench/scope.ts';
import { SteadyWriter } from '../../bench/steady-writer.ts';
import { until } from '../../src/cli/until.ts';
import { json, psyncd } from '../support/backups.ts';
import { samePosition } from '../support/cluster.ts';
import { MAIN } from '../support/main-file.ts';
import { seeded } from '../support/random.ts';
import { metric } from '../support/snapshot-downloads.ts';

/** Writes a second that are asked for; a slow machine answers fewer. */
const RATE = 10_000;
const KEYS = 5_000;
/** Times of the commits within which an archive does not tell them apart, in milliseconds, with some more. */
const APART_MS = 50;

test('under 10,000 writes a second, a restore has what a stopped replica has, by its position and by the time', async (t) => {
  const { random, seed } = seeded();
  t.diagnostic(`seed ${seed}`);
  const scope = await Scope.open(new Dataset(MAIN));
  t.after(() => scope.close());
  const target = join(scope.folder, 'target');
  mkdirSync(target);
  const to = ['--archive-to', target, '--backup-to', target, '--backup-every', '2s', '--cluster', 'shop'];
  const { node: master } = await scope.node(...to);
  const replicaOf = master.url.replace('http', 'ws');
  const [one, two] = await Promise.all([
    scope.node('--replica-of', replicaOf),
    scope.node('--replica-of', replicaOf),
  ]);
  await samePosition(master, one.node, two.node);
  const writing = { port: master.port, rate: RATE, keys: KEYS, protocol: 'put' } as const;
  const written: number[] = [];
  const load = async (during: () => Promise<void>): Promise<void> => {
    const writer = await SteadyWriter.start(scope, writing);
    await during();
    const { last, late } = await writer.finish();
    written.push(last.writes + late);
    t.diagnostic(`${Math.round(last.writes / last.seconds)} writes a second`);
  };

  // One replica dies at any moment, so its position is any.
  await load(async () => {
    await pause(2_000 + random() * 4_000);
    await one.node.stop('SIGKILL');
    await pause(3_000);
  });
  // The other one stops between two writes, so that there is a time at which it had everything.
  await samePosition(master, two.node);
  await pause(APART_MS);
  const time = new Date().toISOString();
  await two.node.stop();
  await pause(APART_MS);
  await load(() => pause(3_000));
  await until(
    'everything is archived',
    async () => (await metric(master, 'psyncd_archive_lag_bytes')) === 0,
    60_000,
  );
  assert.equal(await metric(master, 'psyncd_archive_restarts_total'), 0);
  await master.stop();

  for (const [{ data }, goal] of [
    [one, null],
    [two, ['--to-time', time]],
  ] as const) {
    const { runId, offset, digest } = json(await psyncd(['verify', data, '--json']));
    const position = `${runId}:${offset}`;
    const wanted = goal ?? ['--to-position', position];
    const args = ['restore', target, `${data}-restored`, ...wanted, '--json'];
    const began = performance.now();
    const outcome = json(await psyncd(args)) as {
      backup: { runId: string; offset: number; digest: string };
      archive: { base: string; segments: number };
    };
    const { backup, archive } = outcome;
    t.diagnostic(
      `${wanted.join(' ')}: ${archive.base} and ${archive.segments} segments in ${Math.round(performance.now() - began)} ms`,
    );
    const found = [`${backup.runId}:${backup.offset}`, backup.digest];
    assert.deepEqual(found, [position, digest], `repeat with PSYNCD_SEED=${seed}`);
  }
  t.diagnostic(`${written.join(' and ')} writes`);
});
