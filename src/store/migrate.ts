/**
 * Numbered SQL migrations, forward only, in one folder per kind of file. SQLite's `user_version` says how many have
 * run; its `application_id` says which program owns the file.
 */
import { readdirSync, readFileSync } from 'node:fs';
import SqliteDatabase, { type Database } from 'better-sqlite3';
import { telling } from '../node/ports/failures.ts';
import { damage } from './keyspace/entry-checksum.ts';
import { StartError } from './start-error.ts';
import { WalMarks } from './wal-mark.ts';

/** A backup is a keyspace file with a manifest; its `user_version` is that of the keyspace. */
export type FileKind = 'state' | 'keyspace' | 'backup';

/** `psy` and a byte for the kind of file; the programs `file` and `sqlite3` show it. */
export const APPLICATION_IDS: Readonly<Record<FileKind, number>> = {
  state: 0x70737900,
  keyspace: 0x70737901,
  backup: 0x70737902,
};

interface Migration {
  readonly number: number;
  readonly sql: string;
}

/** Found by the package's own name: a module in `src` and the built program in `dist` lie at different depths. */
const folder = new URL('migrations/', import.meta.resolve('psyncd/package.json'));
const keyspace = load('keyspace');
const migrations: Readonly<Record<FileKind, readonly Migration[]>> = {
  state: load('state'),
  keyspace,
  backup: [...load('backup'), ...keyspace],
};

/** The SQL that adds the manifest to a keyspace file. */
export function manifestSql(): string {
  return migrations.backup[0]?.sql ?? '';
}

/** Version of the schema that this psyncd writes. */
export function schemaVersion(kind: FileKind): number {
  return migrations[kind].at(-1)?.number ?? 0;
}

/**
 * Checks that psyncd owns the file and that its schema is exactly as expected, then runs the missing migrations. Their
 * transaction draws a mark.
 * @param path path to show in messages
 * @param fill inserts the first rows into an empty file, in the transaction that creates its tables
 * @returns whether the file was empty
 * @throws StartError if another program or a newer psyncd made the file; Error with SQLite's code for damage if its
 * schema differs
 */
export function migrate(
  db: Database,
  kind: FileKind,
  path: string,
  fill: () => void = () => undefined,
): boolean {
  const version = checkKind(db, kind, path);
  // Checked before a migration runs, because a migration would also run the file's triggers.
  checkSchema(db, kind, version);
  const due = migrations[kind].filter((migration) => migration.number > version);
  if (due.length === 0) return false;
  db.transaction(() => {
    for (const { number, sql } of due) {
      db.exec(sql);
      db.pragma(`user_version = ${number}`);
    }
    db.pragma(`application_id = ${APPLICATION_IDS[kind]}`);
    if (version === 0) fill();
    new WalMarks(db).draw();
  })();
  return version === 0;
}

/**
 * @returns the schema version of the file; 0 if it is empty
 * @throws StartError if another program or a newer psyncd made the file
 */
export function checkKind(db: Database, kind: FileKind, path: string): number {
  const application = db.pragma('application_id', { simple: true });
  const version = db.pragma('user_version', { simple: true }) as number;
  const tables = db.prepare('SELECT count(*) FROM sqlite_schema').pluck().get() as number;
  if (application !== APPLICATION_IDS[kind] && (application !== 0 || tables > 0)) {
    throw telling(new StartError(`${path} is no ${kind} file of psyncd`), `it is no ${kind} file of psyncd`);
  }
  if (version > schemaVersion(kind)) {
    const newer = `was written by a newer psyncd (schema ${version}, this one knows ${schemaVersion(kind)})`;
    throw telling(new StartError(`${path} ${newer}; nothing was changed`), `it ${newer}`);
  }
  return version;
}

interface SchemaRow {
  readonly type: string;
  readonly name: string;
  readonly tbl_name: string;
  readonly sql: string | null;
}

/**
 * Checks that a file has exactly the tables, indexes and views that the migrations up to `version` create. A trigger,
 * or a view that lies or never ends, would run in every read or write.
 * @throws Error with SQLite's code for damage; the message says what differs
 */
export function checkSchema(db: Database, kind: FileKind, version: number): void {
  const encoding = db.pragma('encoding', { simple: true });
  if (encoding !== 'UTF-8') throw damage(`its text is in ${encoding}, not in UTF-8`);
  const expected = expectedSchema(kind, version);
  const found = new Set<string>();
  const rows = db.prepare('SELECT type, name, tbl_name, sql FROM sqlite_schema').iterate();
  for (const row of rows as IterableIterator<SchemaRow>) {
    const what = `${row.type} ${JSON.stringify(row.name)}`;
    // Its name may be anything, and its type is one of SQLite's.
    const kindOnly = `${row.type} "…"`;
    const definition = expected.get(what);
    if (definition === undefined || found.has(what))
      throw damage(
        `its schema has what psyncd's has not: ${what}`,
        `its schema has what psyncd's has not: ${kindOnly}`,
      );
    if (definition !== definitionOf(row))
      throw damage(
        `its schema has not psyncd's ${what}, but another`,
        `its schema has not psyncd's ${kindOnly}, but another`,
      );
    found.add(what);
  }
  for (const what of expected.keys()) {
    if (!found.has(what)) throw damage(`its schema has no ${what}`);
  }
}

/** @returns the definition of each part, by type and name */
function expectedSchema(kind: FileKind, version: number): ReadonlyMap<string, string> {
  const db = new SqliteDatabase(':memory:');
  try {
    for (const { number, sql } of migrations[kind]) if (number <= version) db.exec(sql);
    const rows = db.prepare('SELECT type, name, tbl_name, sql FROM sqlite_schema').all() as SchemaRow[];
    return new Map(rows.map((row) => [`${row.type} ${JSON.stringify(row.name)}`, definitionOf(row)]));
  } finally {
    db.close();
  }
}

/** Removes comments and white space, which SQLite stores too: they may have changed since the file was created. */
function definitionOf({ tbl_name, sql }: SchemaRow): string {
  const tokens = /('(?:[^']|'')*'|"(?:[^"]|"")*")|--[^\n]*|\/\*[\s\S]*?(?:\*\/|$)|\s+/g;
  const text = sql?.replace(tokens, (_, quoted: string | undefined) => quoted ?? ' ').replace(/ +/g, ' ');
  return `${tbl_name}: ${text}`;
}

function load(kind: FileKind): readonly Migration[] {
  const directory = new URL(`${kind}/`, folder);
  return readdirSync(directory)
    .filter((name) => name.endsWith('.sql'))
    .sort()
    .map((name) => ({
      number: Number.parseInt(name, 10),
      sql: readFileSync(new URL(name, directory), 'utf8'),
    }));
}
