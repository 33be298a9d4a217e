/**
 * The thread of one digest that is asked for before its position is known. It opens a read transaction, says where that stands,
 * and reads all entries; when it is told what the stream has up to the wanted position, it corrects the sum by the entries that
 * this changes, without reading the others again.
 */
import { parentPort, workerData } from 'node:worker_threads';
import Database from 'better-sqlite3';
import { StreamDecoder } from '../../stream/decoder.ts';
import { DigestAt } from './digest.ts';
import { readPosition } from './keyspace-schema.ts';

const port = parentPort;
if (port === null) throw new Error('this module runs as a worker thread');
const db = new Database(workerData as string, { readonly: true, fileMustExist: true });
db.exec('BEGIN');
port.postMessage(readPosition(db));
// What comes meanwhile waits.
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
