/** A restore that is killed at any step leaves what was there or what the backup holds, and the next one works. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { failed, makeBackup, psyncd, reached } from '../support/backups.ts';
import { Cluster, writeMany } from '../support/cluster.ts';

/** The restore has the last points behind it when it is done. */
const DONE_AT = ['restore-switched', 'restore-end'];

/** @returns the digest of a whole folder; null: there is none */
async function digestOf(folder: string): Promise<string | null> {
  const { code, stdout } = await psyncd(['verify', folder, '--json']);
  const { digest, detail } = JSON.parse(stdout) as { digest?: string; detail?: string };
  if (code === 0) return digest ?? null;
  assert.match(detail ?? '', /is no data folder of psyncd|there is no /);
  return null;
}

/** Starts a node on a copy of the names in the folder: it puts in order what the restore has left, and shares no file. */
async function startsAlone(
  cluster: Cluster,
  data: string,
  digest: string | null,
  point: string,
): Promise<void> {
  const copy = cluster.data('copy');
  // The links among the files stay.
  execFileSync('cp', ['-a', data, copy]);
  const node = await cluster.start('copy');
  assert.equal((await node.client.digest()).digest, digest, point);
  await node.stop();
  for (const entry of await readdir(copy, { recursive: true, withFileTypes: true })) {
    assert.notEqual(entry.name, 'restoring', point);
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile()) assert.equal(statSync(path).nlink, 1, `${point}: ${path}`);
  }
  rmSync(copy, { recursive: true });
}

for (const isForced of [false, true]) {
  const into = isForced ? 'over the files of a node' : 'into a new folder';
  test(`a restore ${into} that is killed anywhere leaves all or nothing, and works the next time`, async (t) => {
    const cluster = await Cluster.create(t);
    const [file, faults, trace] = ['backup.db', 'faults.json', 'trace'].map((name) => cluster.data(name));
    assert.ok(file !== undefined && faults !== undefined && trace !== undefined);
    const { digest } = await makeBackup(file);
    const node = await cluster.start('before');
    await writeMany(node, 'k', 5);
    const before = isForced ? (await node.client.digest()).digest : null;
    await node.stop('SIGKILL');
    const data = cluster.data('node');
    const begin = (): void => {
      rmSync(data, { recursive: true, force: true });
      if (isForced) cpSync(cluster.data('before'), data, { recursive: true });
    };
    const run = (fault: Readonly<Record<string, string>>, ...flags: string[]): ReturnType<typeof psyncd> => {
      writeFileSync(faults, JSON.stringify(fault));
      return psyncd(['restore', file, data, ...flags], { PSYNCD_FAULTS: faults });
    };
    const force = isForced ? ['--force'] : [];
    begin();
    assert.equal((await run({ trace }, ...force)).code, 0);
    const points = reached(readFileSync(trace, 'utf8'));
    assert.ok(points.length > 10 && points.some((point) => point.startsWith('restore-end')), points.join());
    for (const point of points) {
      begin();
      const [name = '', count] = point.split('#');
      const { code, stderr } = await run({ [name]: `kill#${count}` }, ...force);
      assert.equal(code, null, `${point}: ${stderr}`);
      const isDone = DONE_AT.includes(name);
      assert.equal(await digestOf(data), isDone ? digest : before, point);
      if (isForced) await startsAlone(cluster, data, isDone ? digest : before, point);
      // A start never makes an empty node of what is left.
      if (before === null && !isDone && existsSync(data) && (await readdir(data)).length > 0) {
        const interrupted = /a restore into it was interrupted, or is at work; run the restore again/;
        await assert.rejects(cluster.start('node'), interrupted, point);
        failed(await psyncd(['verify', data]), 2, interrupted);
        failed(await psyncd(['backup', cluster.data('b.db'), '--data', data]), 1, interrupted);
      }
      const again = await run({}, ...(isDone ? ['--force'] : force));
      assert.equal(again.code, 0, `${point}: ${again.stderr}`);
      assert.equal(await digestOf(data), digest, point);
      const names = (await readdir(data)).map((each) => each.replace(/\d+/, 'n'));
      const asides = names.filter((each) => each === 'replaced-n').length;
      assert.equal(asides, Number(isForced) + Number(isDone), `${point}: ${names}`);
      const left = names.filter((each) => each !== 'replaced-n').sort();
      assert.deepEqual(left, ['keyspace-n.db', 'psyncd.db'], point);
      if (isForced && !isDone) {
        const aside = (await readdir(data)).find((each) => each.startsWith('replaced-')) ?? '';
        assert.equal(await digestOf(join(data, aside)), before, point);
      }
    }
    const restored = await cluster.start('node');
    assert.equal((await restored.client.digest()).digest, digest);
  });
}

test('a damaged psyncd.db keeps its WAL when the restore over it is killed', async (t) => {
  const cluster = await Cluster.create(t);
  const [file, data, faults] = ['backup.db', 'node', 'faults.json'].map((name) => cluster.data(name));
  assert.ok(file !== undefined && data !== undefined && faults !== undefined);
  await makeBackup(file);
  // The WAL belongs to a later state than the file beside it.
  await (await cluster.start('node')).stop();
  const old = readFileSync(join(data, 'psyncd.db'));
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    const node = await cluster.start('node');
    await writeMany(node, 'k', 5);
    await node.stop(signal);
  }
  writeFileSync(join(data, 'psyncd.db'), old);
  const wal = join(data, 'psyncd.db-wal');
  const written = readFileSync(wal);
  writeFileSync(faults, JSON.stringify({ 'restore-switch': 'kill' }));
  const outcome = await psyncd(['restore', file, data, '--force'], { PSYNCD_FAULTS: faults });
  assert.equal(outcome.code, null, outcome.stderr);
  assert.ok(!existsSync(wal));
  await assert.rejects(cluster.start('node'), /belongs to another state of it/);
  assert.deepEqual(readFileSync(wal), written);
  const again = await psyncd(['restore', file, data, '--force', '--json']);
  assert.equal(again.code, 0, again.stderr);
  const { replaced } = JSON.parse(again.stdout) as { replaced: string };
  assert.deepEqual(readFileSync(join(replaced, 'psyncd.db-wal')), written);
});
