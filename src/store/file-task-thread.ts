/** The thread of one file task. What it throws reaches the main thread as the worker's error. */
import { parentPort, workerData } from 'node:worker_threads';
import Database, { type Database as Connection } from 'better-sqlite3';
import { digestOf } from './digest.ts';
import type { FileTask } from './file-tasks.ts';
import { scrub } from './scrub.ts';

function asked({ kind, stop = new Int32Array(1) }: FileTask, db: Connection): unknown {
  switch (kind) {
    case 'digest':
      return digestOf(db);
    case 'scrub':
      return scrub(db, stop);
    case 'unify':
      return db.pragma('journal_mode = DELETE', { simple: true });
  }
}

function answer(task: FileTask): unknown {
  const db = new Database(task.path, { readonly: task.kind !== 'unify', fileMustExist: true });
  try {
    return asked(task, db);
  } finally {
    db.close();
  }
}

parentPort?.postMessage(answer(workerData as FileTask));
