/** What `BackupTarget` promises, for a folder and for object storage. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { type BackupTarget, type TargetCode, TargetError } from '../../src/node/ports/backup-target.ts';
import { temporaryFolder } from '../support/cluster.ts';

/** Larger than what any target sends in one piece. */
const LARGE_BYTES = 9 * 1024 * 1024 + 7;
const BAD_NAMES = [
  '',
  '/',
  '/a',
  'a/',
  'a//b',
  '..',
  '../a',
  'a/../b',
  './a',
  '.a',
  'a\\b',
  'a:b',
  'a b',
  'ä',
];

/** @param make returns an empty target */
export function describeBackupTarget(name: string, make: (t: TestContext) => Promise<BackupTarget>): void {
  const promise = (text: string, check: (target: BackupTarget, folder: string) => Promise<void>): void => {
    test(`${name}: ${text}`, async (t) => check(await make(t), await temporaryFolder(t)));
  };

  promise('gives back the bytes of an object that came from memory', async (target, folder) => {
    await target.put('a/b.bin', { bytes: Buffer.from('Oslo') });
    await target.get('a/b.bin', join(folder, 'got'));
    assert.equal(await readFile(join(folder, 'got'), 'utf8'), 'Oslo');
    assert.equal((await stat(join(folder, 'got'))).mode & 0o777, 0o600);
  });

  promise('gives back the bytes of a large file, and of an empty one', async (target, folder) => {
    const bytes = randomBytes(LARGE_BYTES);
    await writeFile(join(folder, 'large'), bytes);
    await writeFile(join(folder, 'empty'), '');
    await target.put('large', { path: join(folder, 'large') });
    await target.put('empty', { path: join(folder, 'empty') });
    await target.get('large', join(folder, 'large-got'));
    await target.get('empty', join(folder, 'empty-got'));
    assert.ok(bytes.equals(await readFile(join(folder, 'large-got'))));
    assert.equal((await stat(join(folder, 'empty-got'))).size, 0);
  });

  promise('replaces an object that has the name', async (target, folder) => {
    await target.put('a', { bytes: Buffer.from('first, which is longer') });
    await target.put('a', { bytes: Buffer.from('second') });
    await target.get('a', join(folder, 'got'));
    assert.equal(await readFile(join(folder, 'got'), 'utf8'), 'second');
  });

  promise('finds one object as a list shows it, and nothing for the begin of a name', async (target) => {
    for (const each of ['shop/a', 'shop/a-longer', 'shop/ab/c']) {
      await target.put(each, { bytes: Buffer.from(each) });
      const found = await target.find(each);
      const listed = [];
      for await (const object of target.list('shop')) if (object.name === each) listed.push(object);
      assert.deepEqual([found], listed);
    }
    await target.put('shop/empty', { bytes: Buffer.alloc(0) });
    assert.equal((await target.find('shop/empty'))?.size, 0);
    for (const none of ['shop/ab', 'shop/a-long', 'sho', 'shop/zz'])
      assert.equal(await target.find(none), null);
  });

  promise('lists the objects of a folder and of those below it, with size and time', async (target) => {
    const before = Date.now() - 5_000;
    for (const each of ['shop/a/1', 'shop/b', 'shop-two/c', 'd']) {
      await target.put(each, { bytes: Buffer.from(each) });
    }
    assert.deepEqual(await namesIn(target, 'shop'), ['shop/a/1', 'shop/b']);
    assert.deepEqual(await namesIn(target, ''), ['d', 'shop-two/c', 'shop/a/1', 'shop/b']);
    assert.deepEqual(await namesIn(target, 'nothing/here'), []);
    for await (const { size, name: found, modified } of target.list('shop')) {
      assert.equal(size, found.length);
      assert.ok(modified >= before && modified <= Date.now() + 5_000, String(modified));
    }
  });

  promise('gives the first bytes of an object', async (target) => {
    await target.put('a', { bytes: Buffer.from('Oslo') });
    assert.equal(Buffer.from(await target.begin('a', 2)).toString(), 'Os');
    assert.equal(Buffer.from(await target.begin('a', 100)).toString(), 'Oslo');
    await refuses('NOT_FOUND', () => target.begin('b', 2));
  });

  promise('deletes an object, and nothing when there is none', async (target, folder) => {
    await target.put('a/b', { bytes: Buffer.from('x') });
    await target.delete('a/b');
    await target.delete('a/b');
    await target.delete('never/there');
    assert.deepEqual(await namesIn(target, ''), []);
    await refuses('NOT_FOUND', () => target.get('a/b', join(folder, 'got')));
    assert.ok(!existsSync(join(folder, 'got')));
  });

  promise('refuses what is no name', async (target, folder) => {
    for (const bad of [...BAD_NAMES, 'a'.repeat(201), Array(300).fill('ab').join('/')]) {
      await refuses('BAD_TARGET', () => target.put(bad, { bytes: Buffer.from('x') }));
      await refuses('BAD_TARGET', () => target.get(bad, join(folder, 'got')));
      await refuses('BAD_TARGET', () => target.delete(bad));
      if (bad !== '') await refuses('BAD_TARGET', () => namesIn(target, bad));
    }
    assert.deepEqual(await readdir(folder), []);
  });

  promise('does not write over a file when it gets an object', async (target, folder) => {
    await target.put('a', { bytes: Buffer.from('new') });
    await writeFile(join(folder, 'mine'), 'mine');
    await assert.rejects(target.get('a', join(folder, 'mine')), { code: 'EEXIST' });
    assert.equal(await readFile(join(folder, 'mine'), 'utf8'), 'mine');
  });

  promise('gets no object that is longer than it may be', async (target, folder) => {
    await target.put('a', { bytes: Buffer.from('Oslo') });
    await refuses('TARGET_ANSWER', () => target.get('a', join(folder, 'got'), { most: 3 }));
    assert.ok(!existsSync(join(folder, 'got')));
    await target.get('a', join(folder, 'got'), { most: 4 });
    assert.equal(await readFile(join(folder, 'got'), 'utf8'), 'Oslo');
  });

  promise('leaves nothing of a call that was aborted', async (target, folder) => {
    await writeFile(join(folder, 'large'), Buffer.alloc(LARGE_BYTES));
    const reason = new Error('the node stops');
    for (const signal of [AbortSignal.abort(reason), abortedSoon(reason)]) {
      await assert.rejects(target.put('large', { path: join(folder, 'large') }, { signal }), reason);
    }
    assert.deepEqual(await namesIn(target, ''), []);
    await target.put('large', { path: join(folder, 'large') });
    for (const signal of [AbortSignal.abort(reason), abortedSoon(reason)]) {
      await assert.rejects(target.get('large', join(folder, 'got'), { signal }), reason);
    }
    assert.ok(!existsSync(join(folder, 'got')));
  });

  promise('has nothing to clean after calls that have ended', async (target) => {
    await target.put('a/b', { bytes: Buffer.from('x') });
    assert.equal(await target.clean(Date.now() + 60_000, () => true), 0);
    assert.deepEqual(await namesIn(target, ''), ['a/b']);
  });
}

/** @returns the sorted names of the objects in a folder */
export async function namesIn(target: BackupTarget, folder: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of target.list(folder)) names.push(name);
  return names.sort();
}

/** Checks that the call fails with this code, in one line. */
export async function refuses(code: TargetCode, call: () => Promise<unknown>): Promise<void> {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof TargetError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, /^[^\n]+$/);
    return true;
  });
}

/** Aborts when the call has begun. */
function abortedSoon(reason: Error): AbortSignal {
  const controller = new AbortController();
  setImmediate(() => controller.abort(reason));
  return controller.signal;
}
