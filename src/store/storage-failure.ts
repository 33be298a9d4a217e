import { closeSync, openSync } from 'node:fs';
import { devNull } from 'node:os';
import Database from 'better-sqlite3';
import { StorageError } from '../node/ports.ts';

/**
 * What SQLite or the file system reported, as the node understands it. `SQLITE_FULL` and `ENOSPC` mean a full disk,
 * `EDQUOT` a full quota.
 */
export function storageFailure(error: unknown): StorageError {
  const code = codeOf(error);
  if (isOutOfDescriptors(code)) return new StorageError('no file descriptors are left', false, error);
  const full = code === 'SQLITE_FULL' || code === 'ENOSPC' || code === 'EDQUOT';
  return new StorageError(full ? 'no space left on the device' : `${code}: ${messageOf(error)}`, full, error);
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

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
