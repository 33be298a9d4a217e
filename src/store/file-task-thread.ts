/** The thread of one file task. What it throws reaches the main thread as the worker's error. */
import { parentPort, workerData } from 'node:worker_threads';
import Database, { type Database as Connection } from 'better-sqlite3';
import { digestOf } from './digest.ts';
import type { FileTask, Inspection } from './file-tasks.ts';
import { readPosition } from './keyspace-schema.ts';
import { checkKind } from './migrate.ts';

function inspect(db: Connection, path: string): Inspection {
  const version = checkKind(db, 'keyspace', path);
  const found = db.pragma('quick_check(1)', { simple: true }) as string;
  return { version, position: readPosition(db), damage: found === 'ok' ? null : found };
}

const { kind, path } = workerData as FileTask;
const db = new Database(path, { readonly: true });
try {
  parentPort?.postMessage(kind === 'digest' ? digestOf(db) : inspect(db, path));
} finally {
  db.close();
}
