/** Snapshots that no master makes: a real one, changed in its bytes, its schema or its entries. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import Database from 'better-sqlite3';
import type { Chance } from './chance.ts';

/** Each makes a keyspace file something that must not replace anything. */
const SCHEMA_CHANGES: readonly string[] = [
  'CREATE TRIGGER evil AFTER INSERT ON entries BEGIN DELETE FROM entries; END',
  'CREATE VIEW evil AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n',
  `DROP VIEW whole_entries; CREATE VIEW whole_entries AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
     SELECT 'k' || i AS key, 1 AS version, NULL AS expires_at, NULL AS checksum, x'' AS value, 0 AS size FROM n`,
  `DROP VIEW whole_entries; CREATE VIEW whole_entries AS
     SELECT key, version, expires_at, checksum, x'00' AS value, 1 AS size FROM entries`,
  'DROP VIEW whole_entries',
  'CREATE TABLE foreign_table (a)',
  'CREATE INDEX foreign_index ON entries (value)',
  'DROP INDEX entries_by_expiry',
  'PRAGMA user_version = 99',
  'PRAGMA application_id = 1',
  'DELETE FROM position',
  'UPDATE position SET "offset" = "offset" + 1',
  `UPDATE position SET run_id = '${'e'.repeat(40)}'`,
  "UPDATE entries SET key = CAST(x'' AS TEXT) WHERE key = (SELECT min(key) FROM entries)",
  "UPDATE entries SET key = CAST(x'ff' AS TEXT) WHERE key = (SELECT min(key) FROM entries)",
  'UPDATE entries SET key = key || hex(zeroblob(500000)) WHERE key = (SELECT min(key) FROM entries)',
  'UPDATE entries SET version = 9007199254740991 WHERE key = (SELECT min(key) FROM entries)',
  'UPDATE entries SET version = -1 WHERE key = (SELECT min(key) FROM entries)',
  "UPDATE entries SET value = x'00' WHERE key = (SELECT max(key) FROM entries)",
  'UPDATE entries SET checksum = checksum + 1 WHERE key = (SELECT max(key) FROM entries)',
  'UPDATE entries SET checksum = NULL, value = zeroblob(20000000) WHERE key = (SELECT max(key) FROM entries)',
  'UPDATE entries SET expires_at = -5 WHERE key = (SELECT max(key) FROM entries)',
  'INSERT INTO large_values VALUES (123456789, zeroblob(1000))',
  `PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'STRICT, WITHOUT', 'WITHOUT') WHERE name = 'entries'`,
];

export interface HostileSnapshot {
  readonly what: string;
  readonly bytes: Buffer;
  /** As the master announces it; wrong in some. */
  readonly crc32: number;
}

/**
 * @param good the bytes of a real snapshot
 * @param folder for files that are removed with it
 */
export function hostileSnapshot(chance: Chance, good: Buffer, folder: string): HostileSnapshot {
  if (chance.is(0.6)) {
    const sql = chance.of(SCHEMA_CHANGES);
    const bytes = changed(good, sql, join(folder, 'hostile.db'));
    // A change that SQLite or this schema refuses leaves the file as it was: then at least its checksum is wrong.
    return { what: sql, bytes, crc32: bytes.equals(good) ? 1 : crc32(bytes) };
  }
  const bytes = Buffer.from(good);
  const at = chance.below(bytes.length);
  switch (chance.below(4)) {
    case 0:
      bytes[at] = (bytes[at] as number) ^ (1 << chance.below(8));
      return { what: `a flipped bit in byte ${at}`, bytes, crc32: crc32(good) };
    case 1:
      return {
        what: `cut to ${at} bytes`,
        bytes: bytes.subarray(0, at),
        crc32: crc32(bytes.subarray(0, at)),
      };
    case 2:
      bytes.fill(chance.below(256), at, Math.min(at + 4_096, bytes.length));
      return { what: `a page's length overwritten at ${at}`, bytes, crc32: crc32(good) };
    default:
      return { what: 'noise', bytes: chance.bytes(4_096), crc32: 0 };
  }
}

function changed(good: Buffer, sql: string, path: string): Buffer {
  writeFileSync(path, good);
  const database = new Database(path);
  try {
    database.pragma('journal_mode = DELETE');
    database.exec(sql);
    database.pragma('journal_mode = WAL');
    database.pragma('wal_checkpoint(TRUNCATE)');
  } catch {
    return good;
  } finally {
    database.close();
  }
  return readFileSync(path);
}
