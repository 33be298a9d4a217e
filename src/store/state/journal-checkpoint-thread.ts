/** The thread of the journal's checkpoints: makes one checkpoint for each message. */
import { parentPort, workerData } from 'node:worker_threads';
import Database from 'better-sqlite3';
import { messageOf } from '../../node/ports/failures.ts';
import { faultPoint } from '../fault-point.ts';
import { Gate } from './gate.ts';
import type { CheckpointData, CheckpointResult } from './journal-checkpoint-protocol.ts';

const { path, gate } = workerData as CheckpointData;
const entrance = new Gate(gate);

function checkpoint(): void {
  const db = new Database(path, { fileMustExist: true });
  try {
    // In this mode SQLite fsyncs the WAL before the checkpoint and the file after it.
    db.pragma('synchronous = NORMAL');
    faultPoint('journal-checkpoint');
    db.pragma('wal_checkpoint(PASSIVE)');
    faultPoint('journal-checkpointed');
  } finally {
    db.close();
  }
}

function answer(): CheckpointResult {
  try {
    return { failure: entrance.enter(checkpoint) ? null : 'psyncd.db is closed' };
  } catch (error) {
    return { failure: messageOf(error) };
  }
}

parentPort?.on('message', () => parentPort?.postMessage(answer()));
