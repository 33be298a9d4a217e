/** What is no whole backup, no usable folder or no room for `psyncd backup`, `verify` and `restore`: one line, and nothing is changed. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { chmod, chown, mkdir, readdir, rename, rm, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { gzipSync } from 'node:zlib';
import { contents, ENTRIES, failed, json, makeBackup, type Outcome, psyncd } from '../support/backups.ts';
import { Cluster, converged, temporaryFolder, textOf, writeMany } from '../support/cluster.ts';
import { MAIN } from '../support/main-file.ts';

/** Runs a command as a user to whom nothing belongs, if this user may do everything. */
function asNobody(args: readonly string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    const user = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};
    const child = execFile(process.execPath, [MAIN, ...args], user, (_error, stdout, stderr) =>
      resolve({ code: child.exitCode, stdout, stderr }),
    );
  });
}

test('a backup never replaces a file unless --force says so, and in a folder it has a name of its own', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await writeMany(node, 'k', 3);
  const { position } = await node.client.replication();
  await node.stop();
  const data = cluster.data('node');
  const backups = cluster.data('backups');
  await mkdir(backups);
  const { file } = json(await psyncd(['backup', backups, '--data', data, '--json']));
  assert.match(String(file), new RegExp(`/${position.replace(':', '-')}-\\d{8}T\\d{6}Z\\.db$`));
  assert.deepEqual(await readdir(backups), [String(file).split('/').at(-1)]);
  failed(await psyncd(['backup', backups, '--data', data]), 1, /there is .* already; --force replaces it/);
  const other = join(backups, 'other.db');
  writeFileSync(other, 'mine');
  failed(await psyncd(['backup', other, '--data', data]), 1, /there is .*other\.db already/);
  assert.equal(readFileSync(other, 'utf8'), 'mine');
  assert.equal((await psyncd(['backup', other, '--data', data, '--force'])).code, 0);
  assert.match((await psyncd(['verify', other])).stdout, /^whole: 3 entries at /);
  assert.equal((await readdir(backups)).length, 2);
});

test('what a killed backup has left goes with the first backup that is made a day later, which says so', async (t) => {
  const cluster = await Cluster.create(t);
  await (await cluster.start('node')).stop();
  const backups = cluster.data('backups');
  await mkdir(backups);
  const hex = '0123456789abcdef';
  const left = join(backups, `a.db.partial-${hex}`);
  await mkdir(`${left}.folder`);
  const inside = join(`${left}.folder`, 'psyncd.db');
  const others = ['fresh.partial-0000000000000000', 'mine.partial-1234', `a.db.partial-${hex}.txt`];
  for (const path of [left, inside, ...others.map((name) => join(backups, name))]) writeFileSync(path, '');
  const old = new Date(Date.now() - 25 * 3_600_000);
  // Somebody writes to a file deep in a folder that is old; and one is of another user.
  const [used, foreign] = ['used', 'foreign'].map((name) => join(backups, `${name}.partial-${hex}`));
  assert.ok(used !== undefined && foreign !== undefined);
  await mkdir(join(used, 'data'), { recursive: true });
  writeFileSync(join(used, 'data', 'psyncd.db'), '');
  others.push(`used.partial-${hex}`);
  const asRoot = process.getuid?.() === 0;
  if (asRoot) {
    writeFileSync(foreign, '');
    await chown(foreign, 65_534, 65_534);
    await utimes(foreign, old, old);
    others.push(`foreign.partial-${hex}`);
  }
  for (const path of [join(used, 'data'), used]) await utimes(path, old, old);
  for (const path of [left, inside, `${left}.folder`, join(backups, 'mine.partial-1234')])
    await utimes(path, old, old);
  const { code, stderr } = await psyncd(['backup', join(backups, 'b.db'), '--data', cluster.data('node')]);
  assert.equal(code, 0, stderr);
  const gone = [left, `${left}.folder`].map(
    (path) => `psyncd: removed ${path}, which a command that was killed has left`,
  );
  assert.deepEqual(stderr.trim().split('\n'), gone);
  assert.deepEqual((await readdir(backups)).sort(), [...others, 'b.db'].sort());
});

