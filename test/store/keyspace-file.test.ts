/** A keyspace file and its applier's thread: what is to be tidied is tidied, also if nothing is written any more. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { until } from '../../src/cli/until.ts';
import { ChunkPool } from '../../src/keyspace/overlay/chunk-pool.ts';
import { Overlay } from '../../src/keyspace/overlay/overlay.ts';
import { offset } from '../../src/replication/position.ts';
import { KeyspaceFile } from '../../src/store/keyspace/keyspace-file.ts';
import { OpenFiles } from '../../src/store/open-files.ts';
import type { Command } from '../../src/stream/command.ts';
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
