/**
 * Reads the entries of one position through a connection of its own, in groups, so that the event loop has its turns.
 * A read transaction keeps the position; the file goes on changing behind it.
 */
import Database, { type Database as Connection, type Statement } from 'better-sqlite3';
import type { ListedEntry } from '../keyspace/page.ts';
import type { EntryReader } from '../node/ports.ts';
import type { Position } from '../replication/position.ts';
import { verifyEntry } from './entry-checksum.ts';
import { faultPoint } from './fault-point.ts';
import { readPosition } from './keyspace-schema.ts';

/** A group ends at so many entries or so many bytes of values: about a millisecond of reading. */
const GROUP_ENTRIES = 500;
const GROUP_BYTES = 256 * 1024;
const CACHE_KIB = 2 * 1024;

type Row = [key: string, value: Buffer, version: number, expiresAt: number | null, checksum: number | null];

export class SnapshotReader implements EntryReader {
  readonly position: Position;
  readonly closed: Promise<void>;
  readonly #prefix: string;
  readonly #failure: (error: unknown) => Error;
  readonly #db: Connection;
  readonly #first: Statement;
  readonly #next: Statement;
  #hasClosed: () => void = () => undefined;

  /** @param failure what a failed read is told to, and becomes */
  constructor(path: string, prefix: string, failure: (error: unknown) => Error) {
    this.#prefix = prefix;
    this.#failure = failure;
    this.#db = new Database(path, { readonly: true });
    this.#db.pragma(`cache_size = -${CACHE_KIB}`);
    this.#db.exec('BEGIN');
    this.position = readPosition(this.#db);
    const select = 'SELECT key, value, version, expires_at, checksum FROM entries WHERE key';
    this.#first = this.#db.prepare(`${select} >= ? ORDER BY key LIMIT ${GROUP_ENTRIES}`).raw();
    this.#next = this.#db.prepare(`${select} > ? ORDER BY key LIMIT ${GROUP_ENTRIES}`).raw();
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

  async *#groups(): AsyncGenerator<readonly ListedEntry[]> {
    let statement = this.#first;
    let after = this.#prefix;
    while (this.#db.open) {
      const group = this.#group(statement, after);
      const last = group[group.length - 1];
      if (last === undefined) return;
      yield group;
      statement = this.#next;
      after = last.key;
    }
  }

  #group(statement: Statement, after: string): readonly ListedEntry[] {
    const group: ListedEntry[] = [];
    let bytes = 0;
    try {
      faultPoint('entries-read');
      for (const row of statement.iterate(after) as IterableIterator<Row>) {
        const [key, value, version, expiresAt, checksum] = row;
        if (!key.startsWith(this.#prefix)) break;
        verifyEntry(key, value, version, expiresAt, checksum);
        group.push({ key, version, size: value.length, expiresAt, value });
        bytes += key.length + value.length;
        if (bytes >= GROUP_BYTES) break;
      }
    } catch (error) {
      throw this.#failure(error);
    }
    return group;
  }
}