test('a backup may have the longest name that there is, and a longer one is one line', async (t) => {
  const cluster = await Cluster.create(t);
  await (await cluster.start('node')).stop();
  const data = cluster.data('node');
  const backups = cluster.data('backups');
  await mkdir(backups);
  for (const longest of ['x'.repeat(255), '\u{1F4BE}'.repeat(63)]) {
    const { code, stderr } = await psyncd(['backup', join(backups, longest), '--data', data]);
    assert.equal(code, 0, stderr);
  }
  assert.equal((await readdir(backups)).length, 2);
  const deep = join(backups, 'folder/'.repeat(600));
  for (const path of [join(backups, 'x'.repeat(256)), deep]) {
    failed(await psyncd(['backup', path, '--data', data]), 1, /name too long/);
    failed(await psyncd(['backup', join(backups, 'b.db'), '--data', path]), 1, /name too long/);
    failed(await psyncd(['verify', path]), 2, /name too long/);
    failed(await psyncd(['restore', path, cluster.data('new')]), 1, /name too long/);
    failed(await psyncd(['restore', join(backups, 'x'.repeat(255)), path]), 1, /name too long/);
  }
});

test('a backup of a folder is whole whatever times its files have, and is of no time to come', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await writeMany(node, 'k', 3);
  await node.stop();
  const data = cluster.data('node');
  const begin = Date.now();
  for (const [index, ms] of [-1e12, 0, 1e12, 4e12].entries()) {
    const time = new Date(ms);
    for (const name of await readdir(data)) await utimes(join(data, name), time, time);
    const file = cluster.data(`${index}.db`);
    const { commitTime, keys } = json(await psyncd(['backup', file, '--data', data, '--json']));
    assert.equal(keys, 3);
    if (ms < begin) assert.equal(commitTime, Math.max(0, ms));
    else assert.ok(Number(commitTime) >= begin && Number(commitTime) <= Date.now());
    json(await psyncd(['verify', file, '--json']));
  }
});

test('a backup that cannot be made is one line, and leaves nothing', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await writeMany(node, 'k', 3, 'x'.repeat(100_000));
  const data = cluster.data('node');
  const backups = cluster.data('backups');
  await mkdir(backups);
  const target = join(backups, 'b.db');
  failed(await psyncd(['backup', target, '--data', data]), 1, /is in use by another process; .* --node URL/);
  await node.stop();
  const before = await contents(data);
  const noKeys = { AWS_ACCESS_KEY_ID: '', AWS_SECRET_ACCESS_KEY: '' };
  for (const [target, message] of [
    ['s3://bucket/prefix', /needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY/],
    ['gs://bucket/prefix', /a target is a folder, file:\/\/\/FOLDER or s3:\/\/BUCKET\/PREFIX/],
    ['file://host/b.db', /names no file/],
  ] as const) {
    failed(await psyncd(['backup', target, '--data', data], noKeys), 2, message);
  }
  failed(await psyncd(['backup', target, '--data', data, '--node', node.url]), 2, /exclude each other/);
  failed(await psyncd(['backup', join(backups, 'none/b.db'), '--data', data]), 1, /there is no such folder/);
  failed(await psyncd(['backup', '/proc/b.db', '--data', data]), 1, /cannot write \/proc\/b\.db/);
  failed(await psyncd(['backup', target, '--data', backups]), 1, /is no data folder of psyncd/);
  for (const inside of ['keyspace-1.db', 'psyncd.db', 'b.db']) {
    const outcome = await psyncd(['backup', join(data, inside), '--data', data, '--force']);
    failed(outcome, 1, /is the data folder of a node/);
  }
  failed(
    await psyncd(['backup', join(backups, 'keyspace-1.db'), '--data', data]),
    1,
    /has that name; choose another/,
  );
  // A file of this process may have 64 KiB, as if the disk were full then.
  const full = await new Promise<Outcome>((resolve) => {
    const command = `ulimit -f 64; exec "$0" "$@"`;
    const child = execFile(
      'bash',
      ['-c', command, process.execPath, MAIN, 'backup', target, '--data', data],
      (_error, stdout, stderr) => resolve({ code: child.exitCode, stdout, stderr }),
    );
  });
  failed(full, 1, /cannot back .* up|cannot write/);
  for (const point of ['backup-seal', 'backup-sealed', 'backup-place']) {
    const faults = cluster.data('faults.json');
    writeFileSync(faults, JSON.stringify({ [point]: 'ENOSPC' }));
    failed(
      await psyncd(['backup', target, '--data', data], { PSYNCD_FAULTS: faults }),
      1,
      /no space left on the device/,
    );
  }
  assert.deepEqual(await readdir(backups), []);
  assert.deepEqual(await contents(data), before);
});

