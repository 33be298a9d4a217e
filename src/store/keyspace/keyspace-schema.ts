/** Facts about a keyspace file that both connections and the check of a received file share. */
import { crc32 } from 'node:zlib';
import type { Database } from 'better-sqlite3';
import { keyBehind } from '../../keyspace/key.ts';
import { formatPosition, offset, type Position, parseRunId } from '../../replication/position.ts';
import { faultPoint } from '../fault-point.ts';
import { migrate } from '../migrate.ts';
import { damage } from './entry-checksum.ts';

/**
 * Largest key plus value that `entries` holds itself, in bytes. A row above 1,002 bytes would continue in another page,
 * and every search that meets it would read it whole: a table WITHOUT ROWID compares rows
 * (https://www.sqlite.org/fileformat2.html#index_b_trees). A longer key continues in one more page, whatever its value.
 */
export const MAX_ROW_BYTES = 960;

/** The schema since which the position has a checksum. */
const CHECKSUM_SCHEMA = 5;
/** The schema since which the file has marks. */
export const MARK_SCHEMA = 6;

/**
 * Prepares the file for the applier: switches to WAL mode and migrates the schema.
 * @param path path to show in messages
 * @param createAt position of an empty file; null: the file stays without a position
 * @throws StartError if another program or a newer psyncd made the file; Error with SQLite's code for damage if its
 * schema differs
 */
export function prepareKeyspace(db: Database, path: string, createAt: Position | null): void {
  // Set before anything else is written: SQLite cannot change it later.
  if (numberOf(db, 'page_count') === 0) db.pragma('auto_vacuum = INCREMENTAL');
  db.pragma('journal_mode = WAL');
  faultPoint('keyspace-migrate');
  // One transaction: there is never a file with the present schema and without a checked position.
  db.transaction(() => {
    const version = db.pragma('user_version', { simple: true }) as number;
    const empty = migrate(db, 'keyspace', path);
    if (empty && createAt !== null) writePosition(db, createAt);
    if (!empty && version < CHECKSUM_SCHEMA) writePosition(db, parsePosition(rowOf(db)));
  })();
}

/** Sorts after every key: SQLite sorts blobs after texts. */
const BEHIND_ALL = Buffer.alloc(0);

/** @returns the value for `key < ?` of a query that is to read keys with the prefix only */
export function boundBehind(prefix: string): string | Buffer {
  return keyBehind(prefix) ?? BEHIND_ALL;
}

/** Reads a number that SQLite keeps for the file. */
export function numberOf(
  db: Database,
  pragma: 'auto_vacuum' | 'freelist_count' | 'page_count' | 'page_size',
): number {
  return db.pragma(pragma, { simple: true }) as number;
}

type PositionRow = readonly [runId: string, offset: number, checksum: number | null];

/**
 * The position up to which the stream is applied to the file. A wrong one would make the node apply its journal from a wrong
 * place, or leave some of it out.
 * @throws Error with SQLite's code for damage if it is not what was written
 */
export function readPosition(db: Database): Position {
  const row = rowOf(db);
  const position = parsePosition(row);
  if (row?.[2] !== positionChecksum(position))
    throw damage(`the table position holds ${formatPosition(position)}, which is not what was written`);
  return position;
}

export function writePosition(db: Database, position: Position): void {
  db.prepare('INSERT OR REPLACE INTO position (only, run_id, "offset", checksum) VALUES (1, ?, ?, ?)').run(
    position.runId,
    position.offset,
    positionChecksum(position),
  );
}

/** @returns CRC-32 of `<run ID>:<offset>` */
export function positionChecksum({
  runId,
  offset,
}: Readonly<Record<'runId', string> & Record<'offset', number>>): number {
  return crc32(`${runId}:${offset}`);
}

function rowOf(db: Database): PositionRow | undefined {
  return db.prepare('SELECT run_id, "offset", checksum FROM position').raw().get() as PositionRow | undefined;
}

/** @throws Error with SQLite's code for damage if the row holds no position; its checksum is not looked at */
function parsePosition(row: PositionRow | undefined): Position {
  const runId = parseRunId(row?.[0] ?? '');
  if (row === undefined || runId === null) throw damage('the table position is empty or holds no run ID');
  if (!Number.isSafeInteger(row[1]) || row[1] < 0) throw damage(`the table position holds ${row[1]}`);
  return { runId, offset: offset(row[1]) };
}
