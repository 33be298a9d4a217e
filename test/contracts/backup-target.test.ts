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