test('without permission nothing is backed up, checked or restored, and each command says so in one line', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await writeMany(node, 'k', 3);
  await node.stop();
  const [data, backup, closed, open] = ['node', 'backup.db', 'closed', 'open'].map((name) =>
    cluster.data(name),
  );
  assert.ok(data !== undefined && backup !== undefined && closed !== undefined && open !== undefined);
  await makeBackup(backup);
  await mkdir(closed);
  await mkdir(open);
  const before = [await contents(data), readFileSync(backup, 'latin1')];
  // Everybody may enter the folder of the test, but the file and the folder are closed, also for their owner.
  for (const [path, mode] of [
    [join(data, '..'), 0o711],
    [open, 0o777],
    [data, 0o555],
    [closed, 0o555],
  ] as const) {
    await chmod(path, mode);
  }
  for (const path of [backup, ...(await readdir(data)).map((name) => join(data, name))])
    await chmod(path, 0o000);
  try {
    for (const [args, code] of [
      [['backup', join(closed, 'b.db'), '--data', data], 1],
      [['backup', join(open, 'b.db'), '--data', data], 1],
      [['verify', backup], 2],
      [['verify', data], 2],
      [['restore', backup, join(open, 'new')], 1],
    ] as const) {
      failed(await asNobody(args), code, /EACCES|cannot be opened for writing|cannot be read/);
    }
    await chmod(backup, 0o444);
    failed(await asNobody(['restore', backup, closed]), 1, /EACCES/);
    failed(await asNobody(['restore', backup, join(closed, 'new')]), 1, /EACCES/);
    failed(await asNobody(['restore', backup, data, '--force']), 1, /cannot be opened for writing/);
    assert.deepEqual([await readdir(open), await readdir(closed)], [[], []]);
    if (process.getuid?.() === 0)
      assert.deepEqual([await contents(data), readFileSync(backup, 'latin1')], before);
  } finally {
    // So that the folder of the test can be removed.
    for (const path of [data, closed]) await chmod(path, 0o755);
  }
});

test('verify tells whole, damaged and unknown by its exit code', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await writeMany(node, 'k', 20);
  const data = cluster.data('node');
  failed(await psyncd(['verify', data]), 2, /in use by another process; stop its node, or back that up/);
  await node.stop();
  assert.match((await psyncd(['verify', data])).stdout, /^whole: 20 entries at /);
  const copy = cluster.data('copy');
  for (const [name, change] of [
    ['keyspace-1.db', (bytes: Buffer) => bytes.fill(0x55, bytes.indexOf('k7'), bytes.indexOf('k7') + 1)],
    [
      'psyncd.db',
      (bytes: Buffer) => bytes.fill(0x55, bytes.indexOf('\r\nk7\r\n'), bytes.indexOf('\r\nk7\r\n') + 4),
    ],
    ['psyncd.db', () => Buffer.alloc(0)],
    ['keyspace-1.db', (bytes: Buffer) => bytes.subarray(0, 4096)],
  ] as const) {
    cpSync(data, copy, { recursive: true });
    writeFileSync(join(copy, name), change(readFileSync(join(copy, name))));
    failed(await psyncd(['verify', copy]), 1, /is damaged/);
    const { code, stdout } = await psyncd(['verify', copy, '--json']);
    assert.equal(code, 1);
    assert.equal(JSON.parse(stdout).result, 'damaged');
    await rm(copy, { recursive: true });
  }
  failed(await psyncd(['verify', cluster.data('none')]), 2, /there is no/);
  await mkdir(copy);
  failed(await psyncd(['verify', copy]), 2, /is no data folder of psyncd/);
});

test('a file that is no whole backup is not restored, and nothing is changed', async (t) => {
  const folder = await temporaryFolder(t);
  const file = join(folder, 'backup.db');
  const to = join(folder, 'restored');
  await makeBackup(file);
  const whole = readFileSync(file);
  const flipped = Buffer.from(whole);
  flipped[flipped.length >> 1] = (flipped[flipped.length >> 1] as number) ^ 1;
  for (const [bytes, message] of [
    [whole.subarray(0, 8192), /is damaged: a part of it is missing/],
    [flipped, /is damaged: its bytes are not those that were written/],
    [Buffer.alloc(0), /it is empty/],
    [gzipSync(whole), /compressed with gzip/],
    [Buffer.from('<Error><Code>NoSuchKey</Code></Error>'), /HTML or XML/],
  ] as const) {
    writeFileSync(file, bytes);
    failed(await psyncd(['restore', file, to]), 1, message);
    assert.deepEqual(await readdir(folder), ['backup.db']);
  }
  failed(await psyncd(['restore', join(folder, 'none'), to]), 1, /there is no /);
  failed(await psyncd(['restore', folder, to]), 1, /is a folder: name a backup in it .* --to-time/);
});

