/** A backup that is not what was written is found before SQLite reads any of it, and no other file passes for one. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { gzipSync } from 'node:zlib';
import Database from 'better-sqlite3';
import { offset } from '../../src/replication/position.ts';
import { CheckError, type Finding } from '../../src/store/backup/backup-error.ts';
import { checkBackup } from '../../src/store/backup/check-backup.ts';
import { checkSeal, newSeal } from '../../src/store/backup/seal.ts';
import { writePosition } from '../../src/store/keyspace/keyspace-schema.ts';
import { BACKED_UP, ENTRIES, forged, makeBackup, makeKeyspace } from '../support/backups.ts';
import { temporaryFolder } from '../support/cluster.ts';
import { seeded } from '../support/random.ts';

const VERSION = '0.1.0';
const FLIPS = 150;
const CUT_BYTES = 4096;

async function backup(t: TestContext): Promise<string> {
  const path = join(await temporaryFolder(t), 'backup.db');
  await makeBackup(path);
  return path;
}

/** @returns what the check finds */
async function findingOf(path: string): Promise<CheckError> {
  return checkBackup(path, VERSION).then(
    () => assert.fail(`${path} passed`),
    (error: unknown) => {
      assert.ok(error instanceof CheckError, String(error));
      assert.ok(error.message.startsWith(path) && !error.message.includes('\n'), error.message);
      return error;
    },
  );
}

async function refused(path: string, finding: Finding, message: RegExp): Promise<void> {
  const error = await findingOf(path);
  assert.match(error.message, message);
  assert.equal(error.finding, finding, error.message);
}

test('a backup says what it is of, and is one file', async (t) => {
  const path = await backup(t);
  const { position, keys, bytes, hash, lineage } = await checkBackup(path, VERSION);
  assert.deepEqual(
    { position, keys, hash, lineage },
    { position: BACKED_UP, keys: ENTRIES.length, hash: 7n, lineage: [] },
  );
  assert.equal(bytes, readFileSync(path).length);
  assert.deepEqual(await readdir(join(path, '..')), ['backup.db']);
});

test('a backup that was cut anywhere is damaged', async (t) => {
  const path = await backup(t);
  const whole = readFileSync(path);
  for (let length = 0; length < whole.length; length += CUT_BYTES) {
    writeFileSync(path, whole.subarray(0, length));
    await refused(path, 'damaged', length === 0 ? /it is empty/ : /damaged/);
  }
});

test('a backup with a flipped bit is damaged, wherever the bit is', async (t) => {
  const path = await backup(t);
  const whole = readFileSync(path);
  const { seed, random } = seeded();
  for (let round = 0; round < FLIPS; round += 1) {
    // The first places are in the header, where a wrong bit may make it look like another file.
    const at = round < 100 ? round : Math.floor(random() * whole.length);
    const bit = Math.floor(random() * 8);
    const bytes = Buffer.from(whole);
    bytes[at] = (bytes[at] as number) ^ (1 << bit);
    writeFileSync(path, bytes);
    const { finding } = await findingOf(path);
    assert.equal(finding, 'damaged', `seed ${seed}, byte ${at}, bit ${bit}`);
  }
});

test('bytes behind the end of a backup are damage', async (t) => {
  const path = await backup(t);
  writeFileSync(path, Buffer.concat([readFileSync(path), Buffer.alloc(CUT_BYTES)]));
  await refused(path, 'damaged', /not those that were written/);
});

test('other files are no backups, and the message says what they are', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'x.db');
  const whole = readFileSync(await backup(t));
  for (const [bytes, message] of [
    [gzipSync(whole), /compressed with gzip/],
    ['<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', /HTML or XML/],
    ['<!doctype html><title>502</title>', /HTML or XML/],
    ['{"error":"x"}', /no SQLite file/],
    [Buffer.alloc(8192), /no SQLite file/],
  ] as const) {
    writeFileSync(path, bytes);
    await refused(path, 'unknown', message);
  }
  const foreign = join(folder, 'foreign.db');
  const db = new Database(foreign);
  db.exec('CREATE TABLE t (x); INSERT INTO t VALUES (1)');
  db.close();
  await refused(foreign, 'unknown', /of another program/);
  const keyspace = join(folder, 'keyspace.db');
  makeKeyspace(keyspace, ENTRIES);
  await refused(keyspace, 'unknown', /keyspace file without a manifest/);
  await refused(folder, 'unknown', /is a folder/);
  await assert.rejects(checkBackup(join(folder, 'none'), VERSION), /there is no /);
});

