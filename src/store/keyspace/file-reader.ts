/**
 * Reads a keyspace file on the main thread.
 *
 * The connection keeps one read transaction open from flush to flush. The overlay holds everything that the applier
 * commits meanwhile, and locking for each read costs several system calls (measured: a third of a read). A read
 * transaction keeps a checkpoint from finishing, so during a checkpoint each read has its own.
 */
import Database, { type Database as Connection, type Statement } from 'better-sqlite3';
import { type Entry, type Outline, outlineOf } from '../../keyspace/entry.ts';
import type { KeyRange } from '../../keyspace/overlay/first-keys.ts';
import type { ListedEntry, Scan } from '../../keyspace/page.ts';
import type { DueCursor } from '../../node/ports/keyspace.ts';
import { type FaultPoint, faultPoint } from '../fault-point.ts';
import { verifyEntry } from './entry-checksum.ts';
import type { FileFailures } from './file-failures.ts';
import { boundBehind, numberOf } from './keyspace-schema.ts';
import { ReadCache } from './read-cache.ts';

/**
 * Page cache of the reading connection, in KiB: room for the inner pages of about ten million entries. Leaf pages come
 * from the system's cache; a larger cache was not faster.
 */
const READER_CACHE_KIB = 8 * 1024;
const READER_TIMEOUT_MS = 1_000;

type EntryRow = [value: Buffer, version: number, expiresAt: number | null, checksum: number | null];
type OutlineRow = [size: number, version: number, expiresAt: number | null];
type ListRow = [
  key: string,
  version: number,
  size: number,
  expiresAt: number | null,
  value: Buffer | null,
  checksum: number | null,
];

/** Each method throws the converted error of a failed read; see `Keyspace` for the rest. */
export class FileReader {
  readonly #db: Connection;
  readonly #failures: FileFailures;
  readonly #get: Statement;
  readonly #outline: Statement;
  readonly #expiry: Statement;
  readonly #due: Statement;
  readonly #countDue: Statement;
  readonly #begin: Statement;
  readonly #commit: Statement;
  /** Whether the read transaction is open. */
  #reading = false;
  /** Entries that were read in the open read transaction. */
  readonly #cache = new ReadCache();
  /** Whether a checkpoint may be running. */
  #isCheckpointing = false;

  /** @param failures converts the error of a failed read */
  constructor(path: string, failures: FileFailures) {
    const db = new Database(path, { readonly: true, timeout: READER_TIMEOUT_MS });
    this.#db = db;
    this.#failures = failures;
    try {
      db.pragma(`cache_size = -${READER_CACHE_KIB}`);
      this.#get = db
        .prepare('SELECT value, version, expires_at, checksum FROM whole_entries WHERE key = ?')
        .raw();
      this.#outline = db.prepare('SELECT size, version, expires_at FROM whole_entries WHERE key = ?').raw();
      this.#expiry = db.prepare('SELECT expires_at FROM entries WHERE key = ?').pluck();
      this.#due = db
        .prepare(
          `SELECT expires_at, key FROM entries
           WHERE (expires_at, key) > (?, ?) AND expires_at <= ? ORDER BY expires_at, key LIMIT ?`,
        )
        .raw();
      this.#countDue = db
        .prepare(
          `SELECT count(*) FROM (SELECT 1 FROM entries
           WHERE (expires_at, key) > (?, ?) AND expires_at <= ? ORDER BY expires_at, key LIMIT ?)`,
        )
        .pluck();
      this.#begin = db.prepare('BEGIN');
      this.#commit = db.prepare('COMMIT');
    } catch (error) {
      db.close();
      throw error;
    }
  }

  get(key: string): Entry | null {
    const cached = this.#reading ? this.#cache.get(key) : undefined;
    if (cached !== undefined) return cached;
    return this.#fromDisk('keyspace-read', () => {
      const row = this.#get.get(key) as EntryRow | undefined;
      if (row === undefined) return null;
      const [value, version, expiresAt, checksum] = row;
      verifyEntry(key, value, version, expiresAt, checksum);
      const entry = { value, version, expiresAt };
      if (this.#reading) this.#cache.offer(key, entry);
      return entry;
    });
  }

  outline(key: string): Outline | null {
    const cached = this.#reading ? this.#cache.get(key) : undefined;
    if (cached !== undefined) return outlineOf(cached);
    return this.#fromDisk('keyspace-read', () => {
      const row = this.#outline.get(key) as OutlineRow | undefined;
      if (row === undefined) return null;
      const [size, version, expiresAt] = row;
      return { size, version, expiresAt };
    });
  }

  expiry(key: string): number | null | undefined {
    return this.#fromDisk('keyspace-read', () => this.#expiry.get(key)) as number | null | undefined;
  }

  readonly scan: Scan = (range, values) => this.#scan(range, values);

  *#scan({ prefix, from, exclusive }: KeyRange, values: boolean): Generator<ListedEntry> {
    const rows = this.#fromDisk('keyspace-scan', () =>
      this.#db
        .prepare(
          `SELECT key, version, size, expires_at, ${values ? 'value' : 'NULL'}, checksum FROM whole_entries
           WHERE key ${exclusive ? '>' : '>='} ? AND key < ? ORDER BY key`,
        )
        .raw()
        .iterate(from, boundBehind(prefix)),
    );
    try {
      for (;;) {
        const entry = this.#fromDisk('keyspace-scan', () => {
          const next = rows.next();
          return next.done === true ? null : listed(next.value as ListRow);
        });
        if (entry === null) return;
        yield entry;
      }
    } finally {
      rows.return?.();
    }
  }

  due(now: number, after: DueCursor | null, limit: number): { keys: string[]; cursor: DueCursor | null } {
    const rows = this.#fromDisk('keyspace-read', () =>
      this.#due.all(after?.expiresAt ?? 0, after?.key ?? '', now, limit),
    ) as [number, string][];
    const last = rows[rows.length - 1];
    return {
      keys: rows.map(([, key]) => key),
      cursor: last === undefined ? null : { expiresAt: last[0], key: last[1] },
    };
  }

  countDue(now: number, after: DueCursor | null, most: number): number {
    return this.#fromDisk('keyspace-read', () =>
      this.#countDue.get(after?.expiresAt ?? 0, after?.key ?? '', now, most),
    ) as number;
  }

  size(): number {
    const db = this.#db;
    return this.#fromDisk('keyspace-read', () => numberOf(db, 'page_count') * numberOf(db, 'page_size'));
  }

  /** Ends the read transaction: what was committed is seen from now on. */
  renew(): void {
    if (!this.#reading) return;
    this.#commit.run();
    this.#reading = false;
    this.#cache.clear();
  }

  /** Ends the read transaction and begins no long one until `resume`, so that a checkpoint can finish. */
  giveWay(): void {
    this.renew();
    this.#isCheckpointing = true;
  }

  resume(): void {
    this.#isCheckpointing = false;
  }

  close(): void {
    this.#db.close();
  }

  #fromDisk<T>(point: FaultPoint, read: () => T): T {
    try {
      this.#keepReading();
      faultPoint(point);
      return read();
    } catch (error) {
      throw this.#failures.of(error);
    }
  }

  #keepReading(): void {
    if (this.#reading || this.#isCheckpointing) return;
    this.#begin.run();
    this.#reading = true;
  }
}

function listed([key, version, size, expiresAt, value, checksum]: ListRow): ListedEntry {
  if (value !== null) verifyEntry(key, value, version, expiresAt, checksum);
  return { key, version, size, expiresAt, value };
}