test('a folder that is in use, has files, or cannot be written is not restored into, and stays as it was', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await writeMany(node, 'k', 3);
  const data = cluster.data('node');
  const file = cluster.data('backup.db');
  await makeBackup(file);
  for (const flags of [[], ['--force'], ['--force', '--dry-run']]) {
    failed(await psyncd(['restore', file, data, ...flags]), 1, /is not empty|is in use by another process/);
  }
  assert.equal(await textOf(node, 'k0'), 'v0');
  await node.stop();
  const before = await contents(data);
  failed(await psyncd(['restore', file, data]), 1, /is not empty; choose an empty folder, or .* --force/);
  failed(
    await psyncd(['restore', join(data, 'keyspace-1.db'), data, '--force']),
    1,
    /is no backup of psyncd/,
  );
  const live = join(data, 'keyspace-9.db');
  cpSync(file, live);
  failed(await psyncd(['restore', live, data, '--force']), 1, /is a file of the data folder/);
  await rm(live);
  for (const point of [
    'restore-copy',
    'restore-copied',
    'restore-aside',
    'restore-file',
    'restore-switch',
    'state-save',
  ]) {
    const faults = cluster.data('faults.json');
    writeFileSync(faults, JSON.stringify({ [point]: 'ENOSPC' }));
    failed(
      await psyncd(['restore', file, data, '--force'], { PSYNCD_FAULTS: faults }),
      1,
      /injected|no space left/,
    );
    assert.deepEqual(await contents(data), before, point);
    if (point === 'restore-aside') continue;
    const outcome = await psyncd(['restore', file, cluster.data('new')], { PSYNCD_FAULTS: faults });
    failed(outcome, 1, /injected|no space left/);
    assert.ok(!existsSync(cluster.data('new')), point);
  }
  const other = cluster.data('other');
  await mkdir(other);
  writeFileSync(join(other, 'photo.jpg'), '');
  failed(
    await psyncd(['restore', file, other, '--force']),
    1,
    /holds other files than psyncd's, such as photo\.jpg/,
  );
  failed(await psyncd(['restore', file, file]), 1, /is not a folder/);
  failed(await psyncd(['restore', file, '/proc/x']), 1, /cannot restore/);
  failed(await psyncd(['restore', file, join(other, 'x/y')]), 1, /there is no folder/);
});

test('--force moves the files of before aside, damaged ones too, and says where the tokens are', async (t) => {
  const cluster = await Cluster.create(t);
  const data = cluster.data('node');
  const tokens = join(data, 'tokens.json');
  await mkdir(data);
  await psyncd(['token', 'create', 'me', '--rights', 'admin', '--tokens', tokens]);
  const node = await cluster.start('node');
  await node.stop('SIGKILL');
  const file = cluster.data('backup.db');
  await makeBackup(file);
  const list = readFileSync(tokens, 'utf8');
  const done = json(await psyncd(['restore', file, data, '--force', '--json']));
  const aside = String(done.replaced);
  assert.deepEqual([done.tokens, done.needsTokens], [join(aside, 'tokens.json'), true]);
  assert.deepEqual(
    (await readdir(data)).sort(),
    ['guarded', 'keyspace-2.db', 'psyncd.db', aside.split('/').at(-1)].sort(),
  );
  assert.equal(readFileSync(join(aside, 'tokens.json'), 'utf8'), list);
  assert.match((await psyncd(['verify', aside])).stdout, /^whole: 0 entries/);
  await assert.rejects(cluster.start('node'), /this node needs tokens/);
  await rename(join(aside, 'tokens.json'), tokens);
  const restored = await cluster.start('node');
  assert.equal((await fetch(`${restored.url}/v1/keys/${encodeURIComponent('key/0001')}`)).status, 401);
  await restored.stop();
  writeFileSync(join(data, 'psyncd.db'), 'damaged');
  assert.equal((await psyncd(['restore', file, data, '--force'])).code, 0);
  assert.match((await psyncd(['verify', data])).stdout, new RegExp(`^whole: ${ENTRIES.length} entries`));
});

