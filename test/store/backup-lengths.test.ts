/** A backup states its own length, however long the row is that states it. */
import assert from 'node:assert/strict';
import { copyFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import Database from 'better-sqlite3';
import fc from 'fast-check';
import { type Ancestor, LINEAGE_REASONS, MAX_ANCESTORS } from '../../src/replication/history.ts';
import { offset, parseRunId } from '../../src/replication/position.ts';
import { checkBackup } from '../../src/store/backup/check-backup.ts';
import { sealFile } from '../../src/store/backup/seal-file.ts';
import { BACKED_UP, ENTRIES, makeKeyspace, type TestEntry } from '../support/backups.ts';
import { temporaryFolder } from '../support/cluster.ts';

const VERSION = '0.1.0';
/** Page sizes in which SQLite does not split a seal. */
const PAGE_SIZES = [2048, 4096, 8192, 65_536];
/** Length of a value that makes a file a few pages shorter than 8 MiB. From there on, SQLite stores its length in four bytes. */
const NEARLY_8_MIB = 8_331_000;

const anyReason = fc.constantFrom(...LINEAGE_REASONS);
/** From a clock that was never set to one that was set far too late. */
const anyTime = fc.oneof(
  fc.integer({ min: 0, max: 9 }),
  fc.constant(1_795_966_813_513),
  fc.constant(8.64e15),
);
const anyOffset = fc.integer({ min: 0, max: BACKED_UP.offset });
const anyOrigin = fc.tuple(anyReason, anyTime, anyOffset);

function lineageOf(origins: readonly (readonly [Ancestor['reason'], number, number])[]): readonly Ancestor[] {
  return origins.map(([reason, at, validTo], index) => {
    const runId = parseRunId(index.toString(16).padStart(40, '0'));
    assert.ok(runId !== null);
    return { runId, validTo: offset(validTo), reason, at };
  });
}

function usual(length: number): readonly Ancestor[] {
  return lineageOf(
    Array.from({ length }, (_, index) => ['promoted', 1_795_966_813_513 - index, BACKED_UP.offset]),
  );
}

/** @returns the path of a new keyspace file */
async function keyspaceOf(t: TestContext, entries: readonly TestEntry[], pageSize: number): Promise<string> {
  const path = join(await temporaryFolder(t), 'keyspace.db');
  makeKeyspace(path, entries);
  const db = new Database(path);
  db.pragma('journal_mode = DELETE');
  db.pragma(`page_size = ${pageSize}`);
  db.exec('VACUUM');
  db.close();
  return path;
}

/** Makes a backup of a copy of the file, and checks it. */
async function isWhole(keyspace: string, lineage: readonly Ancestor[]): Promise<void> {
  const path = `${keyspace}.backup`;
  copyFileSync(keyspace, path);
  await sealFile(path, {
    version: VERSION,
    position: BACKED_UP,
    lineage,
    commitTime: 1_795_966_813_513,
    hash: 7n,
    guarded: false,
  });
  const manifest = await checkBackup(path, VERSION);
  assert.deepEqual(manifest.lineage, lineage);
  assert.equal(manifest.bytes, statSync(path).size);
  rmSync(path);
}

test('a backup with any number of ancestors is whole', async (t) => {
  const path = await keyspaceOf(t, ENTRIES.slice(0, 5), 4096);
  for (let length = 0; length <= MAX_ANCESTORS; length += 1) await isWhole(path, usual(length));
});

test('a backup is whole whatever its ancestors, its entries and its pages are', async (t) => {
  const lengths = fc.integer({ min: 0, max: MAX_ANCESTORS });
  const anyLineage = lengths.chain((length) =>
    fc.array(anyOrigin, { minLength: length, maxLength: length }).map(lineageOf),
  );
  const anyFile = fc.tuple(fc.integer({ min: 0, max: ENTRIES.length }), fc.constantFrom(...PAGE_SIZES));
  await fc.assert(
    fc.asyncProperty(
      anyFile,
      fc.array(anyLineage, { minLength: 1, maxLength: 3 }),
      async (file, lineages) => {
        const path = await keyspaceOf(t, ENTRIES.slice(0, file[0]), file[1]);
        for (const lineage of lineages) await isWhole(path, lineage);
      },
    ),
    { numRuns: 25 },
  );
});

test('a backup is whole when its own manifest makes it 8 MiB long', async (t) => {
  for (const pages of [0, 1, 2]) {
    const path = await keyspaceOf(
      t,
      [{ key: 'large', value: Buffer.alloc(NEARLY_8_MIB + pages * 4096) }],
      4096,
    );
    assert.ok(statSync(path).size < 2 ** 23);
    for (const length of [0, 30, 55, MAX_ANCESTORS]) await isWhole(path, usual(length));
  }
});
