/** Makes a backup of a keyspace file that nothing else has open. */
import { closeSync, existsSync, openSync, readSync, statSync, writeSync } from 'node:fs';
import type { Database as Connection } from 'better-sqlite3';
import type { Ancestor } from '../../replication/history.ts';
import type { Position } from '../../replication/position.ts';
import { digestOf } from '../checks/digest.ts';
import { expectPosition, inspect } from '../checks/inspect.ts';
import { PlainFile } from '../checks/page-source.ts';
import { faultPoint } from '../fault-point.ts';
import { numberOf } from '../keyspace/keyspace-schema.ts';
import { APPLICATION_IDS, manifestSql } from '../migrate.ts';
import { withUntrusted } from '../untrusted-file.ts';
import { BACKUP_FORMAT, type Manifest, OPEN_FORMAT, putManifest } from './manifest.ts';
import { closeSeal, newSeal, type Report } from './seal.ts';

/** Place of the two versions in SQLite's header that say which kind of journal the file has, and their values. */
const VERSIONS_AT = 18;
const WAL_MODE = Buffer.from([2, 2]);
const ROLLBACK_MODE = Buffer.from([1, 1]);
/** How often the length of a backup is written into it. SQLite stores numbers in seven lengths. */
const MAX_LENGTH_WRITES = 8;

/** What a keyspace file does not say of itself. */
export interface Origin {
  /** The psyncd that makes the backup. */
  readonly version: string;
  readonly position: Position;
  readonly lineage: readonly Ancestor[];
  /** Milliseconds since 1970. */
  readonly commitTime: number;
  /** The history hash at the position; null: unknown. */
  readonly hash: bigint | null;
  /** Whether the node needs tokens. */
  readonly guarded: boolean;
}

/**
 * Checks the keyspace file, adds the manifest to it, and makes it durable.
 * @param path of a keyspace file with the newest schema and without a WAL
 * @param origin `position` null: the one that the file states
 * @throws Error that says what is wrong with the file
 */
export async function sealFile(
  path: string,
  origin: Omit<Origin, 'position'> & { readonly position: Position | null },
  report?: Report,
): Promise<Manifest> {
  leaveWalMode(path);
  const pages = new PlainFile(path);
  const found = inspect(
    { path, pages, position: origin.position, opened: (use) => withUntrusted(path, 'write', use) },
    () => false,
  );
  // Nobody stops the check.
  if (found === null) throw new Error(`${path} was not checked`);
  const position = origin.position ?? found.position;
  expectPosition(found.position, position, 'expected');
  const seal = newSeal();
  faultPoint('backup-seal');
  const manifest = withUntrusted(path, 'write', (db) => withManifest(db, seal, { ...origin, position }));
  if (statSync(path).size !== manifest.bytes) throw new Error(`${path} has not ${manifest.bytes} bytes`);
  const sha256 = await closeSeal(path, seal, report);
  faultPoint('backup-sealed');
  return { ...manifest, sha256 };
}

/** A file in WAL mode would get a WAL from any reader. The header is changed without SQLite, which must not read the file yet. */
function leaveWalMode(path: string): void {
  if (existsSync(`${path}-wal`)) throw new Error(`${path} has a WAL`);
  const file = openSync(path, 'r+');
  try {
    const versions = Buffer.alloc(WAL_MODE.length);
    readSync(file, versions, 0, versions.length, VERSIONS_AT);
    if (versions.equals(WAL_MODE)) writeSync(file, ROLLBACK_MODE, 0, ROLLBACK_MODE.length, VERSIONS_AT);
  } finally {
    closeSync(file);
  }
}

function withManifest(db: Connection, seal: string, origin: Origin): Omit<Manifest, 'sha256'> {
  // What SQLite removes must not stay in the file: it would have the seal.
  db.pragma('secure_delete = ON');
  const { keys, digest } = digestOf(db);
  const { version, position, lineage, commitTime, hash, guarded } = origin;
  const format = guarded ? BACKUP_FORMAT : OPEN_FORMAT;
  const manifest = { format, version, position, lineage, commitTime, keys, digest, hash, guarded };
  return db.transaction(() => {
    db.exec(manifestSql());
    putManifest(db, seal, { ...manifest, bytes: lengthOf(db) });
    const bytes = stateLength(db);
    db.pragma(`application_id = ${APPLICATION_IDS.backup}`);
    return { ...manifest, bytes };
  })();
}

/**
 * Writes the length of the file into its manifest. That may lengthen the file: SQLite stores a larger number in more bytes, and takes
 * new pages for a changed row before it frees those of the old one. So the length is written until it is still the same afterwards. That
 * comes to an end, because the number gets longer a few times at most, and SQLite overwrites a row in its place when its length stays.
 * @returns the length in bytes
 */
function stateLength(db: Connection): number {
  const update = db.prepare('UPDATE backup SET bytes = ?');
  for (let write = 0; write < MAX_LENGTH_WRITES; write += 1) {
    const bytes = lengthOf(db);
    update.run(bytes);
    if (lengthOf(db) === bytes) return bytes;
  }
  throw new Error(`the length of the backup has changed ${MAX_LENGTH_WRITES} times`);
}

/** @returns bytes that the file has once the transaction is over */
function lengthOf(db: Connection): number {
  return numberOf(db, 'page_count') * numberOf(db, 'page_size');
}
