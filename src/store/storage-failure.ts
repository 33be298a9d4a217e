/** What SQLite or the file system reported, as the node understands it. */
import { closeSync, openSync, rmSync, statSync, writeSync } from 'node:fs';
import { devNull } from 'node:os';
import Database from 'better-sqlite3';
import { FilesDamaged, StorageError } from '../node/ports.ts';
import { DamageError, StartError } from './start-error.ts';

/**
 * There is no room: on the disk, in the quota, or under the limit of a file's size; SQLite says `IOERR_SHMSIZE` if the `-shm`
 * file, which readers and writers share, cannot become larger.
 */
const NO_ROOM = new Set(['SQLITE_FULL', 'SQLITE_IOERR_SHMSIZE', 'ENOSPC', 'EDQUOT', 'EFBIG']);
/** SQLite says these for a quota or a file's limit too, and does not say which it was. */
const MAY_BE_NO_ROOM = /^SQLITE_(CANTOPEN|IOERR_(WRITE|FSYNC|TRUNCATE|SHMOPEN|SHMMAP)$)/;
/** So much has to fit behind the longest of the files: more than a small commit adds, in bytes. */
const PROBE = Buffer.alloc(64 * 1024);

/** @param path of the database file in question: whether there is room for it is tried out, if SQLite does not say */
export function storageFailure(error: unknown, path?: string): StorageError {
  const code = codeOf(error);
  if (isOutOfDescriptors(code)) return new StorageError('no file descriptors are left', false, error);
  const isFull = NO_ROOM.has(code) || (path !== undefined && MAY_BE_NO_ROOM.test(code) && !hasRoom(path));
  if (!isFull) return new StorageError(`${code}: ${messageOf(error)}`, false, error);
  const isDevice = code === 'SQLITE_FULL' || code === 'ENOSPC';
  const where = `the device${isDevice ? '' : ', in the quota, or below the limit of a file'}`;
  return new StorageError(`no space left on ${where}`, true, error);
}

/** The same for people, with SQLite's word for it. */
export function openingFailure(error: unknown, path: string): string {
  const { full, message } = storageFailure(error, path);
  return `${path} cannot be opened: ${full ? `${codeOf(error)}: ${message}` : message}`;
}

/** Whether another file beside this one can be made a bit longer than it, with its WAL, is. */
function hasRoom(path: string): boolean {
  const probe = `${path}-probe`;
  try {
    const sizes = [path, `${path}-wal`].map((each) => statSync(each, { throwIfNoEntry: false })?.size ?? 0);
    const file = openSync(probe, 'w');
    try {
      // What is before it takes no room.
      return writeSync(file, PROBE, 0, PROBE.length, Math.max(...sizes)) === PROBE.length;
    } finally {
      closeSync(file);
      rmSync(probe, { force: true });
    }
  } catch (error) {
    return !NO_ROOM.has(codeOf(error));
  }
}

/**
 * Whether the process, or the machine, may have no file descriptor left. SQLite does not say why it could not open a file: so
 * another one is tried, not a database's, because to close a descriptor of it would drop SQLite's locks.
 */
function isOutOfDescriptors(code: string): boolean {
  if (isDescriptorCode(code)) return true;
  if (code !== 'SQLITE_CANTOPEN' && code !== 'ERR_WORKER_INIT_FAILED') return false;
  try {
    closeSync(openSync(devNull, 'r'));
    return false;
  } catch (error) {
    return isDescriptorCode(codeOf(error));
  }
}

function isDescriptorCode(code: string): boolean {
  return code === 'EMFILE' || code === 'ENFILE';
}

export function codeOf(error: unknown): string {
  if (error instanceof Database.SqliteError) return error.code;
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code;
  return 'UNKNOWN';
}

/** What SQLite says of how it was called, not of the disk. */
const OWN_MISTAKES = /^SQLITE_(CONSTRAINT|ERROR|MISMATCH|MISUSE|RANGE|TOOBIG)/;

/** Whether trying again later may help: what SQLite, the system or we say of the file as it is now. Else there is a bug. */
export function isOfDisk(code: string): boolean {
  return /^(SQLITE_|PSYNCD_|E[A-Z0-9]+$)/.test(code) && !OWN_MISTAKES.test(code);
}

/** Trying again would not help: the file is not what was written. */
export function isDamage(code: string): boolean {
  return code.startsWith('SQLITE_CORRUPT') || code === 'SQLITE_NOTADB';
}

/**
 * Whether the files are not what was written: the one place that decides it. Whatever else fails, a full disk, a limit of the
 * system, missing memory, a mistake of psyncd's, is no reason to give them up.
 */
export function isDamaged(error: unknown): boolean {
  if (error instanceof DamageError || error instanceof FilesDamaged) return true;
  if (error instanceof StorageError) return isDamaged(error.cause);
  const code = codeOf(error);
  return isDamage(code) || code === 'SQLITE_IOERR_SHORT_READ';
}

/** What has kept a node from starting, in one line for people; a mistake of psyncd's stays what it is. */
export function startFailure(error: unknown, path: string): unknown {
  if (error instanceof StartError) return error;
  const code = codeOf(error);
  const isOfSystem = isOfDisk(code) || code.startsWith('ERR_WORKER_') || error instanceof RangeError;
  if (!(error instanceof StorageError) && !isOfSystem) return error;
  const { message } = error instanceof StorageError ? error : storageFailure(error);
  return new StartError(`${path} cannot be opened: ${message}; what was in it is still there`);
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
