/** What is read of a journal with a damaged row: everything before it, and then an error that no later attempt mends. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import test from 'node:test';
import Database from 'better-sqlite3';
import { StorageError } from '../../src/node/ports/failures.ts';
import { type Offset, offset } from '../../src/replication/position.ts';
import { OpenFiles } from '../../src/store/open-files.ts';
import { StateFile } from '../../src/store/state/state-file.ts';
import { runId } from '../support/arbitraries.ts';
import { temporaryFolder } from '../support/cluster.ts';
import { SILENT } from '../support/silent-log.ts';

test('a read of the journal ends before a damaged row, and the next one says that it is damaged', async (t) => {
  const path = join(await temporaryFolder(t), 'psyncd.db');
  const files = new OpenFiles(SILENT);
  t.after(() => files.close());
  const settings = { fsync: 'no', bootId: 'boot', newRunId: () => runId('a'), upstream: null } as const;
  const open = (): StateFile => StateFile.open(path, SILENT, settings, files, () => undefined);
  const state = open();
  state.begin();
  const rows = ['one', 'two', 'three', 'four'].map((text) => Buffer.from(text));
  let end = 0;
  const ends = rows.map((bytes): Offset => {
    end += bytes.length;
    state.append(offset(end), bytes, null, false, null);
    return offset(end);
  });
  state.close(true);
  const db = new Database(path);
  db.prepare('UPDATE journal SET bytes = ? WHERE end_offset = ?').run(Buffer.from('threE'), ends[2]);
  db.close();
  const again = open();
  t.after(() => again.close(true));
  assert.equal(again.read(offset(0), 1_000).toString(), 'onetwo');
  assert.throws(
    () => again.read(ends[1] as Offset, 1),
    (error) => error instanceof StorageError && error.damaged,
  );
  assert.equal(again.read(ends[2] as Offset, 1_000).toString(), 'four');
});
