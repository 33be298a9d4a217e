/** The position row of a keyspace file: it is what was written, or the file is damaged. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test, { type TestContext } from 'node:test';
import Database, { type Database as Connection } from 'better-sqlite3';
import { offset, type Position } from '../../src/replication/position.ts';
import { prepareKeyspace, readPosition, writePosition } from '../../src/store/keyspace/keyspace-schema.ts';
import { schemaVersion } from '../../src/store/migrate.ts';
import { runId } from '../support/arbitraries.ts';

const AT: Position = { runId: runId('a'), offset: offset(1_000) };

function memory(t: TestContext): Connection {
  const db = new Database(':memory:');
  t.after(() => db.close());
  return db;
}

function setOffset(db: Connection, at: number): void {
  db.prepare('UPDATE position SET "offset" = ?').run(at);
}

test('any flipped bit of the offset, and another run ID, are damage; what is written again is read again', (t) => {
  const db = memory(t);
  prepareKeyspace(db, 'keyspace-1.db', AT);
  assert.deepEqual(readPosition(db), AT);
  for (let bit = 0; bit < 53; bit += 1) {
    const flipped = Number(BigInt(AT.offset) ^ (1n << BigInt(bit)));
    setOffset(db, flipped);
    assert.throws(() => readPosition(db), { code: 'SQLITE_CORRUPT' }, `bit ${bit}`);
  }
  setOffset(db, AT.offset);
  assert.deepEqual(readPosition(db), AT);
  db.prepare('UPDATE position SET run_id = ?').run(runId('b'));
  assert.throws(() => readPosition(db), /which is not what was written/);
  writePosition(db, AT);
  assert.deepEqual(readPosition(db), AT);
});

test('a position of the present schema without a checksum is damage', (t) => {
  const db = memory(t);
  prepareKeyspace(db, 'keyspace-1.db', AT);
  db.exec('UPDATE position SET checksum = NULL');
  assert.throws(() => readPosition(db), { code: 'SQLITE_CORRUPT' });
  assert.throws(() => {
    prepareKeyspace(db, 'keyspace-1.db', null);
    readPosition(db);
  }, /which is not what was written/);
});

test('a file of an older schema gets the checksum of its position when it is brought up to date', (t) => {
  const db = memory(t);
  const names = ['001-initial', '002-expiry-index', '003-entry-checksum', '004-large-values'];
  for (const name of names)
    db.exec(readFileSync(new URL(`../../migrations/keyspace/${name}.sql`, import.meta.url), 'utf8'));
  db.pragma(`application_id = ${0x70737901}`);
  db.pragma('user_version = 4');
  db.prepare('INSERT INTO position (only, run_id, "offset") VALUES (1, ?, ?)').run(AT.runId, AT.offset);
  prepareKeyspace(db, 'keyspace-1.db', null);
  assert.equal(db.pragma('user_version', { simple: true }), schemaVersion('keyspace'));
  assert.deepEqual(readPosition(db), AT);
});
