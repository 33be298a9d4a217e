/** The applier's thread: opens the file, then answers the main thread's questions in order. */
import { parentPort, workerData } from 'node:worker_threads';
import Database, { type Database as Connection } from 'better-sqlite3';
import { messageOf, toldOf } from '../../node/ports/failures.ts';
import { giveBackWhenQuiet } from '../../runtime/memory/quiet-memory.ts';
import { codeOf, isOfDisk } from '../storage-failure.ts';
import { Applier } from './applier.ts';
import type { Answer, ApplierData, FromApplier, ToApplier } from './applier-protocol.ts';
import { prepareKeyspace, readPosition } from './keyspace-schema.ts';

const port = parentPort;
if (port === null) throw new Error('this module runs as a worker thread');
const tell = (message: FromApplier): void => port.postMessage(message);

function open({ path, createAt }: ApplierData): Connection {
  const db = new Database(path, { fileMustExist: createAt === null });
  prepareKeyspace(db, path, createAt);
  return db;
}

function run(applier: Applier, message: ToApplier): Answer {
  switch (message.kind) {
    case 'flush':
      return applier.flush(message.position, message.changes) as undefined;
    case 'freeze':
      return applier.freeze();
    case 'tidy':
      return applier.tidy();
    case 'thaw':
      return applier.thaw() as undefined;
    case 'close':
      return applier.close() as undefined;
  }
}

try {
  const db = open(workerData as ApplierData);
  const position = readPosition(db);
  const applier = new Applier(db);
  port.on('message', (message: ToApplier) => {
    try {
      tell({ kind: 'done', id: message.id, answer: run(applier, message) });
    } catch (error) {
      const failure = { code: codeOf(error), message: messageOf(error), told: toldOf(error) };
      tell(
        isOfDisk(failure.code)
          ? { kind: 'failed', id: message.id, ...failure }
          : { kind: 'broken', ...failure },
      );
    }
    if (message.kind === 'close') port.close();
  });
  tell({ kind: 'ready', position });
  giveBackWhenQuiet();
} catch (error) {
  tell({ kind: 'broken', code: codeOf(error), message: messageOf(error), told: toldOf(error) });
}
