/** The thread of one file task. What it throws reaches the main thread as the worker's error. */
import { closeSync, openSync, readSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { crc32 } from 'node:zlib';
import Database, { type Database as Connection } from 'better-sqlite3';
import { digestOf } from './digest.ts';
import type { FileTask, Inspection } from './file-tasks.ts';
import { readPosition } from './keyspace-schema.ts';
import { checkKind } from './migrate.ts';
import { scrub } from './scrub.ts';

const READ_BYTES = 1024 * 1024;

function inspect(db: Connection, path: string): Inspection {
  const version = checkKind(db, 'keyspace', path);
  const found = db.pragma('quick_check(1)', { simple: true }) as string;
  const empty = found === 'ok' && db.prepare('SELECT 1 FROM entries LIMIT 1').get() === undefined;
  return { version, position: readPosition(db), damage: found === 'ok' ? null : found, empty };
}

function checksum(path: string): number {
  const part = Buffer.allocUnsafe(READ_BYTES);
  const file = openSync(path, 'r');
  try {
    let sum = 0;
    for (let read = readSync(file, part); read > 0; read = readSync(file, part)) {
      sum = crc32(part.subarray(0, read), sum);
    }
    return sum;
  } finally {
    closeSync(file);
  }
}

function asked(
  kind: Exclude<FileTask['kind'], 'checksum'>,
  { path, stop = new Int32Array(1) }: FileTask,
  db: Connection,
): unknown {
  switch (kind) {
    case 'digest':
      return digestOf(db);
    case 'inspect':
      return inspect(db, path);
    case 'scrub':
      return scrub(db, stop);
    case 'unify':
      return db.pragma('journal_mode = DELETE', { simple: true });
  }
}

function answer(task: FileTask): unknown {
  const { kind, path } = task;
  if (kind === 'checksum') return checksum(path);
  const db = new Database(path, { readonly: kind !== 'unify', fileMustExist: true });
  try {
    return asked(kind, task, db);
  } finally {
    db.close();
  }
}

parentPort?.postMessage(answer(workerData as FileTask));
