/**
 * Looks at every entry of a keyspace file that somebody else has made, before it replaces anything: what this node would not
 * have written itself must not get in by way of a snapshot.
 */
import type { Database } from 'better-sqlite3';
import { compareKeys, MAX_KEY_BYTES } from '../keyspace/key.ts';
import { MAX_VALUE_BYTES } from '../keyspace/write.ts';
import type { Offset } from '../replication/position.ts';
import { damage, verifyEntry } from './entry-checksum.ts';
import { MAX_ROW_BYTES } from './keyspace-schema.ts';

type Row = [
  key: string | null,
  value: Buffer | null,
  version: number,
  expiresAt: number | null,
  checksum: number | null,
];

/** What a byte that is no UTF-8 becomes in a string. */
const REPLACEMENT = '\ufffd';

/**
 * Checks the key, the size, the version, the expiry and the checksum of each entry, and that no more stands beside them than
 * belongs to them. SQLite's own checks of the file come first: the types of what is in the tables are right then.
 * @param end of the file's position: no entry may have a later version
 * @param isStopped asked at each entry
 * @returns how many entries there are, or null if it was stopped
 * @throws Error with SQLite's code for damage that says what is wrong
 */
export function checkEntries(db: Database, end: Offset, isStopped: () => boolean): number | null {
  // What is too large is not read.
  const rows = db
    .prepare(
      `SELECT CASE WHEN octet_length(key) <= ${MAX_KEY_BYTES} THEN key END,
         CASE WHEN length(value) <= ${MAX_ROW_BYTES} THEN value END, version, expires_at, checksum
       FROM entries ORDER BY key`,
    )
    .raw();
  const large = db
    .prepare(
      `SELECT CASE WHEN length(value) <= ${MAX_VALUE_BYTES} THEN value END FROM large_values WHERE id = ?`,
    )
    .pluck();
  const find = db.prepare('SELECT 1 FROM entries WHERE key = ?').pluck();
  const due = db
    .prepare('SELECT 1 FROM entries INDEXED BY entries_by_expiry WHERE expires_at = ? AND key = ?')
    .pluck();
  const counts = { entries: 0, large: 0, expiring: 0 };
  let before: string | null = null;
  for (const [key, inline, version, expiresAt, checksum] of rows.iterate() as IterableIterator<Row>) {
    if (isStopped()) return null;
    if (key === null) throw damage(`a key has more than ${MAX_KEY_BYTES} bytes`);
    if (key === '') throw damage('a key is empty');
    // A string is found only if the bytes in the file are its UTF-8: no two keys become the same, or they were not in order.
    if (key.includes(REPLACEMENT) && find.get(key) === undefined)
      throw wrong(key, 'has a key that is not UTF-8');
    if (before !== null && compareKeys(before, key) >= 0) throw wrong(key, 'is out of order');
    if (!Number.isSafeInteger(version) || version < 1 || version > end) {
      throw wrong(key, `has the version ${version}, but the position is ${end}`);
    }
    let value = inline;
    if (inline?.length === 0) {
      const elsewhere = large.get(version) as Buffer | null | undefined;
      if (elsewhere === null) throw wrong(key, `has a value of more than ${MAX_VALUE_BYTES} bytes`);
      if (elsewhere !== undefined) {
        value = elsewhere;
        counts.large += 1;
      }
    }
    if (value === null) throw wrong(key, 'has a large value where only small ones are');
    verifyEntry(key, value, version, expiresAt, checksum);
    if (expiresAt !== null) {
      if (!Number.isSafeInteger(expiresAt) || expiresAt < 0) throw wrong(key, `expires at ${expiresAt}`);
      if (due.get(expiresAt, key) === undefined) throw wrong(key, 'is not found by its expiry');
      counts.expiring += 1;
    }
    before = key;
    counts.entries += 1;
  }
  // What nobody has would be in the way of what comes later.
  expectCount(db, 'SELECT count(*) FROM large_values', counts.large, 'large values');
  expectCount(
    db,
    'SELECT count(*) FROM entries INDEXED BY entries_by_expiry WHERE expires_at IS NOT NULL',
    counts.expiring,
    'expiries',
  );
  return counts.entries;
}

function expectCount(db: Database, query: string, expected: number, what: string): void {
  const found = db.prepare(query).pluck().get() as number;
  if (found !== expected) throw damage(`there are ${found} ${what}, but ${expected} belong to entries`);
}

function wrong(key: string, what: string): Error {
  return damage(`the entry ${JSON.stringify(key)} ${what}`);
}
