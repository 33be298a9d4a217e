/** What requests and the log tell of a failure of the disk. */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, renameSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import Database from 'better-sqlite3';
import { asProblem } from '../../src/node/feed/feed-problems.ts';
import { LOST_FILE, StorageError } from '../../src/node/ports/failures.ts';
import { diskProblem, storageProblem } from '../../src/node/problem.ts';
import { OpenFiles } from '../../src/store/open-files.ts';
import { startFailure, storageFailure } from '../../src/store/storage-failure.ts';
import { temporaryFolder } from '../support/cluster.ts';
import { SILENT } from '../support/silent-log.ts';

/** Errors as the system and SQLite throw them, of files in this folder. */
function failures(folder: string): readonly unknown[] {
  const gone = join(folder, 'gone', 'file');
  const file = join(folder, 'file');
  const loop = join(folder, 'loop');
  writeFileSync(file, '');
  symlinkSync(loop, loop);
  const failing: readonly (() => unknown)[] = [
    () => statSync(gone),
    () => writeFileSync(gone, ''),
    () => renameSync(gone, `${gone}-2`),
    () => readdirSync(file),
    () => statSync(loop),
    () => new Database(folder),
    () => new Database(':memory:').exec(`ATTACH '${gone}' AS other`),
  ];
  return failing.map((fails) => {
    try {
      fails();
    } catch (error) {
      return error;
    }
    return assert.fail(String(fails));
  });
}

test('what requests are told of a failing disk names no path, and the log has all of it', async (t) => {
  const folder = join(await temporaryFolder(t), "it's a folder");
  mkdirSync(folder);
  for (const error of failures(folder)) {
    const failure = storageFailure(error);
    const problems = [storageProblem(failure), diskProblem(failure), asProblem(failure)];
    for (const { message } of problems) {
      assert.ok(!message.includes(folder) && !/\/|folder/.test(message.replace('I/O', '')), message);
      assert.match(message, /(?:E[A-Z]+|SQLITE_[A-Z]+): \w/);
    }
    const { message } = error as Error;
    assert.ok(failure.inLog.endsWith(message));
    assert.ok(String((startFailure(failure, folder) as Error).message).includes(message));
  }
});

test('a short error without a path is told as it is', () => {
  const error = Object.assign(new Error('EIO: i/o error, write'), { code: 'EIO', syscall: 'write' });
  assert.equal(storageProblem(storageFailure(error)).message, 'nothing was written: EIO: i/o error, write');
  assert.equal(storageFailure(new Error('disk I/O error')).message, 'UNKNOWN: disk I/O error');
});

test('of a file that is not in its place only the log tells the path', async (t) => {
  const path = join(await temporaryFolder(t), 'psyncd.db');
  writeFileSync(path, '');
  const files = new OpenFiles(SILENT);
  t.after(() => files.close());
  const watched = files.watch(path);
  renameSync(path, `${path}-elsewhere`);
  assert.throws(
    () => watched.check(),
    (error) => error instanceof StorageError && error.message === LOST_FILE && error.inLog.includes(path),
  );
});
