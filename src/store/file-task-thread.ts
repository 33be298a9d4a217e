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
  const empty = found === 'ok' && db.prepare('SELECT 1 FROM entries LIMIT 1').get() === undefined;
  return { version, position: readPosition(db), damage: found === 'ok' ? null : found, empty };
}

function answer({ kind, path }: FileTask, db: Connection): unknown {
  switch (kind) {
    case 'digest':
      return digestOf(db);
    case 'inspect':
      return inspect(db, path);
    case 'unify':
      return db.pragma('journal_mode = DELETE', { simple: true });
  }
}

const task = workerData as FileTask;
const db = new Database(task.path, { readonly: task.kind !== 'unify', fileMustExist: true });
try {
  parentPort?.postMessage(answer(task, db));
} finally {
  db.close();
}
