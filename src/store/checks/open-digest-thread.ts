/**
 * The thread of one digest that is requested before its position is known. It opens a read transaction, reports its
 * position and sums all entries. When the main thread sends the commands up to the wanted position, the thread corrects
 * the sum for the entries that they change, without reading the other entries again.
 */
import { parentPort, workerData } from 'node:worker_threads';
import Database from 'better-sqlite3';
import { StreamDecoder } from '../../stream/decoder.ts';
import { readPosition } from '../keyspace/keyspace-schema.ts';
import { DigestAt } from './digest.ts';

const port = parentPort;
if (port === null) throw new Error('this module runs as a worker thread');
const db = new Database(workerData as string, { readonly: true, fileMustExist: true });
db.exec('BEGIN');
port.postMessage(readPosition(db));
// Messages that arrive during the summing wait in the port.
const digest = new DigestAt(db);
port.on('message', (parts: readonly Uint8Array[]) => {
  const decoder = new StreamDecoder();
  for (const part of parts) {
    const run = decoder.push(Buffer.from(part.buffer, part.byteOffset, part.byteLength));
    for (const command of run?.commands ?? []) digest.apply(command);
  }
  if (decoder.heldBytes > 0) throw new Error('the position is inside of a command');
  port.postMessage(digest.end());
  db.close();
  port.close();
});
