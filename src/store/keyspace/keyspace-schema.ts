/** What both connections of a keyspace file, and a check of one that has just arrived, know of it and its tables. */
import type { Database } from 'better-sqlite3';
import { offset, type Position, parseRunId } from '../../replication/position.ts';
import { faultPoint } from '../fault-point.ts';
import { migrate } from '../migrate.ts';
import { damage } from './entry-checksum.ts';

/**
 * Of a key and its value, in bytes. A row of more than 1,002 would go on in another page, and be read as a whole by every
 * search that comes across it: in a table WITHOUT ROWID the row is what is compared
 * (https://www.sqlite.org/fileformat2.html#index_b_trees). A longer key goes on in one other page, whatever its value.
 */
export const MAX_ROW_BYTES = 960;

/**
 * Makes the file what the applier needs: with a WAL, and the present schema.
 * @param path for the messages
 * @param createAt where a file that is empty begins; null: it is left without a position
 * @throws StartError for a file of somebody else, or of a newer psyncd; Error with SQLite's code for damage for another schema
 */
export function prepareKeyspace(db: Database, path: string, createAt: Position | null): void {
  // Before anything else is: what a file is to be cannot be changed later.
  if (numberOf(db, 'page_count') === 0) db.pragma('auto_vacuum = INCREMENTAL');
  db.pragma('journal_mode = WAL');
  faultPoint('keyspace-migrate');
  const empty = migrate(db, 'keyspace', path);
  if (empty && createAt !== null) writePosition(db, createAt);
}

/** What SQLite says of the file. */
export function numberOf(
  db: Database,
  pragma: 'auto_vacuum' | 'freelist_count' | 'page_count' | 'page_size',
): number {
  return db.pragma(pragma, { simple: true }) as number;
}

/** The position up to which the stream is applied to the file. */
export function readPosition(db: Database): Position {
  const row = db.prepare('SELECT run_id, "offset" FROM position').raw().get() as [string, number] | undefined;
  const runId = parseRunId(row?.[0] ?? '');
  if (row === undefined || runId === null) throw damage('the table position is empty or holds no run ID');
  if (!Number.isSafeInteger(row[1]) || row[1] < 0) throw damage(`the table position holds ${row[1]}`);
  return { runId, offset: offset(row[1]) };
}

export function writePosition(db: Database, position: Position): void {
  db.prepare('INSERT OR REPLACE INTO position (only, run_id, "offset") VALUES (1, ?, ?)').run(
    position.runId,
    position.offset,
  );
}
