/** The thread that checks one snapshot: first its bytes, while they arrive, then what SQLite makes of them. */
import { closeSync, openSync, readSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { crc32 } from 'node:zlib';
import Database from 'better-sqlite3';
import type { Position } from '../replication/position.ts';
import { readPosition } from './keyspace-schema.ts';
import { checkKind } from './migrate.ts';

export type Question = { readonly kind: 'written'; readonly to: number } | { readonly kind: keyof Answers };

export interface Answers {
  /** The CRC-32 of all that has been written, as it was read back. */
  readonly sum: number;
  /** Comes last. */
  readonly inspect: Inspection;
}

/** What a file is that has just arrived. */
export interface Inspection {
  /** Of the schema. */
  readonly version: number;
  readonly position: Position;
  /** What SQLite's `quick_check` found, or null. */
  readonly damage: string | null;
  /** There is no entry in it. */
  readonly empty: boolean;
}

const READ_BYTES = 1024 * 1024;

/**
 * The sum of what is read back from the file, not of what arrives: so what became of the bytes on their way into the file
 * counts too, and the event loop has nothing to do with it. (It comes from the system's cache: a disk that forgets is
 * found by the checks of pages and entries.)
 */
class ReadBack {
  readonly #file: number;
  readonly #part = Buffer.allocUnsafeSlow(READ_BYTES);
  #at = 0;
  #sum = 0;

  constructor(path: string) {
    this.#file = openSync(path, 'r');
  }

  get sum(): number {
    return this.#sum;
  }

  /** @param to there are so many bytes */
  advance(to: number): void {
    while (this.#at < to) {
      const read = readSync(this.#file, this.#part, 0, Math.min(READ_BYTES, to - this.#at), this.#at);
      if (read === 0) throw new Error(`there are ${this.#at} bytes, written were ${to}`);
      this.#sum = crc32(this.#part.subarray(0, read), this.#sum);
      this.#at += read;
    }
  }

  close(): void {
    closeSync(this.#file);
  }
}

/** @throws Error if it is no keyspace file at all */
function inspect(path: string): Inspection {
  const db = new Database(path, { readonly: true, fileMustExist: true });
  try {
    const version = checkKind(db, 'keyspace', path);
    const found = db.pragma('quick_check(1)', { simple: true }) as string;
    const empty = found === 'ok' && db.prepare('SELECT 1 FROM entries LIMIT 1').get() === undefined;
    return { version, position: readPosition(db), damage: found === 'ok' ? null : found, empty };
  } finally {
    db.close();
  }
}

const port = parentPort;
if (port === null) throw new Error('this module runs as a worker thread');
const path = workerData as string;
const bytes = new ReadBack(path);
port.on('message', (question: Question) => {
  switch (question.kind) {
    case 'written':
      bytes.advance(question.to);
      return;
    case 'sum':
      port.postMessage(bytes.sum satisfies Answers['sum']);
      return;
    case 'inspect':
      // Before SQLite opens it: see keyspace-file.ts.
      bytes.close();
      port.postMessage(inspect(path) satisfies Answers['inspect']);
      return;
  }
});
