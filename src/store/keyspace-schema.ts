/** What both connections of a keyspace file, and a check of one that has just arrived, know of its tables. */
import type { Database } from 'better-sqlite3';
import { offset, type Position, parseRunId } from '../replication/position.ts';

/** The position up to which the stream is applied to the file. */
export function readPosition(db: Database): Position {
  const row = db.prepare('SELECT run_id, "offset" FROM position').raw().get() as [string, number] | undefined;
  const runId = parseRunId(row?.[0] ?? '');
  if (row === undefined || runId === null) throw new Error('the table position is empty or holds no run ID');
  return { runId, offset: offset(row[1]) };
}

export function writePosition(db: Database, position: Position): void {
  db.prepare('INSERT OR REPLACE INTO position (only, run_id, "offset") VALUES (1, ?, ?)').run(
    position.runId,
    position.offset,
  );
}
