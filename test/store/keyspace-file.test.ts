/** A keyspace file and its applier's thread: what is to be tidied is tidied, also if nothing is written any more. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import Database from 'better-sqlite3';
import { until } from '../../src/cli/until.ts';
import { ChunkPool } from '../../src/keyspace/overlay/chunk-pool.ts';
import { Overlay } from '../../src/keyspace/overlay/overlay.ts';
import { StorageError } from '../../src/node/ports/failures.ts';
import { offset } from '../../src/replication/position.ts';
import { KeyspaceFile } from '../../src/store/keyspace/keyspace-file.ts';
import { OpenFiles } from '../../src/store/open-files.ts';
import type { Command } from '../../src/stream/command.ts';
import { KeyspaceWriter, START, set } from '../contracts/keyspace-writer.ts';
import { runId } from '../support/arbitraries.ts';
import { temporaryFolder } from '../support/cluster.ts';
import { SILENT } from '../support/silent-log.ts';

const RUN_ID = runId('a');
const KEYS = Array.from({ length: 12 }, (_, index) => `large/${index}`);
const LARGE_BYTES = 12 * 2 ** 20;

interface Filled {
  readonly keyspace: KeyspaceFile;
  deleteAll(): Promise<void>;
}

/** A file with twelve values of 1 MiB. */
async function filled(t: TestContext): Promise<Filled> {
  const path = join(await temporaryFolder(t), 'keyspace-1.db');
  const files = new OpenFiles(SILENT);
  const keyspace = await KeyspaceFile.open(path, { runId: RUN_ID, offset: offset(0) }, files, (error) => {
    throw error;
  });
  t.after(() => keyspace.close());
  const overlay = new Overlay(new ChunkPool(() => 2 ** 25));
  let at = 0;
  const flush = async (commands: readonly Command[]): Promise<void> => {
    for (const command of commands) {
      at += 1;
      overlay.apply(command, at, () => null);
    }
    overlay.seal(at);
    await keyspace.flush({ runId: RUN_ID, offset: offset(at) }, overlay.sealed);
    overlay.applied(at);
  };
  await flush(KEYS.map((key) => ({ kind: 'set', key, value: Buffer.alloc(2 ** 20, key), expiresAt: null })));
  assert.ok(keyspace.size() > LARGE_BYTES);
  return { keyspace, deleteAll: () => flush([{ kind: 'del', keys: KEYS }]) };
}

test('upkeep runs again if a frozen file is released while upkeep is running', async (t) => {
  const { keyspace, deleteAll } = await filled(t);
  const frozen = await keyspace.freeze();
  await deleteAll();
  frozen.release();
  await until('the file has become small', () => keyspace.size() < LARGE_BYTES / 2);
});

test('a read of a prefix notices no damage of the entries before and behind the prefix', async (t) => {
  const path = join(await temporaryFolder(t), 'keyspace-1.db');
  const failures: Error[] = [];
  const open = (): Promise<KeyspaceFile> =>
    KeyspaceFile.open(path, START, new OpenFiles(SILENT), (error) => failures.push(error));
  const first = await open();
  const [before, behind] = ['user9', 'user;'];
  const wanted = ['user:1', 'user:2'];
  await new KeyspaceWriter(first).write(
    ...[before, ...wanted, behind].map((key) => set(key, 'x'.repeat(2_000))),
  );
  await first.close();
  const db = new Database(path);
  db.prepare(
    'UPDATE large_values SET value = zeroblob(2000) WHERE id IN (SELECT version FROM entries WHERE key IN (?, ?))',
  ).run(before, behind);
  db.close();
  const keyspace = await open();
  t.after(() => keyspace.close());
  for (const from of ['user:', 'user:1']) {
    const found = keyspace.scan({ prefix: 'user:', from, exclusive: from !== 'user:' }, true);
    assert.deepEqual(
      [...found].map(({ key }) => key),
      wanted.filter((key) => key > from),
    );
  }
  const reader = keyspace.readEntries(['user:']);
  const read: string[] = [];
  for await (const group of reader.groups) read.push(...group.map(({ key }) => key));
  reader.close();
  assert.deepEqual(read, wanted);
  assert.deepEqual(failures, []);
  assert.throws(
    () => [...keyspace.scan({ prefix: 'user;', from: 'user;', exclusive: false }, true)],
    StorageError,
  );
});
