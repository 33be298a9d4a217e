/** The thread that checks one snapshot: first its bytes, while they arrive, then everything that stands in the file. */
import { closeSync, openSync, readSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { crc32 } from 'node:zlib';
import Database, { type Database as Connection } from 'better-sqlite3';
import { formatPosition, type Position } from '../replication/position.ts';
import { checkTables, RowCheck } from './entry-check.ts';
import { damage } from './entry-checksum.ts';
import { readPosition } from './keyspace-schema.ts';
import { checkKind, checkSchema, schemaVersion } from './migrate.ts';
import { PageWalk } from './page-walk.ts';
import { codeOf, isDamage, messageOf } from './storage-failure.ts';

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
  /** The file is one that may replace another. */
  readonly inspect: Inspection;
}

/** What a file is that has just arrived, and that was checked. */
export interface Inspection {
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

/**
 * First the pages of the schema, without SQLite; then the schema, before anything of it is run; then all pages and the entries
 * in them; then SQLite's own check, and what needs more than one row.
 * @returns null if it was stopped
 * @throws Error that says why the file must not replace anything
 */
function inspect(path: string, expected: Position, isStopped: () => boolean): Inspection | null {
  const walk = new PageWalk(path);
  try {
    walk.checkSchemaPages();
    const roots = opened(path, (db) => checkedRoots(db, path));
    const rows = new RowCheck(roots.get('entries') as number, expected.offset);
    if (!walk.checkPages([...roots.values()], rows, isStopped)) return null;
    const whole = opened(path, (db) => {
      const found = db.pragma('quick_check(1)', { simple: true }) as string;
      if (found !== 'ok') throw damage(found);
      const position = readPosition(db);
      if (position.runId !== expected.runId || position.offset !== expected.offset) {
        throw new Error(`it is at ${formatPosition(position)}, announced was ${formatPosition(expected)}`);
      }
      return checkTables(db, isStopped);
    });
    return whole ? { empty: rows.entries === 0 } : null;
  } finally {
    walk.close();
  }
}

/**
 * @returns where the b-trees of tables and indexes begin, by name
 * @throws Error if it is no keyspace file with exactly this node's schema
 */
function checkedRoots(db: Connection, path: string): ReadonlyMap<string, number> {
  const version = checkKind(db, 'keyspace', path);
  const own = schemaVersion('keyspace');
  if (version !== own) throw new Error(`the master's keyspace has schema ${version}, this node's has ${own}`);
  checkSchema(db, 'keyspace', version);
  const rows = db.prepare('SELECT name, rootpage FROM sqlite_schema WHERE rootpage > 0').raw().all();
  return new Map(rows as [string, number][]);
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

/** What is damaged says so, with SQLite's words or ours. */
function withReason(error: unknown): unknown {
  return isDamage(codeOf(error)) ? new Error(`it is damaged: ${messageOf(error)}`) : error;
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
    case 'inspect':
      // Before SQLite opens it: see keyspace-file.ts.
      bytes.close();
      try {
        const found = inspect(path, question.expected, () => Atomics.load(stop, 0) !== 0);
        if (found !== null) port.postMessage(found satisfies Answers['inspect']);
      } catch (error) {
        throw withReason(error);
      }
      return;
  }
});
