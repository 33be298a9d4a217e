import Database from 'better-sqlite3';
import { StorageError } from '../node/ports.ts';

/**
 * What SQLite or the file system reported, as the node understands it. `SQLITE_FULL` and `ENOSPC` mean a full disk,
 * `EDQUOT` a full quota.
 */
export function storageFailure(error: unknown): StorageError {
  const code = codeOf(error);
  const full = code === 'SQLITE_FULL' || code === 'ENOSPC' || code === 'EDQUOT';
  return new StorageError(full ? 'no space left on the device' : `${code}: ${messageOf(error)}`, full, error);
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
