/** Damage of a keyspace file that SQLite does not notice by itself. */
import { readFileSync, writeFileSync } from 'node:fs';
import Database, { type Database as Connection } from 'better-sqlite3';
import { offset } from '../../src/replication/position.ts';
import { readPosition, writePosition } from '../../src/store/keyspace/keyspace-schema.ts';

/** Where a page of a file that nobody has open begins, and how long it is. */
export function pageOf(path: string, number: number): { readonly at: number; readonly length: number } {
  const db = new Database(path);
  const length = db.pragma('page_size', { simple: true }) as number;
  db.close();
  return { at: (number - 1) * length, length };
}

export function rootOf(path: string, name: string): number {
  const db = new Database(path);
  const root = db.prepare('SELECT rootpage FROM sqlite_schema WHERE name = ?').pluck().get(name) as number;
  db.close();
  return root;
}

/**
 * Where the key, `key/<4 digits>`, of the first cell of an inner page begins. What is in no cell may be left over from
 * before.
 */
export function separatorIn(page: Buffer): number {
  if (page[0] !== 2) throw new Error('this is no inner page of an index');
  const at = page.indexOf('key/', page.readUInt16BE(12));
  if (at === -1) throw new Error('the cell has no such key');
  return at;
}

/**
 * Flips a bit of the first key that stands in the root page, so that the search for smaller ones goes the wrong way.
 * @returns a key that cannot be found any more
 */
export function flippedSeparator(path: string): string {
  const { at, length } = pageOf(path, rootOf(path, 'entries'));
  const bytes = readFileSync(path);
  const found = at + separatorIn(bytes.subarray(at, at + length));
  const number = Number(bytes.toString('latin1', found + 4, found + 8));
  bytes[found] = (bytes[found] as number) ^ 0x08;
  writeFileSync(path, bytes);
  return `key/${String(number - 1).padStart(4, '0')}`;
}

/** Moves the position of a keyspace file, with its checksum, as psyncd would. */
export function movePosition(db: Connection, by: number): void {
  const { runId, offset: at } = readPosition(db);
  writePosition(db, { runId, offset: offset(at + by) });
}
