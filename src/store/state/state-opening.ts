/** Opens psyncd.db, or makes a new one: the lock on the data folder, schema, and what must not be opened. */
import { readdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import Database, { type Database as Connection } from 'better-sqlite3';
import { messageOf } from '../../node/ports/failures.ts';
import { faultPoint } from '../fault-point.ts';
import { KEYSPACE_FILE } from '../folder-names.ts';
import { damage } from '../keyspace/entry-checksum.ts';
import { checkKind, migrate } from '../migrate.ts';
import { refuseSharedFile } from '../restore/shared-file.ts';
import { isWalStale, staleWal } from '../stale-wal.ts';
import { DamageError, InUseError, StartError } from '../start-error.ts';
import { codeOf, isDamage, isDamaged, openingFailure } from '../storage-failure.ts';
import { WAL_PAGES } from './journal-checkpoints.ts';
import type { StateFileSettings } from './state-settings.ts';

/** Page cache in KiB. It can be small: only slow replicas read the journal. */
const CACHE_KIB = 2 * 1024;
/** The schema since which the file has marks. */
export const MARK_SCHEMA = 8;
/**
 * Longest wait for SQLite's write lock, in milliseconds: the thread of the checkpoints holds it for some microseconds.
 */
const LOCK_WAIT_MS = 1_000;

/**
 * Opens the file, or creates it with a new run ID.
 * @param begins called before the first row of a new file; what it throws keeps the file from being made
 * @param use takes the connection over; if it throws, the connection is closed
 * @returns what `use` returns
 * @throws StartError when the file is locked, damaged, not writable or of another program
 */
export function openState<T>(
  path: string,
  settings: StateFileSettings,
  begins: () => void,
  use: (db: Connection) => T,
): T {
  let db: Connection | null = null;
  try {
    faultPoint('state-open');
    refuseStaleWal(path);
    db = new Database(path, { timeout: 0 });
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = FULL');
    db.pragma(`cache_size = -${CACHE_KIB}`);
    db.pragma(`wal_autocheckpoint = ${WAL_PAGES}`);
    keepOthersOut(db);
    const made = db;
    migrate(made, 'state', path, () => {
      refuseBesideData(path);
      begins();
      insertNode(made, settings);
    });
    return use(db);
  } catch (error) {
    db?.close();
    if (error instanceof StartError) throw error;
    throw explain(path, error);
  }
}

/**
 * Locks the data folder of a node that does not run, until the connection is closed. The file stays as it is, also that of an
 * older psyncd; SQLite moves what is in the WAL into it.
 * @throws InUseError if a process has it open; other StartErrors if it cannot be used
 */
export function lockState(path: string): Connection {
  let db: Connection | null = null;
  refuseSharedFile(path);
  try {
    refuseStaleWal(path);
    db = new Database(path, { timeout: 0, fileMustExist: true });
    db.pragma('journal_mode = WAL');
    keepOthersOut(db);
    checkKind(db, 'state', path);
    return db;
  } catch (error) {
    db?.close();
    if (error instanceof StartError) throw error;
    throw explain(path, error);
  }
}

/**
 * Locks a folder like `lockState`, and has everything in the file itself: it has no WAL then that something could be lost with.
 * @throws InUseError if a process has it open; other StartErrors if it cannot be used; SqliteError if the disk is full
 */
export function lockWhole(path: string): Connection {
  const db = lockState(path);
  try {
    db.pragma('wal_checkpoint(TRUNCATE)');
    const { size } = statSync(`${path}-wal`, { throwIfNoEntry: false }) ?? { size: 0 };
    if (size > 0) throw new StartError(`${path}-wal cannot be moved into ${path}`);
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/**
 * Takes SQLite's exclusive lock and then keeps the shared one, so that only one process can use the file. SQLite takes
 * the exclusive lock with the first write transaction in exclusive mode, and gives it back after the first one in
 * normal mode; none of these transactions writes. The first transaction opens the WAL in normal mode: a WAL opened in
 * exclusive mode could not be shared with the thread of the checkpoints.
 * @throws SqliteError SQLITE_BUSY when another process has the file open
 */
function keepOthersOut(db: Connection): void {
  for (const mode of ['NORMAL', 'EXCLUSIVE', 'NORMAL']) {
    db.pragma(`locking_mode = ${mode}`);
    db.transaction(() => undefined).immediate();
  }
  db.pragma(`busy_timeout = ${LOCK_WAIT_MS}`);
}

/**
 * @throws DamageError if the WAL belongs to another state of the file; SqliteError SQLITE_BUSY when another process has
 * the file open
 */
function refuseStaleWal(path: string): void {
  if (!isWalStale(path, MARK_SCHEMA)) return;
  // Another process may have written to both while they were compared.
  lockOnce(path);
  if (isWalStale(path, MARK_SCHEMA)) throw staleWal(path);
}

/**
 * Takes and gives back the lock, without moving the WAL into the file: SQLite does that when the last connection that may
 * write is closed, unless another one has the file open.
 * @throws SqliteError SQLITE_BUSY when another process has the file open
 */
function lockOnce(path: string): void {
  const db = new Database(path, { timeout: 0 });
  const reader = new Database(path, { readonly: true });
  try {
    lenient(() => keepOthersOut(db));
    lenient(() => reader.pragma('schema_version'));
  } finally {
    db.close();
    reader.close();
  }
}

/** Ignores what SQLite says of a mixture of two states, but not that the file is in use. */
function lenient(use: () => void): void {
  try {
    use();
  } catch (error) {
    if (!isDamage(codeOf(error))) throw error;
  }
}

/**
 * Creates a complete psyncd.db for a new node and closes it; it is on disk on return.
 * @param path where no file exists
 */
export function makeStateFile(path: string, settings: StateFileSettings): void {
  const db = new Database(path);
  try {
    db.pragma('synchronous = FULL');
    migrate(db, 'state', path, () => insertNode(db, settings));
  } finally {
    db.close();
  }
  faultPoint('state-made');
}

function insertNode(db: Connection, settings: StateFileSettings): void {
  faultPoint('state-new');
  db.prepare(
    'INSERT INTO node (only, run_id, keyspace, upstream, clean, boot_id, fsync) VALUES (1, ?, 0, ?, 1, ?, ?)',
  ).run(settings.newRunId(), settings.upstream, settings.bootId, settings.fsync);
}

/**
 * Refuses to create psyncd.db beside a keyspace file: there must have been a psyncd.db that says whose keyspace it is.
 * @throws Error with SQLite's code for damage
 */
function refuseBesideData(path: string): void {
  const file = readdirSync(dirname(path)).find((name) => KEYSPACE_FILE.test(name));
  if (file !== undefined) throw damage(`it is empty, and there is ${file}`);
}

function explain(path: string, error: unknown): StartError {
  const code = codeOf(error);
  switch (true) {
    case code === 'SQLITE_BUSY' || code === 'SQLITE_LOCKED':
      return new InUseError(
        `${path} is in use by another process; stop that one, or choose another folder with --data`,
      );
    case code === 'SQLITE_CANTOPEN' || code.startsWith('SQLITE_READONLY') || code === 'SQLITE_PERM':
      return new StartError(`${path} cannot be opened for writing: ${messageOf(error)}`);
    case isDamaged(error):
      return new DamageError(
        `${path} is damaged: ${messageOf(error)}; nothing was changed, restore the folder from a copy or choose another with --data`,
      );
    default:
      return new StartError(openingFailure(error, path));
  }
}
