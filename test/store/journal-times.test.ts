/** Time marks in psyncd.db: what the disk has changed is not believed. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import Database from 'better-sqlite3';
import { trimmedMarks } from '../../src/node/head/time-marks.ts';
import { MAX_MARKS } from '../../src/node/ports/state-store.ts';
import { offset } from '../../src/replication/position.ts';
import { JournalTimes } from '../../src/store/state/journal/journal-times.ts';

const SQL = readFileSync(new URL('../../migrations/state/009-journal-times.sql', import.meta.url), 'utf8');
const MARKS = [0, 10, 20, 30].map((start) => ({
  offset: offset(start),
  from: start * 1_000,
  to: start * 1_000 + 999,
}));

function tableWith(marks = MARKS): { readonly db: Database.Database; readonly times: JournalTimes } {
  const db = new Database(':memory:');
  db.exec(SQL);
  const times = new JournalTimes(db);
  times.apply({ put: marks, drop: null });
  return { db, times };
}

test('a damaged mark is not told, nor those before it, which would speak of its part of the stream', () => {
  for (const column of ['from_ms', 'to_ms', 'checksum']) {
    const { db, times } = tableWith();
    assert.deepEqual(times.marks, MARKS);
    db.prepare(`UPDATE journal_times SET ${column} = ${column} + 1 WHERE start_offset = 10`).run();
    assert.deepEqual(times.marks, MARKS.slice(2), column);
  }
  const { db, times } = tableWith();
  db.prepare('UPDATE journal_times SET start_offset = 11 WHERE start_offset = 10').run();
  assert.deepEqual(times.marks, MARKS.slice(2));
  db.prepare('UPDATE journal_times SET from_ms = 0 WHERE start_offset = 30').run();
  assert.deepEqual(times.marks, []);
});

test('a trim keeps the mark that speaks of the first byte that is left, and makes one of those before', () => {
  for (const start of [0, 9, 10, 19, 20, 29, 30, 500]) {
    const { times } = tableWith();
    times.trim(start);
    assert.deepEqual(times.marks, trimmedMarks(MARKS, offset(start)), String(start));
  }
  const { times } = tableWith();
  for (const start of [12, 24, 36]) times.trim(start);
  assert.deepEqual(times.marks, [{ offset: 0, from: 0, to: 20_999 }, MARKS[3]]);
});

test('a trim makes no mark of a damaged one', () => {
  const { db, times } = tableWith();
  db.prepare('UPDATE journal_times SET to_ms = 9e12 WHERE start_offset = 0').run();
  times.trim(35);
  assert.deepEqual(times.marks, [{ offset: 10, from: 10_000, to: 20_999 }, MARKS[3]]);
});

test('more marks than a node stores are not taken from a file', () => {
  const many = Array.from({ length: MAX_MARKS + 5 }, (_, at) => ({
    offset: offset(at),
    from: at,
    to: at + 1,
  }));
  assert.deepEqual(tableWith(many).times.marks, many.slice(5));
});
