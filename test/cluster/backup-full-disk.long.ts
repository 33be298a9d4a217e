/** The disk is full in the middle of a backup, a check or a restore: one line, and everything is what it was. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { hash } from 'node:crypto';
import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir, readdir } from 'node:fs/promises';
import test from 'node:test';
import { contents, failed, json, makeBackup, type Outcome, psyncd, reached } from '../support/backups.ts';
import { Cluster, writeMany } from '../support/cluster.ts';
import { MAIN } from '../support/main-file.ts';

/** Lengths that files of the command may have, in KiB: as if the disk were full behind them. */
const LIMITS = [0, 1, 4, 16, 24, 32, 48, 64, 96, 128, 160, 256, 1_024];

/** All files below a folder, as short text; SQLite leaves empty companion files where it had no room. */
async function filesIn(folder: string): Promise<readonly string[]> {
  const files = [...(await contents(folder))].filter(
    ([path, bytes]) => !path.endsWith('-shm') && !(path.endsWith('-wal') && bytes === ''),
  );
  return files.map(([path, bytes]) => `${path} ${hash('sha256', bytes, 'hex')}`);
}

/** Runs a command none of whose files may be longer. */
function within(kib: number, args: readonly string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = execFile(
      'bash',
      ['-c', `ulimit -f ${kib}; exec "$0" "$@"`, process.execPath, MAIN, ...args],
      (_error, stdout, stderr) => resolve({ code: child.exitCode, stdout, stderr }),
    );
  });
}

/**
 * Runs a command with more and more room until it works.
 * @param unchanged checks that a command that has failed has left nothing
 */
async function grows(
  args: readonly string[],
  code: number,
  unchanged: (what: string) => Promise<void>,
): Promise<void> {
  let failures = 0;
  for (const kib of LIMITS) {
    const outcome = await within(kib, args);
    if (outcome.code === 0) break;
    failed(outcome, code, /no space left on the device|EFBIG|SQLITE_/);
    await unchanged(`${args.join(' ')} with ${kib} KiB`);
    failures += 1;
  }
  assert.ok(failures > 2 && failures < LIMITS.length, `${args.join(' ')}: ${failures}`);
}

test('a backup for which there is no room leaves nothing, wherever the room ends', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await writeMany(node, 'k', 5, 'x'.repeat(20_000));
  const backups = cluster.data('backups');
  await mkdir(backups);
  const nothing = async (what: string): Promise<void> => assert.deepEqual(await readdir(backups), [], what);
  const target = `${backups}/b.db`;
  await grows(['backup', target, '--node', node.url], 1, nothing);
  rmSync(target);
  await node.stop();
  const data = cluster.data('node');
  const before = await filesIn(data);
  await grows(['backup', target, '--data', data], 1, async (what) => {
    await nothing(what);
    assert.deepEqual(await filesIn(data), before, what);
  });
});

test('a restore for which there is no room leaves the folder as it was, wherever the room ends', async (t) => {
  const cluster = await Cluster.create(t);
  const file = cluster.data('backup.db');
  const { digest } = await makeBackup(file);
  const node = await cluster.start('node');
  await writeMany(node, 'k', 5);
  await node.stop();
  const data = cluster.data('node');
  const before = await filesIn(data);
  await grows(['restore', file, data, '--force'], 1, async (what) => {
    assert.deepEqual(await filesIn(data), before, what);
  });
  await grows(['restore', file, cluster.data('new')], 1, async (what) => {
    assert.ok(!existsSync(cluster.data('new')), what);
  });
  for (const name of ['node', 'new'])
    assert.equal(json(await psyncd(['verify', cluster.data(name), '--json'])).digest, digest);
});

test('a check needs no room for a backup, and says that it cannot tell if it has none for a folder', async (t) => {
  const cluster = await Cluster.create(t);
  const file = cluster.data('backup.db');
  await makeBackup(file);
  assert.match((await within(0, ['verify', file])).stdout, /^whole: 300 entries/);
  const node = await cluster.start('node', '--apply-interval', '1h');
  await writeMany(node, 'k', 5);
  await node.stop('SIGKILL');
  for (const kib of [0, 8]) {
    const outcome = await within(kib, ['verify', cluster.data('node')]);
    failed(outcome, 2, /no space left|cannot be opened|cannot be checked/);
  }
  assert.match((await psyncd(['verify', cluster.data('node')])).stdout, /^whole: 5 entries/);
});

for (const isForced of [false, true]) {
  const into = isForced ? 'over the files of a node' : 'into a new folder';
  test(`a restore ${into} with a full disk anywhere leaves the folder as it was, and works the next time`, async (t) => {
    const cluster = await Cluster.create(t);
    const [file, faults, trace] = ['backup.db', 'faults.json', 'trace'].map((name) => cluster.data(name));
    assert.ok(file !== undefined && faults !== undefined && trace !== undefined);
    const { digest } = await makeBackup(file);
    const node = await cluster.start('before');
    await writeMany(node, 'k', 5);
    await node.stop();
    const data = cluster.data('node');
    const begin = async (): Promise<readonly string[] | null> => {
      rmSync(data, { recursive: true, force: true });
      if (!isForced) return null;
      cpSync(cluster.data('before'), data, { recursive: true });
      return filesIn(data);
    };
    const run = (fault: Readonly<Record<string, string>>): Promise<Outcome> => {
      writeFileSync(faults, JSON.stringify(fault));
      const flags = isForced ? ['--force'] : [];
      return psyncd(['restore', file, data, ...flags, '--json'], { PSYNCD_FAULTS: faults });
    };
    await begin();
    json(await run({ trace }));
    const points = reached(readFileSync(trace, 'utf8'));
    const done: string[] = [];
    for (const point of points) {
      const before = await begin();
      const [name = '', count] = point.split('#');
      const outcome = await run({ [name]: `ENOSPC#${count}` });
      if (outcome.code !== 0) {
        failed(outcome, 1, /injected|no space left/);
        if (before === null) assert.ok(!existsSync(data), point);
        else assert.deepEqual(await filesIn(data), before, point);
        json(await run({}));
      } else done.push(point);
      assert.equal(json(await psyncd(['verify', data, '--json'])).digest, digest, point);
    }
    assert.ok(points.length - done.length > 10, `it fails at ${points.join()}, but not at ${done.join()}`);
  });
}
