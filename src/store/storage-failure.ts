/** Classifies the errors of SQLite and the file system for the node. */
import { closeSync, openSync, rmSync, statSync, writeSync } from 'node:fs';
import { devNull } from 'node:os';
import Database from 'better-sqlite3';
import { FilesDamaged, messageOf, StorageError, toldOf } from '../node/ports/failures.ts';
import { DamageError, StartError } from './start-error.ts';

/**
 * Codes for missing room: on the disk, in the quota, or under the limit for a file's size. SQLite returns
 * `IOERR_SHMSIZE` if it cannot lengthen the `-shm` file, which readers and writers share.
 */
const NO_ROOM = new Set(['SQLITE_FULL', 'SQLITE_IOERR_SHMSIZE', 'ENOSPC', 'EDQUOT', 'EFBIG']);
/** Codes that SQLite uses for many causes, among them a quota or a limit for a file's size. */
const MAY_BE_NO_ROOM = /^SQLITE_(CANTOPEN|IOERR_(WRITE|FSYNC|TRUNCATE|SHMOPEN|SHMMAP)$)/;
/** Bytes that must fit behind the longest of the files: more than a small commit adds. */
const PROBE = Buffer.alloc(64 * 1024);

/**
 * @param path of the database file: if SQLite's code leaves open whether there is room, the function tries to write
 * beside it
 */
export function storageFailure(error: unknown, path?: string): StorageError {
  const code = codeOf(error);
  if (isOutOfDescriptors(code)) return new StorageError('no file descriptors are left', false, error);
  const isFull = NO_ROOM.has(code) || (path !== undefined && MAY_BE_NO_ROOM.test(code) && !hasRoom(path));
  const message = messageOf(error);
  if (!isFull) return new StorageError(toldOf(error), false, error, `${code}: ${message}`, isDamaged(error));
  const isDevice = code === 'SQLITE_FULL' || code === 'ENOSPC';
  const where = `the device${isDevice ? '' : ', in the quota, or below the limit of a file'}`;
  return new StorageError(`no space left on ${where}`, true, error);
}

/** Describes the error in one line for people, with SQLite's code. */
export function openingFailure(error: unknown, path: string): string {
  const { full, inLog } = storageFailure(error, path);
  return `${path} cannot be opened: ${full ? `${codeOf(error)}: ${inLog}` : inLog}`;
}

/** Whether a file beside this one can be made slightly longer than the database and its WAL. */
function hasRoom(path: string): boolean {
  const probe = `${path}-probe`;
  try {
    const sizes = [path, `${path}-wal`].map((each) => statSync(each, { throwIfNoEntry: false })?.size ?? 0);
    const file = openSync(probe, 'w');
    try {
      // A write far beyond the end leaves a hole, which takes no room.
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
 * Whether the process or the machine may have no file descriptor left. SQLite does not say why it could not open a
 * file, so this function opens another one. It must not be a database file: closing it would drop SQLite's locks.
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

/** Codes for a wrong call of SQLite, which is psyncd's own mistake. */
const OWN_MISTAKES = /^SQLITE_(CONSTRAINT|ERROR|MISMATCH|MISUSE|RANGE|TOOBIG)/;

/** Whether a later attempt may succeed, because the error comes from the disk. Otherwise it is a bug. */
export function isOfDisk(code: string): boolean {
  return /^(SQLITE_|PSYNCD_|E[A-Z0-9]+$)/.test(code) && !OWN_MISTAKES.test(code);
}

/** Whether an error comes from the disk, the system or its limits. Otherwise it is a bug. */
export function isOfSystem(error: unknown): boolean {
  if (error instanceof StorageError || error instanceof RangeError) return true;
  const code = codeOf(error);
  return isOfDisk(code) || code.startsWith('ERR_WORKER_');
}

/** Whether the code means damage, which no later attempt mends. */
export function isDamage(code: string): boolean {
  return code.startsWith('SQLITE_CORRUPT') || code === 'SQLITE_NOTADB';
}

/**
 * Whether the error means that the files are damaged. Only this function decides that: no other failure (a full disk, a
 * system limit, missing memory, a mistake of psyncd) is a reason to give the files up.
 */
export function isDamaged(error: unknown): boolean {
  if (error instanceof DamageError || error instanceof FilesDamaged) return true;
  if (error instanceof StorageError) return isDamaged(error.cause);
  const code = codeOf(error);
  return isDamage(code) || code === 'SQLITE_IOERR_SHORT_READ';
}

/**
 * Converts the error that kept the node from starting into one line for people; returns psyncd's own mistakes
 * unchanged.
 */
export function startFailure(error: unknown, path: string): unknown {
  if (error instanceof StartError) return error;
  if (!isOfSystem(error)) return error;
  const { inLog } = error instanceof StorageError ? error : storageFailure(error);
  return new StartError(`${path} cannot be opened: ${inLog}; what was in it is still there`);
}
