/**
 * Checks a whole keyspace file: pages, schema, entries and the tables that belong to them. A replica checks a received
 * file before it replaces anything; a node checks its own file by the same rules, so a master finds all that a replica
 * would refuse.
 */
import type { Database as Connection } from 'better-sqlite3';
import { telling } from '../../node/ports/failures.ts';
import { formatPosition, type Offset, type Position } from '../../replication/position.ts';
import { damage } from '../keyspace/entry-checksum.ts';
import { readPosition } from '../keyspace/keyspace-schema.ts';
import { checkKind, checkSchema, type FileKind, schemaVersion } from '../migrate.ts';
import { WalMarks } from '../wal-mark.ts';
import { checkTables, RowCheck } from './entry-check.ts';
import type { PageSource } from './page-source.ts';
import { PageWalk } from './page-walk.ts';

/** Description of a file that has passed the check. */
export interface Inspection {
  readonly entries: number;
  /** The position that the file itself states. */
  readonly position: Position;
}

export interface Inspected {
  /** Path to show in messages. */
  readonly path: string;
  /** Default: a keyspace file. */
  readonly kind?: Exclude<FileKind, 'state'>;
  readonly pages: PageSource;
  /** Position of `pages`; null: the one that the file states. */
  readonly position: Position | null;
  /** Opens the file with SQLite for one use. The file may be at a later position than `pages`. */
  opened<T>(use: (db: Connection) => T): T;
}

/**
 * Checks, in this order: the pages of the schema, without SQLite; the schema, before SQLite runs any of it; all pages
 * and their entries; SQLite's own check, and the rules over more than one row.
 * @param isStopped asked at each page and at each entry whose value is in `large_values`
 * @returns null if the check was stopped
 * @throws Error that says what is wrong, usually with SQLite's code for damage
 */
export function inspect(file: Inspected, isStopped: () => boolean): Inspection | null {
  const walk = new PageWalk(file.pages);
  try {
    walk.checkSchemaPages();
    const roots = file.opened((db) => checkedRoots(db, file));
    const { offset } = file.position ?? file.opened(readPosition);
    const rows = new RowCheck(roots.get('entries') as number, offset);
    if (!walk.checkPages([...roots.values()], rows, isStopped)) return null;
    const position = file.opened((db) => checkedTables(db, { rows, offset }, isStopped));
    return position === null ? null : { entries: rows.entries, position };
  } finally {
    walk.close();
  }
}

/**
 * Checks the tables in one read transaction.
 * @param seen what has seen all rows of the entries, and the offset at which they were
 * @returns the position of the file; null if the check was stopped
 */
function checkedTables(
  db: Connection,
  seen: { readonly rows: RowCheck; readonly offset: Offset },
  isStopped: () => boolean,
): Position | null {
  return db.transaction((): Position | null => {
    const position = readPosition(db);
    new WalMarks(db).read();
    const found = db.pragma('quick_check(1)', { simple: true }) as string;
    if (found !== 'ok') throw damage(found, 'SQLite finds it damaged');
    // Entries change only with the offset.
    const rows = position.offset === seen.offset ? seen.rows : null;
    return checkTables(db, rows, isStopped) ? position : null;
  })();
}

/** @throws Error with SQLite's code for damage if the file has another position */
export function expectPosition(found: Position, expected: Position, what: string): void {
  if (found.runId === expected.runId && found.offset === expected.offset) return;
  throw damage(`it is at ${formatPosition(found)}, ${what} was ${formatPosition(expected)}`);
}

/**
 * @returns the first page of each table and index, by name
 * @throws Error if the file is not a keyspace file with exactly this node's schema
 */
function checkedRoots(
  db: Connection,
  { path, kind = 'keyspace' }: Pick<Inspected, 'path' | 'kind'>,
): ReadonlyMap<string, number> {
  const version = checkKind(db, kind, path);
  const own = schemaVersion(kind);
  if (version !== own)
    throw telling(new Error(`the master's keyspace has schema ${version}, this node's has ${own}`));
  checkSchema(db, kind, version);
  const rows = db.prepare('SELECT name, rootpage FROM sqlite_schema WHERE rootpage > 0').raw().all();
  return new Map(rows as [string, number][]);
}
