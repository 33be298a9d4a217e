/**
 * One keyspace file as the main thread uses it: a reading connection, the applier's thread that writes, and a
 * descriptor for reading the bytes of snapshots.
 *
 * The descriptor is opened with the file and closed after both SQLite connections: closing any descriptor of a database
 * file drops all POSIX locks that the process holds on it, SQLite's included.
 *
 * The reading connection keeps one read transaction open from flush to flush. The overlay holds everything that the
 * applier commits meanwhile, and locking for each read costs several system calls (measured: a third of a read). A read
 * transaction keeps a checkpoint from finishing, so during a checkpoint each read has its own.
 */
import { statSync } from 'node:fs';
import { type FileHandle, open as openFile } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { crc32 } from 'node:zlib';
import Database, { type Database as Connection, type Statement } from 'better-sqlite3';
import { type Entry, type Outline, outlineOf } from '../../keyspace/entry.ts';
import type { Changes } from '../../keyspace/overlay/changes.ts';
import type { ListedEntry, Scan } from '../../keyspace/page.ts';
import { StorageError } from '../../node/ports/failures.ts';
import type {
  Digest,
  DueCursor,
  EntryReader,
  FrozenFile,
  Keyspace,
  OpenDigest,
  Scrubbed,
} from '../../node/ports/keyspace.ts';
import type { Position } from '../../replication/position.ts';
import { type FaultPoint, faultPoint } from '../fault-point.ts';
import type { OpenFiles, WatchedFile } from '../open-files.ts';
import { isWalStale, staleWal } from '../stale-wal.ts';
import { DamageError, StartError } from '../start-error.ts';
import {
  codeOf,
  isDamage,
  isDamaged,
  messageOf,
  openingFailure,
  storageFailure,
} from '../storage-failure.ts';
import { workerUrl } from '../worker-url.ts';
import type { Answer, Answers, ApplierData, FromApplier, Question, ToApplier } from './applier-protocol.ts';
import { verifyEntry } from './entry-checksum.ts';
import { digest, inspect, type Stoppable, scrub } from './file-tasks.ts';
import { FrozenBytes } from './frozen-file.ts';
import { expectPosition } from './inspect.ts';
import { MARK_SCHEMA, numberOf } from './keyspace-schema.ts';
import { openDigest } from './open-digest.ts';
import { ReadCache } from './read-cache.ts';
import { SnapshotReader } from './snapshot-reader.ts';

/**
 * Young generation of the applier's thread, in MB. Without it, V8 lets garbage grow to several times this size;
 * long-lived memory is not limited.
 */
const APPLIER_YOUNG_MB = 24;
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

export class KeyspaceFile implements Keyspace {
  readonly opened: Position;
  readonly #path: string;
  readonly #applier: ApplierThread;
  readonly #reader: Connection;
  readonly #descriptor: FileHandle;
  readonly #watched: WatchedFile;
  readonly #failed: (error: Error) => void;
  readonly #get: Statement;
  readonly #outline: Statement;
  readonly #expiry: Statement;
  readonly #due: Statement;
  readonly #countDue: Statement;
  readonly #begin: Statement;
  readonly #commit: Statement;
  readonly #readings = new Set<Promise<unknown>>();
  /** Whether the read transaction is open. */
  #reading = false;
  /** Entries that were read in the open read transaction. */
  readonly #cache = new ReadCache();
  /** Whether a checkpoint may be running. */
  #isCheckpointing = false;
  #tidying = false;
  /** Whether more upkeep may be due than the running one has seen. */
  #untidy = false;
  readonly #openDigests = new Set<OpenDigest>();
  /** Position of the last flush that was started. */
  #flushing: Position | null = null;
  #stopScrub: () => void = () => undefined;
  #closing = false;

  private constructor(
    path: string,
    applier: ApplierThread,
    reader: Connection,
    descriptor: FileHandle,
    watched: WatchedFile,
    failed: (error: Error) => void,
  ) {
    this.opened = applier.opened;
    this.#path = path;
    this.#failed = failed;
    this.#applier = applier;
    this.#reader = reader;
    this.#descriptor = descriptor;
    this.#watched = watched;
    this.#get = reader
      .prepare('SELECT value, version, expires_at, checksum FROM whole_entries WHERE key = ?')
      .raw();
    this.#outline = reader.prepare('SELECT size, version, expires_at FROM whole_entries WHERE key = ?').raw();
    this.#expiry = reader.prepare('SELECT expires_at FROM entries WHERE key = ?').pluck();
    this.#due = reader
      .prepare(
        `SELECT expires_at, key FROM entries
         WHERE (expires_at, key) > (?, ?) AND expires_at <= ? ORDER BY expires_at, key LIMIT ?`,
      )
      .raw();
    this.#countDue = reader
      .prepare(
        `SELECT count(*) FROM (SELECT 1 FROM entries
         WHERE (expires_at, key) > (?, ?) AND expires_at <= ? ORDER BY expires_at, key LIMIT ?)`,
      )
      .pluck();
    this.#begin = reader.prepare('BEGIN');
    this.#commit = reader.prepare('COMMIT');
  }

