/**
 * Checks a whole keyspace file: its pages, its schema, its entries, and what belongs to them. A replica checks what it has
 * received before that may replace anything, and a node its own file, with the same rules: so a master finds whatever a
 * replica refuses.
 */
import type { Database as Connection } from 'better-sqlite3';
import { formatPosition, type Position } from '../../replication/position.ts';
import { checkKind, checkSchema, schemaVersion } from '../migrate.ts';
import { checkTables, RowCheck } from './entry-check.ts';
import { damage } from './entry-checksum.ts';
import { readPosition } from './keyspace-schema.ts';
import { type PageSource, PageWalk } from './page-walk.ts';

/** What a file is that was checked and is whole. */
export interface Inspection {
  readonly entries: number;
  /** Where the file stands, as it says itself. */
  readonly position: Position;
}

export interface Inspected {
  /** For the messages. */
  readonly path: string;
  readonly pages: PageSource;
  /** The position of `pages`. */
  readonly position: Position;
  /** Opens the file with SQLite for one use. It may be further than `pages`. */
  opened<T>(use: (db: Connection) => T): T;
}

/**
 * First the pages of the schema, without SQLite; then the schema, before anything of it is run; then all pages and the entries
 * in them; then SQLite's own check, and what needs more than one row.
 * @param isStopped asked at each page, and at each entry whose value is elsewhere
 * @returns null if it was stopped
 * @throws Error with SQLite's code for damage, or another one, that says what is wrong
 */
export function inspect(file: Inspected, isStopped: () => boolean): Inspection | null {
  const walk = new PageWalk(file.pages);
  try {
    walk.checkSchemaPages();
    const roots = file.opened((db) => checkedRoots(db, file.path));
    const rows = new RowCheck(roots.get('entries') as number, file.position.offset);
    if (!walk.checkPages([...roots.values()], rows, isStopped)) return null;
    const position = file.opened((db) => checkedTables(db, isStopped));
    return position === null ? null : { entries: rows.entries, position };
  } finally {
    walk.close();
  }
}

/** Checks everything in one read transaction. @returns the position of the file; null if it was stopped */
function checkedTables(db: Connection, isStopped: () => boolean): Position | null {
  return db.transaction((): Position | null => {
    const position = readPosition(db);
    const found = db.pragma('quick_check(1)', { simple: true }) as string;
    if (found !== 'ok') throw damage(found);
    return checkTables(db, isStopped) ? position : null;
  })();
}

/** @throws Error with SQLite's code for damage if the file stands elsewhere */
export function expectPosition(found: Position, expected: Position, what: string): void {
  if (found.runId === expected.runId && found.offset === expected.offset) return;
  throw damage(`it is at ${formatPosition(found)}, ${what} was ${formatPosition(expected)}`);
}

/**
 * @returns where the b-trees of tables and indexes begin, by name
 * @throws Error if it is no keyspace file with exactly this node's schema
 */
function checkedRoots(db: Connection, path: string): ReadonlyMap<string, number> {
  const version = checkKind(db, 'keyspace', path);
  const own = schemaVersion('keyspace');
  if (version !== own) throw new Error(`the master's keyspace has schema ${version}, this node's has ${own}`);
  checkSchema(db, 'keyspace', version);
  const rows = db.prepare('SELECT name, rootpage FROM sqlite_schema WHERE rootpage > 0').raw().all();
  return new Map(rows as [string, number][]);
}
