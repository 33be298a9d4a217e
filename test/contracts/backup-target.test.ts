/** A folder keeps the promises of a target for backups, and those that only a folder makes. */
import assert from 'node:assert/strict';
import { chmod, mkdir, readdir, readFile, rename, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { pathToFileURL } from 'node:url';
import { openTarget } from '../../src/target/open-target.ts';
import { temporaryFolder } from '../support/cluster.ts';
import { describeBackupTarget, namesIn, refuses } from './backup-target.ts';

const DAY_MS = 24 * 60 * 60 * 1000;

describeBackupTarget('a folder', async (t) => openTarget(await temporaryFolder(t), {}));
describeBackupTarget('a folder by its URL', async (t) =>
  openTarget(pathToFileURL(await temporaryFolder(t)).href, {}),
);

test('files of others in a folder are neither listed nor cleaned away', async (t) => {
  const folder = await temporaryFolder(t);
  const target = await openTarget(folder, {});
  await mkdir(join(folder, 'a b'));
  await mkdir(join(folder, '.hidden'));
  await writeFile(join(folder, 'a b', 'c'), 'x');
  await writeFile(join(folder, '.hidden', '.psyncd-partial-0'), 'x');
  await writeFile(join(folder, '.psyncd'), 'x');
  await symlink(folder, join(folder, 'circle'));
  assert.deepEqual(await namesIn(target, ''), []);
  assert.equal(await target.clean(Date.now() + DAY_MS, () => true), 0);
});

test('what is behind a link to a folder or a file is listed under its name, and each folder once', async (t) => {
  const [folder, disk] = [await temporaryFolder(t), await temporaryFolder(t)];
  await mkdir(join(disk, 'shop'));
  await mkdir(join(disk, 'large'));
  await symlink(join(disk, 'shop'), join(folder, 'shop'));
  const target = await openTarget(folder, {});
  await target.put('shop/run/1', { bytes: Buffer.from('x') });
  await target.put('real/run/1', { bytes: Buffer.from('x') });
  assert.equal(await readFile(join(disk, 'shop', 'run', '1'), 'utf8'), 'x');
  // Links that lead in a circle, to what is listed anyway, or to nothing.
  await symlink(folder, join(disk, 'shop', 'circle'));
  await symlink(join(folder, 'real'), join(folder, 'again'));
  await symlink(join(disk, 'shop', 'run'), join(folder, 'shop-run'));
  await symlink('/', join(folder, 'all'));
  // The name of a link to an inner folder comes before that of a link to the folder around it.
  await mkdir(join(disk, 'wide', 'inner'), { recursive: true });
  await writeFile(join(disk, 'wide', '3'), 'x');
  await writeFile(join(disk, 'wide', 'inner', '4'), 'x');
  await symlink(join(disk, 'wide', 'inner'), join(folder, 'narrow'));
  await symlink(join(disk, 'wide'), join(folder, 'wide'));
  await symlink(join(folder, 'self'), join(folder, 'self'));
  await symlink(join(folder, 'gone'), join(folder, 'nothing'));
  // One file and one folder of runs on another disk.
  await writeFile(join(disk, 'large', '2'), 'xy');
  await symlink(join(disk, 'large', '2'), join(folder, 'real', 'run', '2'));
  await symlink(join(disk, 'large'), join(folder, 'real', 'other-run'));
  const names = ['narrow/4', 'real/other-run/2', 'real/run/1', 'real/run/2', 'shop/run/1', 'wide/3'];
  assert.deepEqual((await namesIn(target, '')).sort(), names);
  assert.deepEqual(await namesIn(target, 'shop'), ['shop/run/1']);
  assert.equal((await target.find('real/run/2'))?.size, 2);
  for (const name of names) await target.delete(name);
  assert.deepEqual(await namesIn(target, ''), []);
});

test('nothing is put through a link to what is listed under another name', async (t) => {
  const folder = await temporaryFolder(t);
  const target = await openTarget(folder, {});
  await target.put('real/1', { bytes: Buffer.from('x') });
  for (const [name, to] of [
    ['again', 'real'],
    ['circle', '.'],
    ['above', '..'],
  ] as const) {
    await symlink(to, join(folder, name));
    await refuses('BAD_TARGET', () => target.put(`${name}/2`, { bytes: Buffer.from('x') }));
    await refuses('BAD_TARGET', () => target.put(`${name}/run/2`, { bytes: Buffer.from('x') }));
  }
  await symlink('self', join(folder, 'self'));
  await refuses('TARGET_FAILED', () => target.put('self/2', { bytes: Buffer.from('x') }));
  await symlink('gone', join(folder, 'nothing'));
  await refuses('TARGET_FAILED', () => target.put('nothing/2', { bytes: Buffer.from('x') }));
  assert.deepEqual(await namesIn(target, ''), ['real/1']);
  assert.deepEqual(await readdir(join(folder, 'real')), ['1']);
});

test('a target that is a link to a folder is that folder', async (t) => {
  const folder = await temporaryFolder(t);
  await mkdir(join(folder, 'disk'));
  await symlink('disk', join(folder, 'link'));
  const target = await openTarget(join(folder, 'link'), {});
  await target.put('a/b', { bytes: Buffer.from('x') });
  assert.deepEqual(await namesIn(target, ''), ['a/b']);
  assert.deepEqual(await readdir(join(folder, 'disk', 'a')), ['b']);
});

test('a target in which no folder can be made fails, and its call ends', async (t) => {
  if (process.platform !== 'linux') return t.skip('only Linux has /proc');
  const target = await openTarget('/proc', {});
  await refuses('NOT_FOUND', () => target.put('a/b/c', { bytes: Buffer.from('x') }));
});

test('the folder lost+found of a mounted disk is not looked into', async (t) => {
  const folder = await temporaryFolder(t);
  const target = await openTarget(folder, {});
  await target.put('a', { bytes: Buffer.from('x') });
  await mkdir(join(folder, 'lost+found'));
  await writeFile(join(folder, 'lost+found', '.psyncd-partial-0'), 'x');
  await writeFile(join(folder, 'lost+found', 'b'), 'x');
  // The superuser may read it all the same.
  await chmod(join(folder, 'lost+found'), 0);
  try {
    assert.deepEqual(await namesIn(target, ''), ['a']);
    assert.equal(await target.clean(Date.now() + DAY_MS, () => true), 0);
  } finally {
    await chmod(join(folder, 'lost+found'), 0o700);
  }
});

test('the part of a put that was killed goes when it is old', async (t) => {
  const folder = await temporaryFolder(t);
  const target = await openTarget(folder, {});
  await target.put('a/b', { bytes: Buffer.from('x') });
  const part = join(folder, 'a', '.psyncd-partial-0011223344556677');
  await writeFile(part, 'half');
  assert.equal(await target.clean(Date.now() - DAY_MS, () => true), 0);
  const old = new Date(Date.now() - 2 * DAY_MS);
  await utimes(part, old, old);
  assert.deepEqual(await namesIn(target, ''), ['a/b']);
  assert.equal(await target.clean(Date.now() - DAY_MS, () => true), 1);
  assert.deepEqual(await readdir(join(folder, 'a')), ['b']);
});

test('a folder that is not there is not made', async (t) => {
  const folder = await temporaryFolder(t);
  const target = await openTarget(join(folder, 'not-mounted'), {});
  await refuses('NO_SUCH_BUCKET', () => target.put('a', { bytes: Buffer.from('x') }));
  await refuses('NO_SUCH_BUCKET', () => target.delete('a'));
  await refuses('NO_SUCH_BUCKET', () => target.clean(Date.now(), () => true));
  await refuses('NO_SUCH_BUCKET', () => namesIn(target, ''));
  assert.deepEqual(await readdir(folder), []);
});

test('a file in place of a folder of the target is told', async (t) => {
  const folder = await temporaryFolder(t);
  await writeFile(join(folder, 'a'), 'x');
  const target = await openTarget(folder, {});
  await refuses('TARGET_FAILED', () => target.put('a/b', { bytes: Buffer.from('x') }));
  await refuses('NO_SUCH_BUCKET', async () => namesIn(await openTarget(join(folder, 'a'), {}), ''));
});

test('only their owner may read the files in a folder', async (t) => {
  const folder = await temporaryFolder(t);
  const target = await openTarget(folder, {});
  await target.put('a/b', { bytes: Buffer.from('x') });
  assert.equal((await stat(join(folder, 'a', 'b'))).mode & 0o777, 0o600);
  assert.equal((await stat(join(folder, 'a'))).mode & 0o777, 0o700);
});

test('a folder that may not be written is told', async (t) => {
  if (process.getuid?.() === 0) return t.skip('the superuser may write everywhere');
  const folder = await temporaryFolder(t);
  await chmod(folder, 0o500);
  t.after(() => chmod(folder, 0o700));
  const target = await openTarget(folder, {});
  await refuses('NO_ACCESS', () => target.put('a', { bytes: Buffer.from('x') }));
});

test('a source that cannot be read leaves the object that is there', async (t) => {
  const folder = await temporaryFolder(t);
  const target = await openTarget(folder, {});
  await target.put('a', { bytes: Buffer.from('first') });
  await refuses('NOT_FOUND', () => target.put('a', { path: join(folder, 'gone') }));
  await rename(join(folder, 'a'), join(folder, 'moved'));
  assert.deepEqual(await readdir(folder), ['moved']);
  assert.equal(await readFile(join(folder, 'moved'), 'utf8'), 'first');
});

test('a text that names no target is refused', async () => {
  for (const text of ['http://127.0.0.1/bucket', 'gs://bucket', 'file://host/folder', 'file:///a?b']) {
    await refuses('BAD_TARGET', () => openTarget(text, {}));
  }
});
