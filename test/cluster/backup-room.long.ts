/** Commands that write large files leave a part of the disk free, because a running node may have its data there. */
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { DISK_RESERVE_BYTES } from '../../src/node/head/journal-room.ts';
import { contents, failed, makeBackup, makeKeyspace, type Outcome, psyncd } from '../support/backups.ts';
import { Cluster, temporaryFolder, writeMany } from '../support/cluster.ts';
import { MAIN } from '../support/main-file.ts';
import { snapshotServer } from '../support/snapshot-server.ts';

const MIB = 1024 ** 2;
const NO_ROOM = /no room in \S+ for \d+ bytes: \d+ are free, and 67108864 have to stay free/;
const ENTRIES = Array.from({ length: 24 }, (_, index) => ({
  key: `key/${index}`,
  value: Buffer.alloc(MIB, String(index)),
}));

/** Mounts a small disk for one command, shows what it has left there, and gives its exit code. */
const SCRIPT = `mount -t tmpfs -o size=$1 none "$2" || exit 99
disk=$2; shift 2; "$@"; code=$?
ls -A "$disk" >&3
exit $code`;

/** Whether this user may mount a disk in a namespace of their own. */
function mayMount(): boolean {
  try {
    execFileSync('unshare', ['-rm', 'mount', '-t', 'tmpfs', 'none', '/tmp'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

interface OnDisk extends Outcome {
  /** What is on the disk after the command. */
  readonly left: string;
}

/** Runs a command whose files go to a disk. @param bytes of the disk @param disk an empty folder */
async function onDisk(bytes: number, disk: string, args: readonly string[]): Promise<OnDisk> {
  return new Promise((resolve) => {
    const left = `${disk}.left`;
    writeFileSync(left, '');
    const child = execFile(
      'bash',
      [
        '-c',
        'exec 3>"$0"; exec unshare -rm bash -c "$@"',
        left,
        SCRIPT,
        'bash',
        String(bytes),
        disk,
        process.execPath,
        MAIN,
        ...args,
      ],
      (_error, stdout, stderr) => {
        resolve({
          code: child.exitCode,
          stdout,
          stderr,
          left: execFileSync('cat', [left], { encoding: 'utf8' }),
        });
      },
    );
  });
}

/** Checks that a command ends on disks that are too small for it and the reserve, leaves nothing there, and works on a larger one. */
async function needs(
  t: TestContext,
  small: number,
  large: number,
  argsFor: (disk: string) => readonly string[],
): Promise<void> {
  const disk = join(await temporaryFolder(t), 'disk');
  mkdirSync(disk);
  for (const bytes of [small, DISK_RESERVE_BYTES + small]) {
    const outcome = await onDisk(bytes, disk, argsFor(disk));
    failed(outcome, 1, NO_ROOM);
    assert.equal(outcome.left, '');
  }
  const outcome = await onDisk(DISK_RESERVE_BYTES + large, disk, argsFor(disk));
  assert.equal(outcome.code, 0, outcome.stderr);
  assert.notEqual(outcome.left, '');
}

const CANNOT = mayMount() ? false : 'this user may not mount a disk';

test('a backup of a running node leaves the reserve of the disk free', { skip: CANNOT }, async (t) => {
  const folder = await temporaryFolder(t);
  makeKeyspace(join(folder, 'keyspace.db'), ENTRIES);
  const bytes = await contents(folder);
  const { url } = await snapshotServer(
    t,
    Buffer.from(bytes.get(join(folder, 'keyspace.db')) ?? '', 'latin1'),
  );
  await needs(t, 12 * MIB, 64 * MIB, (disk) => ['backup', join(disk, 'b.db'), '--node', url]);
});

test('a backup of a folder leaves the reserve free while it copies, and while it applies the journal', {
  skip: CANNOT,
}, async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node', '--apply-interval', '1h');
  await writeMany(node, 'k', 24, 'x'.repeat(MIB / 2));
  await node.stop('SIGKILL');
  const data = cluster.data('node');
  // The smaller of the disks has no room for a copy of the journal, the next one none for what is applied.
  await needs(t, 6 * MIB, 96 * MIB, (disk) => ['backup', join(disk, 'b.db'), '--data', data]);
  await needs(t, 18 * MIB, 96 * MIB, (disk) => ['backup', join(disk, 'b.db'), '--data', data]);
});

test('a backup of a keyspace file, and a restore, leave the reserve free', { skip: CANNOT }, async (t) => {
  const folder = await temporaryFolder(t);
  const [keyspace, backup] = [join(folder, 'keyspace.db'), join(folder, 'backup.db')];
  makeKeyspace(keyspace, ENTRIES);
  await makeBackup(backup, ENTRIES);
  for (const file of [(disk: string) => join(disk, 'b.db'), (disk: string) => `file://${disk}`])
    await needs(t, 12 * MIB, 64 * MIB, (disk) => ['backup', file(disk), '--data', keyspace]);
  await needs(t, 12 * MIB, 64 * MIB, (disk) => ['restore', backup, join(disk, 'new')]);
  await needs(t, 12 * MIB, 64 * MIB, (disk) => ['restore', backup, disk]);
});

test('a snapshot that a node says is longer than any disk is refused before its first byte', async (t) => {
  const folder = await temporaryFolder(t);
  const backups = join(folder, 'backups');
  await mkdir(backups);
  for (const length of ['1000000000000000', String(Number.MAX_SAFE_INTEGER)]) {
    const { url } = await snapshotServer(t, Buffer.from('x'), { length });
    const message = /no room in \S+ for \S+ bytes: \d+ are free, and 67108864 have to stay free/;
    failed(await psyncd(['backup', join(backups, 'b.db'), '--node', url]), 1, message);
    assert.deepEqual(await readdir(backups), []);
  }
});
