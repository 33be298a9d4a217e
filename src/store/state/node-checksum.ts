/**
 * A checksum over what psyncd.db says of its node: the node's row, the lineage and the kept files. One flipped bit there could
 * change whom the node follows, under which run ID it writes, or which keyspace file is the current one.
 */
import { crc32 } from 'node:zlib';
import type { Database } from 'better-sqlite3';

const TABLES = [
  'SELECT * FROM node',
  'SELECT * FROM lineage ORDER BY number',
  'SELECT * FROM kept ORDER BY keyspace',
];

/** Computes and stores the checksum. Called at the end of each transaction that changes one of the tables. */
export function putNodeChecksum(db: Database): void {
  db.prepare('UPDATE node SET checksum = ?').run(checksumOf(db));
}

/** Whether the tables are what was written. A file without a checksum is from an older psyncd, and taken as it is. */
export function isNodeIntact(db: Database): boolean {
  const stored = db.prepare('SELECT checksum FROM node').pluck().get() as number | null | undefined;
  return stored === null || stored === undefined || stored === checksumOf(db);
}

/** Columns that are null do not count: so a migration may add some without making the checksum wrong. */
function checksumOf(db: Database): number {
  const text = TABLES.flatMap((query) =>
    // As big integers, because the history hash uses all 64 bits.
    (db.prepare(query).safeIntegers().all() as Record<string, unknown>[]).map((row) =>
      Object.entries(row)
        .filter(([name, value]) => name !== 'checksum' && value !== null)
        .map(([name, value]) => `${name}=${value}`)
        .join('\n'),
    ),
  );
  return crc32(text.join('\n\n'));
}
