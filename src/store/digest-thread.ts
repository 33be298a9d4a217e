/** Reads a whole keyspace file for its digest, off the main thread, and ends. */
import { parentPort, workerData } from 'node:worker_threads';
import Database from 'better-sqlite3';
import { digestOf } from './digest.ts';

const db = new Database((workerData as { path: string }).path, { readonly: true });
try {
  parentPort?.postMessage(digestOf(db));
} finally {
  db.close();
}
