/**
 * Reads the entries of one position in groups, through a connection of its own, so that the event loop can do other
 * work in between. A read transaction keeps the position while the applier changes the file.
 */
import Database, { type Database as Connection, type Statement } from 'better-sqlite3';
import type { ListedEntry } from '../../keyspace/page.ts';
import type { EntryReader } from '../../node/ports/keyspace.ts';
import type { Turns } from '../../node/turns.ts';
import type { Position } from '../../replication/position.ts';
import { faultPoint } from '../fault-point.ts';
import { verifyEntry } from './entry-checksum.ts';
import { boundBehind, readPosition } from './keyspace-schema.ts';

/** Largest group: number of entries, and bytes of values; about a millisecond of reading. */
const GROUP_ENTRIES = 500;
const GROUP_BYTES = 256 * 1024;
/** Number of entries that are counted at a time: about a millisecond. */
const COUNT_ENTRIES = 2_000;
const CACHE_KIB = 2 * 1024;

type Row = [key: string, value: Buffer, version: number, expiresAt: number | null, checksum: number | null];

export class SnapshotReader implements EntryReader {
  readonly position: Position;
  readonly closed: Promise<void>;
  readonly heldBytes: () => number;
  readonly #prefixes: readonly string[];
  readonly #failure: (error: unknown) => Error;
  readonly #db: Connection;
  readonly #first: Statement;
  readonly #next: Statement;
  #hasClosed: () => void = () => undefined;

  /**
   * @param prefixes in key order, none of them a prefix of another
   * @param heldBytes returns by how many bytes the WAL has grown since
   * @param failure converts the error of a failed read
   * @throws the converted error when the file cannot be opened
   */
  constructor(
    path: string,
    prefixes: readonly string[],
    heldBytes: () => number,
    failure: (error: unknown) => Error,
  ) {
    this.#prefixes = prefixes;
    this.heldBytes = heldBytes;
    this.#failure = failure;
    let db: Connection | null = null;
    try {
      db = new Database(path, { readonly: true });
      db.pragma(`cache_size = -${CACHE_KIB}`);
      db.exec('BEGIN');
      this.position = readPosition(db);
      const select = 'SELECT key, value, version, expires_at, checksum FROM whole_entries WHERE key';
      this.#first = db.prepare(`${select} >= ? AND key < ? ORDER BY key LIMIT ${GROUP_ENTRIES}`).raw();
      this.#next = db.prepare(`${select} > ? AND key < ? ORDER BY key LIMIT ${GROUP_ENTRIES}`).raw();
      this.#db = db;
    } catch (error) {
      db?.close();
      throw failure(error);
    }
    this.closed = new Promise((resolve) => {
      this.#hasClosed = resolve;
    });
  }

  get groups(): AsyncIterable<readonly ListedEntry[]> {
    return this.#groups();
  }

  close(): void {
    if (!this.#db.open) return;
    this.#db.close();
    this.#hasClosed();
  }

  async count(turns: Turns): Promise<number> {
    const slice = this.#db
      .prepare(
        `SELECT count(*), max(key) FROM (
           SELECT key FROM entries WHERE key >= ? AND key > ? AND key < ? ORDER BY key LIMIT ${COUNT_ENTRIES})`,
      )
      .raw();
    let total = 0;
    for (const prefix of this.#prefixes) {
      const end = boundBehind(prefix);
      for (let after = ''; this.#db.open; ) {
        const [count, last] = this.#read(() => slice.get(prefix, after, end)) as [number, string];
        total += count;
        if (count < COUNT_ENTRIES) break;
        after = last;
        await turns.next();
      }
    }
    return total;
  }

  async *#groups(): AsyncGenerator<readonly ListedEntry[]> {
    for (const prefix of this.#prefixes) {
      const end = boundBehind(prefix);
      let statement = this.#first;
      let after = prefix;
      while (this.#db.open) {
        const group = this.#group(statement, after, end);
        const last = group[group.length - 1];
        if (last === undefined) break;
        yield group;
        statement = this.#next;
        after = last.key;
      }
    }
  }

  #group(statement: Statement, after: string, end: string | Buffer): readonly ListedEntry[] {
    const group: ListedEntry[] = [];
    let bytes = 0;
    this.#read(() => {
      for (const row of statement.iterate(after, end) as IterableIterator<Row>) {
        const [key, value, version, expiresAt, checksum] = row;
        verifyEntry(key, value, version, expiresAt, checksum);
        group.push({ key, version, size: value.length, expiresAt, value });
        bytes += key.length + value.length;
        if (bytes >= GROUP_BYTES) break;
      }
    });
    return group;
  }

  #read<T>(read: () => T): T {
    try {
      faultPoint('entries-read');
      return read();
    } catch (error) {
      throw this.#failure(error);
    }
  }
}
