/**
 * Numbered SQL, forward only, one folder per kind of file. SQLite's `user_version` tells how many have run, its
 * `application_id` whose file it is.
 */
import { readdirSync, readFileSync } from 'node:fs';
import type { Database } from 'better-sqlite3';
import { StartError } from './start-error.ts';

export type FileKind = 'state' | 'keyspace';

/** `psy` and the kind: what `file` and `sqlite3` show of a file of ours. */
const APPLICATION_IDS: Readonly<Record<FileKind, number>> = { state: 0x70737900, keyspace: 0x70737901 };

interface Migration {
  readonly number: number;
  readonly sql: string;
}

const folder = new URL('../../migrations/', import.meta.url);
const migrations: Readonly<Record<FileKind, readonly Migration[]>> = {
  state: load('state'),
  keyspace: load('keyspace'),
};

/** The schema that this version of psyncd writes. */
export function schemaVersion(kind: FileKind): number {
  return migrations[kind].at(-1)?.number ?? 0;
}

/**
 * Checks that the file is ours and brings its schema up to date.
 * @param path for the messages
 * @returns whether the file was empty before
 * @throws StartError for a file of somebody else, or of a newer psyncd
 */
export function migrate(db: Database, kind: FileKind, path: string): boolean {
  const version = checkKind(db, kind, path);
  const due = migrations[kind].filter((migration) => migration.number > version);
  if (due.length === 0) return false;
  db.transaction(() => {
    for (const { number, sql } of due) {
      db.exec(sql);
      db.pragma(`user_version = ${number}`);
    }
    db.pragma(`application_id = ${APPLICATION_IDS[kind]}`);
  })();
  return version === 0;
}

/**
 * @returns the schema version of the file; 0 if it is empty
 * @throws StartError for a file of somebody else, or of a newer psyncd
 */
export function checkKind(db: Database, kind: FileKind, path: string): number {
  const application = db.pragma('application_id', { simple: true });
  const version = db.pragma('user_version', { simple: true }) as number;
  const tables = db.prepare('SELECT count(*) FROM sqlite_schema').pluck().get() as number;
  if (application !== APPLICATION_IDS[kind] && (application !== 0 || tables > 0)) {
    throw new StartError(`${path} is no ${kind} file of psyncd`);
  }
  if (version > schemaVersion(kind)) {
    throw new StartError(
      `${path} was written by a newer psyncd (schema ${version}, this one knows ${schemaVersion(kind)}); nothing was changed`,
    );
  }
  return version;
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
