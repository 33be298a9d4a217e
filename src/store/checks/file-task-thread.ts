/** The thread of one file task. An exception reaches the main thread as the worker's error. */
import { parentPort, workerData } from 'node:worker_threads';
import Database, { type Database as Connection } from 'better-sqlite3';
import { messageOf, toldOf } from '../../node/ports/failures.ts';
import { lowerThreadPriority } from '../../runtime/background.ts';
import { damage } from '../keyspace/entry-checksum.ts';
import { FrozenPageSource } from '../keyspace/frozen-file.ts';
import { codeOf, isOfDisk } from '../storage-failure.ts';
import { digestOf } from './digest.ts';
import type { FileTask } from './file-tasks.ts';
import { type Inspection, inspect } from './inspect.ts';
import { scrub } from './scrub.ts';

/**
 * Length of each period of work of an inspection, in milliseconds. The thread then rests for as long: it uses at most
 * half a core.
 */
const SLICE_MS = 20;

function asked(task: FileTask, db: Connection): unknown {
  const { kind, stop = new Int32Array(1) } = task;
  if (kind === 'inspect' || kind === 'scrub') lowerThreadPriority();
  switch (kind) {
    case 'digest':
      return digestOf(db);
    case 'inspect':
      return inspected(task, stop, db);
    case 'scrub':
      return scrub(db, stop);
    case 'unify':
      return db.pragma('journal_mode = DELETE', { simple: true });
  }
}

function inspected({ path, frozen }: FileTask, stop: Int32Array, db: Connection): Inspection | null {
  if (frozen === undefined) throw new Error('nothing is frozen');
  const { file, pages } = frozen;
  let startedAt = performance.now();
  return ofThisFile(() =>
    inspect(
      {
        path,
        pages: new FrozenPageSource(path, file, pages),
        position: pages.position,
        opened: (use) => use(db),
      },
      () => {
        const workedMs = performance.now() - startedAt;
        if (workedMs >= SLICE_MS) {
          Atomics.wait(stop, 0, 0, workedMs);
          startedAt = performance.now();
        }
        return Atomics.load(stop, 0) !== 0;
      },
    ),
  );
}

/**
 * Reports any failed check as damage: this node wrote the file, even if the damage makes it look like another
 * program's.
 */
function ofThisFile<T>(check: () => T): T {
  try {
    return check();
  } catch (error) {
    throw isOfDisk(codeOf(error)) ? error : damage(messageOf(error), toldOf(error));
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
