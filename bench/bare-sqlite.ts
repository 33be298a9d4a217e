/**
 * The limit for `sustained`, in a process of its own: better-sqlite3 alone writes the same operations in the way that
 * suits the applier best, half a million random keys at a time in key order.
 *
 * The parent sends `run` and receives the operations per second.
 */
import Database from 'better-sqlite3';
import { Command } from 'commander';
import { positive } from './options.ts';
import { keyAt, VALUE } from './workload.ts';

const BATCH = 500_000;

const { file, keys, operations } = new Command()
  .requiredOption('--file <PATH>')
  .requiredOption('--keys <N>', '', positive)
  .requiredOption('--operations <N>', '', positive)
  .parse()
  .opts<{ file: string; keys: number; operations: number }>();

const db = new Database(file);
db.pragma('journal_mode = WAL');
db.pragma('synchronous = FULL');
db.exec(
  `CREATE TABLE entries (key TEXT PRIMARY KEY, value BLOB NOT NULL, version INTEGER NOT NULL, expires_at INTEGER,
   checksum INTEGER) STRICT, WITHOUT ROWID`,
);
const upsert = db.prepare(
  `INSERT INTO entries VALUES (?, ?, ?, NULL, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value,
   version = excluded.version, checksum = excluded.checksum`,
);
const value = Buffer.from(VALUE);
let version = 0;

function write(indexes: Uint32Array): void {
  db.transaction(() => {
    for (const index of indexes.sort()) {
      version += 1;
      upsert.run(keyAt(index), value, version, version);
    }
  })();
}

write(Uint32Array.from({ length: keys }, (_, index) => index));

process.send?.('ready');
process.on('message', () => {
  const startedAt = performance.now();
  for (let left = operations; left > 0; left -= BATCH) {
    write(Uint32Array.from({ length: Math.min(left, BATCH) }, () => Math.floor(Math.random() * keys)));
  }
  process.send?.(operations / ((performance.now() - startedAt) / 1000));
});
process.once('disconnect', () => process.exit(0));