test('each restore tells what earlier ones have replaced, and removes none of it', async (t) => {
  const cluster = await Cluster.create(t);
  const data = cluster.data('node');
  const file = cluster.data('backup.db');
  await makeBackup(file);
  const restored = (...flags: string[]): Promise<Outcome> => psyncd(['restore', file, data, ...flags]);
  assert.doesNotMatch((await restored()).stdout, /earlier/);
  assert.doesNotMatch((await restored('--force')).stdout, /earlier/);
  for (const count of ['1 folder', '2 folders']) {
    const told = new RegExp(
      `/replaced-\\*: ${count} of earlier restores, \\d+ KiB; remove what you do not need\\n$`,
    );
    if (count === '2 folders') assert.match((await restored('--force', '--dry-run')).stdout, told);
    else assert.match((await restored('--force')).stdout, told);
  }
  const { earlier } = json(await restored('--force', '--json')) as {
    earlier: { folders: number; bytes: number };
  };
  assert.equal(earlier.folders, 2);
  assert.ok(earlier.bytes > 2 * readFileSync(file).length * 0.9, String(earlier.bytes));
  assert.equal((await readdir(data)).filter((name) => name.startsWith('replaced-')).length, 3);
});

test('a keyspace file with the highest number keeps nobody from a restore, nor from a start after it', async (t) => {
  const cluster = await Cluster.create(t);
  const data = cluster.data('node');
  const file = cluster.data('backup.db');
  const { digest } = await makeBackup(file);
  await (await cluster.start('node')).stop();
  for (const number of ['999999999', '999999999999999']) {
    writeFileSync(join(data, `keyspace-${number}.db`), 'x');
    const done = json(await psyncd(['restore', file, data, '--force', '--json']));
    assert.ok((await readdir(String(done.replaced))).includes(`keyspace-${number}.db`));
    const left = (await readdir(data)).filter((name) => name.startsWith('keyspace-'));
    assert.equal(left.length, 1, left.join());
  }
  const node = await cluster.start('node');
  assert.equal((await node.client.digest()).digest, digest);
});

test('--expire-policy drop-expired deletes what has expired by commands that replicas get too', async (t) => {
  const cluster = await Cluster.create(t);
  const file = cluster.data('backup.db');
  const entries = [
    { key: 'expired', value: Buffer.from('x'), expiresAt: 1 },
    { key: 'stays', value: Buffer.from('y') },
  ];
  await makeBackup(file, entries);
  const kept = json(await psyncd(['restore', file, cluster.data('kept'), '--json']));
  const dropped = json(
    await psyncd(['restore', file, cluster.data('dropped'), '--json', '--expire-policy', 'drop-expired']),
  );
  assert.deepEqual([kept.dropped, dropped.dropped], [null, 1]);
  assert.match((await psyncd(['verify', cluster.data('kept')])).stdout, /^whole: 2 entries at .*:1000000,/);
  assert.match((await psyncd(['verify', cluster.data('dropped')])).stdout, /^whole: 1 entry at .*:1000026,/);
  const node = await cluster.start('dropped');
  assert.equal((await node.client.replication()).position, dropped.position);
  const replica = await cluster.start('replica', '--replica-of', node.wsUrl);
  assert.equal((await converged(node, replica)).keys, 1);
});

test('the right replicate is enough for a backup, and no smaller one', async (t) => {
  const cluster = await Cluster.create(t);
  const data = cluster.data('node');
  await mkdir(data);
  const tokenWith = async (...flags: string[]): Promise<string> => {
    const file = join(data, 'tokens.json');
    const { stdout, stderr } = await psyncd(['token', 'create', 'me', ...flags, '--tokens', file]);
    assert.match(stdout, /^psyncd_/, stderr);
    return stdout.trim();
  };
  const replicate = await tokenWith('--rights', 'replicate');
  const read = await tokenWith('--rights', 'read');
  const some = await tokenWith('--rights', 'read', '--prefix', 'a/');
  const node = await cluster.start('node');
  const file = cluster.data('backup.db');
  const backup = (token: string): Promise<Outcome> =>
    psyncd(['backup', file, '--node', node.url, '--json'], { PSYNCD_TOKEN: token });
  for (const token of [read, some]) failed(await backup(token), 1, /FORBIDDEN/);
  failed(await backup(''), 1, /UNAUTHORIZED/);
  assert.ok(!existsSync(file));
  json(await backup(replicate));
  assert.match((await psyncd(['verify', file])).stdout, /^whole: 0 entries/);
});
