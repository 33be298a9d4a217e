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

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
