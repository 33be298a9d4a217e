/** Backups for tests, and the commands that make and use them, as a user types them. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import Database, { type Database as Connection } from 'better-sqlite3';
import { offset, type Position } from '../../src/replication/position.ts';
import type { Manifest } from '../../src/store/backup/manifest.ts';
import { closeSeal, newSeal } from '../../src/store/backup/seal.ts';
import { sealFile } from '../../src/store/backup/seal-file.ts';
import { entryChecksum } from '../../src/store/keyspace/entry-checksum.ts';
import { prepareKeyspace, writePosition } from '../../src/store/keyspace/keyspace-schema.ts';
import { runId } from './arbitraries.ts';
import { MAIN } from './main-file.ts';

/** The position of the backups that `makeBackup` makes. */
export const BACKED_UP: Position = { runId: runId('a'), offset: offset(1_000_000) };

export interface TestEntry {
  readonly key: string;
  readonly value: Buffer;
  readonly expiresAt?: number;
}

/** Small and large entries, some of which expire. */
export const ENTRIES: readonly TestEntry[] = Array.from({ length: 300 }, (_, index) => ({
  key: `key/${String(index).padStart(4, '0')}`,
  value: Buffer.alloc(index % 50 === 0 ? 9_000 : index % 200, String(index)),
  ...(index % 7 === 0 && { expiresAt: 4e12 + index }),
}));

/** Writes a keyspace file at `BACKED_UP`. @param path where no file is */
export function makeKeyspace(path: string, entries: readonly TestEntry[]): void {
  const db = new Database(path);
  prepareKeyspace(db, path, BACKED_UP);
  const insert = db.prepare(
    'INSERT INTO entries (key, value, version, expires_at, checksum) VALUES (?, ?, ?, ?, ?)',
  );
  const large = db.prepare('INSERT INTO large_values (id, value) VALUES (?, ?)');
  db.transaction(() => {
    for (const [index, { key, value, expiresAt = null }] of entries.entries()) {
      const version = index + 1;
      const isLarge = Buffer.byteLength(key) + value.length > 960;
      if (isLarge) large.run(version, value);
      const checksum = entryChecksum(key, value, version, expiresAt);
      insert.run(key, isLarge ? Buffer.alloc(0) : value, version, expiresAt, checksum);
    }
    writePosition(db, BACKED_UP);
  })();
  db.close();
}

/** Makes a backup. @param path where no file is */
export function makeBackup(
  path: string,
  entries: readonly TestEntry[] = ENTRIES,
  guarded = false,
): Promise<Manifest> {
  makeKeyspace(path, entries);
  const commitTime = Math.floor(statSync(path).mtimeMs);
  return sealFile(path, {
    version: '0.1.0',
    position: BACKED_UP,
    lineage: [],
    commitTime,
    hash: 7n,
    guarded,
  });
}

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command to its end. */
export function psyncd(
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [MAIN, ...args],
      { env: { ...process.env, ...environment } },
      (_error, stdout, stderr) => resolve({ code: child.exitCode, stdout, stderr }),
    );
  });
}

/** All files below a folder, with their bytes. */
export async function contents(folder: string): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>();
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    found.set(path, entry.isFile() ? readFileSync(path, 'latin1') : 'folder');
  }
  return found;
}

/** Checks that a command failed with one line. */
export function failed({ code, stdout, stderr }: Outcome, expected: number, message: RegExp): void {
  assert.match(stderr, message);
  assert.match(stderr, /^psyncd: [^\n]+\n$/);
  assert.deepEqual([code, stdout], [expected, '']);
}

export function json({ code, stdout, stderr }: Outcome): Record<string, unknown> {
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout) as Record<string, unknown>;
}

/**
 * Changes a backup with SQLite and gives it a seal that fits again, as a hostile author would.
 * @param table that has the manifest after the change
 */
export async function forged(
  path: string,
  change: (db: Connection) => void,
  table = 'backup',
): Promise<void> {
  const db = new Database(path);
  const seal = newSeal();
  db.unsafeMode();
  change(db);
  db.prepare(`UPDATE ${table} SET sha256 = ?`).run(seal);
  db.exec('VACUUM');
  db.prepare(`UPDATE ${table} SET bytes = ?`).run(readFileSync(path).length);
  db.close();
  await closeSeal(path, seal);
}

/** Makes a backup of a node that does not know its history hash. */
export function withoutHash(path: string): Promise<void> {
  return forged(path, (db) => db.exec('UPDATE backup SET hash = NULL'));
}

/** @param trace names of fault points, one a line @returns each one as `<name>#<n>`, for the n-th time that it was reached */
export function reached(trace: string): readonly string[] {
  const counts = new Map<string, number>();
  return trace
    .trim()
    .split('\n')
    .map((point) => {
      counts.set(point, (counts.get(point) ?? 0) + 1);
      return `${point}#${counts.get(point)}`;
    });
}
