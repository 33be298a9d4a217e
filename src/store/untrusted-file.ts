/** Opens SQLite files that others have made. */
import Database, { type Database as Connection } from 'better-sqlite3';

/**
 * Opens the file, calls `use`, and closes it. No other connection of this process may have it open, because closing loses its POSIX
 * locks.
 * @param mode whether `use` may write
 * @returns what `use` returns
 */
export function withUntrusted<T>(path: string, mode: 'read' | 'write', use: (db: Connection) => T): T {
  const db = new Database(path, { readonly: mode === 'read', fileMustExist: true });
  try {
    db.pragma('trusted_schema = OFF');
    db.pragma('cell_size_check = ON');
    return use(db);
  } finally {
    db.close();
  }
}
