/** The thread that checks one snapshot: first its bytes, while they arrive, then everything that stands in the file. */
import { closeSync, openSync, readSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { crc32 } from 'node:zlib';
import Database, { type Database as Connection } from 'better-sqlite3';
import type { Position } from '../../replication/position.ts';
import { codeOf, isDamage, isOfDisk, messageOf } from '../storage-failure.ts';
import { expectPosition, inspect } from './inspect.ts';
import { PlainFile } from './page-walk.ts';

export interface CheckData {
  readonly path: string;
  /** Not 0 as soon as nobody wants the answers any more. Shared with the thread. */
  readonly stop: Int32Array;
}

export type Question =
  | { readonly kind: 'written'; readonly to: number }
  | { readonly kind: 'sum' }
  /** Comes last. */
  | { readonly kind: 'inspect'; readonly expected: Position };

export interface Answers {
  /** The CRC-32 of all that has been written, as it was read back. */
  readonly sum: number;
  readonly inspect: Inspection;
}

/** A file that has just arrived, and was checked: it may replace another, or it says what is wrong with it. */
export type Inspection =
  | {
      /** There is no entry in it. */
      readonly empty: boolean;
    }
  | { readonly wrong: string };

/** What SQLite says of a file that is shorter than its pages. */
const SHORT = 'SQLITE_IOERR_SHORT_READ';

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

/** Nobody else has the file open: the locks that closing another descriptor drops are not missed. */
function opened<T>(path: string, use: (db: Connection) => T): T {
  const db = new Database(path, { readonly: true, fileMustExist: true });
  try {
    db.pragma('trusted_schema = OFF');
    db.pragma('cell_size_check = ON');
    return use(db);
  } finally {
    db.close();
  }
}

/**
 * @returns null if it was stopped
 * @throws Error when this node's disk did not let it look
 */
function inspected(path: string, expected: Position): Inspection | null {
  try {
    const found = inspect(
      { path, pages: new PlainFile(path), position: expected, opened: (use) => opened(path, use) },
      () => Atomics.load(stop, 0) !== 0,
    );
    if (found === null) return null;
    expectPosition(found.position, expected, 'announced');
    return { empty: found.entries === 0 };
  } catch (error) {
    const code = codeOf(error);
    if (isDamage(code) || code === SHORT) return { wrong: `it is damaged: ${messageOf(error)}` };
    if (isOfDisk(code)) throw error;
    return { wrong: messageOf(error) };
  }
}

const port = parentPort;
if (port === null) throw new Error('this module runs as a worker thread');
const { path, stop } = workerData as CheckData;
const bytes = new ReadBack(path);
port.on('message', (question: Question) => {
  switch (question.kind) {
    case 'written':
      bytes.advance(question.to);
      return;
    case 'sum':
      port.postMessage(bytes.sum satisfies Answers['sum']);
      return;
    case 'inspect': {
      // Before SQLite opens it: see keyspace-file.ts.
      bytes.close();
      const found = inspected(path, question.expected);
      if (found !== null) port.postMessage(found satisfies Answers['inspect']);
      return;
    }
  }
});
