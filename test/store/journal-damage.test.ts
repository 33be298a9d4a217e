/** What is read of a journal with a damaged row: everything before it, and then an error that no later attempt mends. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import Database from 'better-sqlite3';
import { NotInJournal, StorageError } from '../../src/node/ports/failures.ts';
import type { Log } from '../../src/node/ports/world.ts';
import { type Offset, offset } from '../../src/replication/position.ts';
import { OpenFiles } from '../../src/store/open-files.ts';
import { LASTING_MS } from '../../src/store/state/journal/journal-damage.ts';
import { JournalTable } from '../../src/store/state/journal/journal-table.ts';
import { StateFile } from '../../src/store/state/state-file.ts';
import { runId } from '../support/arbitraries.ts';
import { temporaryFolder } from '../support/cluster.ts';
import { SILENT } from '../support/silent-log.ts';

/** A psyncd.db in a folder of the test, which is opened as often as the test wants. */
async function journalOf(t: TestContext): Promise<{ path: string; open(log?: Log): StateFile }> {
  const path = join(await temporaryFolder(t), 'psyncd.db');
  const files = new OpenFiles(SILENT);
  t.after(() => files.close());
  const settings = { fsync: 'no', bootId: 'boot', newRunId: () => runId('a'), upstream: null } as const;
  return { path, open: (log = SILENT) => StateFile.open(path, log, settings, files, () => undefined) };
}

test('a read of the journal ends before a damaged row, and the next one says that it is damaged', async (t) => {
  const { path, open } = await journalOf(t);
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
  const told: unknown[] = [];
  const log = { ...SILENT, error: (event: string, fields: unknown) => told.push([event, fields]) };
  const again = open(log as Log);
  t.after(() => again.close(true));
  assert.equal(again.read(offset(0), 1_000).toString(), 'onetwo');
  assert.throws(
    () => again.read(ends[1] as Offset, 1),
    (error) => error instanceof StorageError && error.damaged,
  );
  assert.equal(again.read(ends[2] as Offset, 1_000).toString(), 'four');
  assert.throws(() => again.read(ends[1] as Offset, 1));
  assert.equal(again.damagedUpTo, ends[2]);
  const error = `SQLITE_CORRUPT: what ends at byte ${ends[2]} of the journal is not what was written`;
  assert.deepEqual(told, [['journal-damaged', { after: ends[1], upTo: ends[2], error }]]);
  again.switchKeyspace(1, again.history, null, null);
  assert.equal(again.damagedUpTo, null);
});

test('a row that is missing between others counts as damaged, and a byte before or behind the journal does not', async (t) => {
  const { path, open } = await journalOf(t);
  const state = open();
  state.begin();
  for (const end of [3, 6, 9, 12]) state.append(offset(end), Buffer.from('row'), null, false, null);
  state.close(true);
  const db = new Database(path);
  db.exec('DELETE FROM journal WHERE end_offset IN (3, 9)');
  db.close();
  const again = open();
  t.after(() => again.close(true));
  for (const outside of [0, 12]) assert.throws(() => again.read(offset(outside), 1), NotInJournal);
  assert.equal(again.damagedUpTo, null);
  assert.equal(again.read(offset(3), 1_000).toString(), 'row');
  assert.throws(
    () => again.read(offset(6), 1),
    (error) => error instanceof StorageError && error.damaged,
  );
  assert.equal(again.damagedUpTo, 12);
});

test('what the disk does not give for a minute counts as damaged, and what it gives again does not', async (t) => {
  const { open } = await journalOf(t);
  const state = open();
  t.after(() => state.close(true));
  state.begin();
  for (const end of [3, 6, 9]) state.append(offset(end), Buffer.from('row'), null, false, null);
  let now = 0;
  t.mock.method(performance, 'now', () => now);
  const { read } = JournalTable.prototype;
  let failsAt: number | null = 3;
  t.mock.method(JournalTable.prototype, 'read', function (this: JournalTable, after: Offset, enough: number) {
    if (after === failsAt) throw Object.assign(new Error('disk I/O error'), { code: 'SQLITE_IOERR_READ' });
    return read.call(this, after, enough);
  });
  const fails = (): void => assert.throws(() => state.read(offset(3), 1), StorageError);
  fails();
  now = LASTING_MS;
  failsAt = null;
  assert.equal(state.read(offset(3), 1).toString(), 'row');
  failsAt = 3;
  fails();
  now += LASTING_MS - 1;
  fails();
  assert.equal(state.damagedUpTo, null);
  now += 1;
  fails();
  assert.equal(state.damagedUpTo, 6);
});

test('pages of the journal that SQLite cannot read end a read before them, and count as damaged', async (t) => {
  const { path, open } = await journalOf(t);
  const state = open();
  state.begin();
  const bytes = Array.from({ length: 50 }, (_, index) => Buffer.alloc(1_000, `${index % 10}`));
  for (const [index, row] of bytes.entries())
    state.append(offset((index + 1) * 1_000), row, null, false, null);
  state.close(true);
  const file = readFileSync(path);
  // A page of the table: a leaf with some of the rows in the middle.
  const at = Math.floor(file.indexOf(bytes[25] as Buffer) / 4096) * 4096;
  file.fill(0, at, at + 4096);
  writeFileSync(path, file);
  const again = open();
  t.after(() => again.close(true));
  const before = again.read(offset(0), 1_000_000);
  assert.ok(
    before.length > 0 && before.length < 26_000 && before.length % 1_000 === 0,
    String(before.length),
  );
  assert.throws(
    () => again.read(offset(before.length), 1),
    (error) => error instanceof StorageError && error.damaged,
  );
  const { damagedUpTo } = again;
  assert.ok(damagedUpTo !== null && damagedUpTo > 25_000, String(damagedUpTo));
  assert.equal(again.read(offset(45_000), 1_000_000).length, 5_000);
});