test('a backup of a newer format says which psyncd can read it', async (t) => {
  for (const change of [
    'UPDATE backup SET format = 3',
    'PRAGMA user_version = 99',
    'ALTER TABLE backup ADD COLUMN more INTEGER',
  ]) {
    const path = await backup(t);
    await forged(path, (db) => {
      db.exec(change);
      db.exec("UPDATE backup SET format = 3, version = '7.8.9'");
    });
    await refused(
      path,
      'unknown',
      /made by psyncd 7\.8\.9 in format 3\.\d+; this is psyncd 0\.1\.0.*use psyncd 7\.8\.9 or/,
    );
  }
});

test('a backup of an older format says which psyncd restores it', async (t) => {
  const path = await backup(t);
  await forged(path, (db) => {
    db.exec('PRAGMA user_version = 1');
    db.exec("UPDATE backup SET version = '0.0.1'");
  });
  await refused(
    path,
    'unknown',
    /made by psyncd 0\.0\.1 in format 1\.1; .*restore it with psyncd 0\.0\.1, and start/,
  );
});

test('a seal that fits does not save a backup whose contents are not what psyncd writes', async (t) => {
  for (const [change, message] of [
    ["UPDATE entries SET value = x'00' WHERE key = 'key/0001'", /key\/0001.*not what was written/],
    ["DELETE FROM entries WHERE key = 'key/0001'", /it has 299 entries, not 300/],
    ['CREATE TRIGGER t AFTER DELETE ON backup BEGIN SELECT 1; END', /its schema has/],
    ['UPDATE backup SET "offset" = 999', /not of a{40}:999/],
    ["UPDATE backup SET digest = '00000000000000000000000000000000'", /digest/],
    ["UPDATE backup SET digest = 'x'", /manifest/],
    ["UPDATE backup SET lineage = 'x'", /manifest/],
    [`UPDATE backup SET lineage = run_id || ':5:promoted:1'`, /manifest/],
    [`UPDATE backup SET lineage = '${'b'.repeat(40)}:5:promoted:8640000000000001'`, /manifest/],
    ['UPDATE backup SET commit_time = 8640000000000001', /manifest/],
    ['DELETE FROM large_values WHERE id = 1', /key\/0000/],
  ] as const) {
    const path = await backup(t);
    await forged(path, (db) => db.exec(change));
    await refused(path, 'damaged', message);
  }
});

test('values that look like a seal do not hide the seal', async (t) => {
  const path = join(await temporaryFolder(t), 'backup.db');
  const look = Buffer.from(newSeal());
  const entries = Array.from({ length: 200 }, (_, index) => ({
    key: `key/${String(index).padStart(4, '0')}`,
    value: index % 2 === 0 ? look : Buffer.concat([Buffer.alloc(index * 13, look), look]),
  }));
  await makeBackup(path, entries);
  assert.equal((await checkBackup(path, VERSION)).keys, 200);
  assert.equal(await checkSeal(path), 'fits');
});

test('a file beside a backup that SQLite would take for a part of it is not ignored', async (t) => {
  const path = await backup(t);
  for (const suffix of ['-wal', '-journal']) {
    writeFileSync(path + suffix, 'x');
    await refused(path, 'unknown', /in use by a program/);
  }
});

test('a backup at an offset that no history reaches is damaged', async (t) => {
  const path = await backup(t);
  const beyond = { runId: BACKED_UP.runId, offset: offset(2 ** 52 + 1) };
  await forged(path, (db) => {
    db.prepare('UPDATE backup SET "offset" = ?').run(beyond.offset);
    writePosition(db, beyond);
  });
  await refused(path, 'damaged', /manifest/);
});

test('nothing is read from a backup whose manifest is computed', async (t) => {
  const endless = 'WITH RECURSIVE c (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)';
  for (const [change, table] of [
    [
      `ALTER TABLE backup RENAME TO kept;
       CREATE VIEW BACKUP AS ${endless} SELECT count(*) AS format, '1' AS version FROM c`,
      'kept',
    ],
    [
      'ALTER TABLE backup RENAME COLUMN format TO kept; ALTER TABLE backup ADD COLUMN format INTEGER AS (1)',
      'backup',
    ],
  ] as const) {
    const path = await backup(t);
    await forged(path, (db) => db.exec(change), table);
    await refused(path, 'damaged', /its manifest cannot be read/);
  }
});