  /**
   * @param createAt position of the empty keyspace of a new file; null: the file must exist
   * @param files watches whether the file is still in its place
   * @param failed called when the applier's thread has failed for good; later writes then stay in the journal
   * @throws StartError when the file is missing, damaged, or of another program
   */
  static async open(
    path: string,
    createAt: Position | null,
    files: OpenFiles,
    failed: (error: Error) => void,
  ): Promise<KeyspaceFile> {
    faultPoint('keyspace-open');
    if (isWalStale(path, MARK_SCHEMA)) throw staleWal(path);
    const applier = await ApplierThread.start({ path, createAt }, failed);
    try {
      faultPoint('keyspace-reader');
      const reader = new Database(path, { readonly: true, timeout: READER_TIMEOUT_MS });
      try {
        reader.pragma(`cache_size = -${READER_CACHE_KIB}`);
        const descriptor = await openFile(path, 'r');
        return new KeyspaceFile(path, applier, reader, descriptor, files.watch(path), failed);
      } catch (error) {
        reader.close();
        throw error;
      }
    } catch (error) {
      await applier.close();
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

  readonly scan: Scan = (from, exclusive, values) => this.#scan(from, exclusive, values);

  *#scan(from: string, exclusive: boolean, values: boolean): Generator<ListedEntry> {
    const rows = this.#fromDisk('keyspace-scan', () =>
      this.#reader
        .prepare(
          `SELECT key, version, size, expires_at, ${values ? 'value' : 'NULL'}, checksum FROM whole_entries
           WHERE key ${exclusive ? '>' : '>='} ? ORDER BY key`,
        )
        .raw()
        .iterate(from),
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

  readEntries(prefixes: readonly string[]): EntryReader {
    try {
      this.#watched.check();
      const heldBytes = this.#growth();
      const reader = new SnapshotReader(this.#path, prefixes, heldBytes, (error) => this.#diskFailure(error));
      // The digest reports its own failure.
      this.#held(reader.closed).catch(() => undefined);
      return reader;
    } catch (error) {
      throw this.#diskFailure(error);
    }
  }

  async flush(position: Position, changes: readonly Changes[]): Promise<void> {
    this.#flushing = position;
    await this.#applier.ask({ kind: 'flush', position, changes });
    this.#stopReading();
    this.#tidySoon();
  }

  async freeze(): Promise<FrozenFile> {
    const pages = await this.#applier.ask({ kind: 'freeze' });
    const bytes = new FrozenBytes(this.#path, this.#descriptor, pages);
    const heldBytes = this.#growth();
    return {
      position: pages.position,
      length: bytes.length,
      heldBytes,
      read: (at, into) => this.#tracked(this.#readFrozen(bytes, at, into)),
      crc32,
      release: () => {
        bytes.close();
        this.#applier.ask({ kind: 'thaw' }).catch(() => undefined);
        this.#tidySoon();
      },
    };
  }

  digest(): Promise<Digest> {
    return this.#held(this.#digest());
  }

  async #digest(): Promise<Digest> {
    try {
      this.#watched.check();
      return await digest(this.#path);
    } catch (error) {
      throw this.#diskFailure(error);
    }
  }

  async openDigest(): Promise<OpenDigest> {
    try {
      this.#watched.check();
      const opening = openDigest(this.#path, (error) => this.#diskFailure(error));
      const digest = await this.#tracked(opening);
      this.#openDigests.add(digest);
      const forget = digest.closed.then(() => {
        this.#openDigests.delete(digest);
      });
      this.#held(forget).catch(() => undefined);
      if (this.#closing) digest.close();
      return digest;
    } catch (error) {
      throw this.#diskFailure(error);
    }
  }

  scrub(): Promise<Scrubbed> {
    return this.#held(this.#scrub());
  }

  async #scrub(): Promise<Scrubbed> {
    try {
      this.#watched.check();
      if (!(await this.#inspect())) return { finished: false, entries: 0 };
      return await this.#stoppable(scrub(this.#path));
    } catch (error) {
      throw this.#diskFailure(error);
    }
  }

  /**
   * Checks the whole file by the rules for a received snapshot.
   * @returns false if the check was stopped
   * @throws Error with SQLite's code for damage
   */
  async #inspect(): Promise<boolean> {
    const pages = await this.#applier.ask({ kind: 'freeze' });
    try {
      const found = await this.#stoppable(inspect(this.#path, { file: this.#descriptor.fd, pages }));
      if (found === null) return false;
      // SQLite may already see the commit of the flush in progress, but no later one.
      const { runId, offset } = this.#flushing ?? pages.position;
      const { position } = found;
      const isBefore = position.runId === pages.position.runId && position.offset < pages.position.offset;
      if (isBefore || (position.runId === runId && position.offset > offset))
        expectPosition(position, pages.position, 'committed');
      return true;
    } finally {
      this.#applier.ask({ kind: 'thaw' }).catch(() => undefined);
    }
  }

  async #stoppable<T>({ done, stop }: Stoppable<T>): Promise<T> {
    this.#stopScrub = stop;
    // `close` may have been called in the meantime.
    if (this.#closing) stop();
    return done;
  }

  size(): number {
    const db = this.#reader;
    return this.#fromDisk('keyspace-read', () => numberOf(db, 'page_count') * numberOf(db, 'page_size'));
  }

  async close(): Promise<void> {
    this.#closing = true;
    this.#watched.release();
    this.#stopScrub();
    for (const digest of this.#openDigests) digest.close();
    await Promise.allSettled(this.#readings);
    // Closing the applier's connection last makes SQLite move the WAL into the file and remove it.
    this.#reader.close();
    await this.#applier.close();
    await this.#descriptor.close();
  }

  /**
   * Reads from the disk. Damage in the file also ends the node: any further answer could be wrong.
   * @throws StorageError for SQLite's errors
   */
  #fromDisk<T>(point: FaultPoint, read: () => T): T {
    try {
      this.#keepReading();
      faultPoint(point);
      return read();
    } catch (error) {
      throw this.#diskFailure(error);
    }
  }

  #diskFailure(error: unknown): StorageError {
    if (error instanceof StorageError) return error;
    // A file that is being closed serves no requests, so its damage does not end the node.
    if (isDamage(codeOf(error)) && !this.#closing)
      this.#failed(new DamageError(damaged(this.#path, messageOf(error))));
    return storageFailure(error, this.#path);
  }

  #keepReading(): void {
    if (this.#reading || this.#isCheckpointing) return;
    this.#begin.run();
    this.#reading = true;
  }

  #stopReading(): void {
    if (!this.#reading) return;
    this.#commit.run();
    this.#reading = false;
    this.#cache.clear();
  }

  /** Starts the upkeep without waiting for it; the next flush repeats it after a failure. */
  #tidySoon(): void {
    this.#tidy().catch(() => undefined);
  }

  /** Repeats the upkeep, using at most half of the applier's time. */
  async #tidy(): Promise<void> {
    this.#untidy = true;
    if (this.#tidying) return;
    this.#tidying = true;
    try {
      while (this.#untidy && !this.#closing) {
        this.#untidy = false;
        const startedAt = performance.now();
        if (!(await this.#tidyOnce())) continue;
        this.#untidy = true;
        await wait(performance.now() - startedAt, undefined, { ref: false });
      }
    } catch {
      // A failed upkeep leaves the file as it was.
    } finally {
      this.#tidying = false;
    }
  }

  /**
   * Does one step of the upkeep, outside of the long read transaction, which would hold a checkpoint up.
   * @returns whether there is more to do
   */
  async #tidyOnce(): Promise<boolean> {
    this.#stopReading();
    this.#isCheckpointing = true;
    try {
      return await this.#applier.ask({ kind: 'tidy' });
    } finally {
      this.#isCheckpointing = false;
    }
  }

  async #readFrozen(bytes: FrozenBytes, at: number, into: Buffer): Promise<void> {
    // Closing the file moves the WAL into it, which must not happen during a snapshot.
    if (this.#closing) throw new Error('the file is about to be closed');
    faultPoint('snapshot-read');
    await bytes.read(at, into);
  }

  /** @returns a function that returns by how many bytes the WAL has grown since */
  #growth(): () => number {
    const wal = `${this.#path}-wal`;
    const size = (): number => statSync(wal, { throwIfNoEntry: false })?.size ?? 0;
    const before = size();
    return () => Math.max(0, size() - before);
  }

  /** Keeps the file open until the reading has ended. */
  #tracked<T>(reading: Promise<T>): Promise<T> {
    this.#readings.add(reading);
    const done = (): void => {
      this.#readings.delete(reading);
    };
    reading.then(done, done);
    return reading;
  }

  /**
   * Keeps the file open and notes that the reading needs one state of it: until it ends, a checkpoint cannot move the
   * whole WAL.
   */
  #held<T>(reading: Promise<T>): Promise<T> {
    const tidy = (): void => this.#tidySoon();
    reading.then(tidy, tidy);
    return this.#tracked(reading);
  }
}

function listed([key, version, size, expiresAt, value, checksum]: ListRow): ListedEntry {
  if (value !== null) verifyEntry(key, value, version, expiresAt, checksum);
  return { key, version, size, expiresAt, value };
}

/** The main thread's side of the applier's thread: sends questions and receives answers. */
class ApplierThread {
  readonly opened: Position;
  readonly #path: string;
  readonly #worker: Worker;
  readonly #open = new Map<number, { resolve: (answer: Answer) => void; reject: (error: Error) => void }>();
  readonly #failed: (error: Error) => void;
  #lastId = 0;
  #broken: Error | null = null;
  #closing = false;

  private constructor(path: string, worker: Worker, opened: Position, failed: (error: Error) => void) {
    this.#path = path;
    this.#worker = worker;
    this.opened = opened;
    this.#failed = failed;
    worker.on('message', (message: FromApplier) => this.#answered(message));
    worker.on('error', (error) => this.#break(error));
    worker.on('exit', () => this.#break(new Error('the applier has ended')));
    // If the thread ends without `close`, the node has to end: later writes could never be applied.
  }

  static start(data: ApplierData, failed: (error: Error) => void): Promise<ApplierThread> {
    const worker = new Worker(workerUrl(import.meta.url, 'applier-thread'), {
      workerData: data,
      resourceLimits: { maxYoungGenerationSizeMb: APPLIER_YOUNG_MB },
    });
    return new Promise((resolve, reject) => {
      worker.once('error', reject);
      worker.once('message', (message: FromApplier) => {
        worker.off('error', reject);
        if (message.kind === 'ready') resolve(new ApplierThread(data.path, worker, message.position, failed));
        else if (message.kind === 'broken') reject(cannotOpen(data.path, message));
      });
    });
  }

  ask<Q extends Question>(question: Q): Promise<Answers[Q['kind']]> {
    if (this.#broken !== null) return Promise.reject(this.#broken);
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise((resolve, reject) => {
      this.#open.set(id, { resolve: (answer) => resolve(answer as Answers[Q['kind']]), reject });
      const moved =
        question.kind === 'flush' ? question.changes.map(({ addresses }) => addresses.buffer) : [];
      this.#worker.postMessage({ ...question, id } as ToApplier, moved);
    });
  }

  async close(): Promise<void> {
    this.#closing = true;
    if (this.#broken === null) {
      const ended = new Promise<void>((resolve) => this.#worker.once('exit', () => resolve()));
      await this.ask({ kind: 'close' });
      await ended;
    }
    await this.#worker.terminate();
  }

  #answered(message: FromApplier): void {
    switch (message.kind) {
      case 'done':
        this.#open.get(message.id)?.resolve(message.answer);
        this.#open.delete(message.id);
        return;
      case 'failed': {
        const error = new CodedError(message.code, message.message);
        this.#open.get(message.id)?.reject(storageFailure(error, this.#path));
        this.#open.delete(message.id);
        if (isDamage(message.code)) this.#break(new DamageError(damaged(this.#path, message.message)));
        return;
      }
      case 'broken':
        this.#break(new CodedError(message.code, `the applier cannot go on: ${message.message}`));
        return;
      case 'ready':
        return;
    }
  }

  #break(error: Error): void {
    if (this.#broken === null && !this.#closing) this.#failed(error);
    this.#broken ??= error;
    for (const { reject } of this.#open.values()) reject(error);
    this.#open.clear();
  }
}

/** An error that arrived from the thread: it keeps its code but not its class. */
class CodedError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

function cannotOpen(path: string, { code, message }: { code: string; message: string }): StartError {
  if (code === 'SQLITE_CANTOPEN' && isMissing(path))
    return new DamageError(`${path} is missing; restore it from a copy`);
  if (message.startsWith(path)) return new StartError(message);
  const error = new CodedError(code, message);
  // For some damaged headers SQLite only reports a generic error (`unsupported file format`).
  if (isDamaged(error) || code === 'SQLITE_ERROR') return new DamageError(damaged(path, message));
  // The file is intact: for example, the disk is too full to migrate it.
  return new StartError(`${openingFailure(error, path)}; nothing was changed`);
}

/** Whether the file surely does not exist, rather than being out of reach. */
function isMissing(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false }) === undefined;
  } catch {
    return false;
  }
}

function damaged(path: string, message: string): string {
  return `${path} is damaged: ${message}; nothing was changed, restore the folder from a copy or choose another with --data`;
}
