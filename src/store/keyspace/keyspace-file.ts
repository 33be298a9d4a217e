/**
 * One keyspace file as the main thread sees it: a reading connection, the applier's thread that writes, and one
 * descriptor that reads the file's bytes for snapshots.
 *
 * The descriptor is opened with the file and closed after both of SQLite's connections: closing any descriptor of a
 * database file drops every POSIX lock that the process has on it, SQLite's own included.
 *
 * The reading connection keeps one read transaction open from flush to flush: what the applier commits in between is
 * in the overlay too, and taking and dropping a lock for each read costs several system calls (measured: a third of a
 * read). A read transaction keeps a checkpoint from finishing, so while one is made, each read has its own.
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
import {
  type Digest,
  type DueCursor,
  type EntryReader,
  type FrozenFile,
  type Keyspace,
  type OpenDigest,
  type Scrubbed,
  StorageError,
} from '../../node/ports.ts';
import type { Position } from '../../replication/position.ts';
import { type FaultPoint, faultPoint } from '../fault-point.ts';
import type { OpenFiles, WatchedFile } from '../open-files.ts';
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
import { numberOf } from './keyspace-schema.ts';
import { openDigest } from './open-digest.ts';
import { ReadCache } from './read-cache.ts';
import { SnapshotReader } from './snapshot-reader.ts';

/** V8 would let the applier's garbage grow to several times this before it looks; what it keeps is not limited. */
const APPLIER_YOUNG_MB = 24;
/** Room for the inner pages of some ten million entries; leaves come from the system's cache, and a larger one was not faster. */
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
  /** A read transaction is open. */
  #reading = false;
  /** What was read in it. */
  readonly #cache = new ReadCache();
  /** A checkpoint may be going on. */
  #isCheckpointing = false;
  #tidying = false;
  /** There may be something to tidy that the one that is going on has not seen. */
  #untidy = false;
  readonly #openDigests = new Set<OpenDigest>();
  /** What was asked for last. */
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
   * @param createAt for a new file: the position of an empty keyspace; null: the file must be there
   * @param files notices if it is not in its place any more
   * @param failed called if the applier's thread can't go on: what is written from then on stays in the journal
   * @throws StartError when the file is missing, damaged, or of another program
   */
  static async open(
    path: string,
    createAt: Position | null,
    files: OpenFiles,
    failed: (error: Error) => void,
  ): Promise<KeyspaceFile> {
    faultPoint('keyspace-open');
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
      // It hears of its own failures.
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
   * Checks all of it as a replica would that has received it as a snapshot.
   * @returns false if it was stopped
   * @throws Error with SQLite's code for damage
   */
  async #inspect(): Promise<boolean> {
    const pages = await this.#applier.ask({ kind: 'freeze' });
    try {
      const found = await this.#stoppable(inspect(this.#path, { file: this.#descriptor.fd, pages }));
      if (found === null) return false;
      // SQLite may have read what was committed since, and nothing else.
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
    // It may have been closed while this was begun.
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
    // The applier's connection is the last one: closing it moves the WAL into the file and removes it.
    this.#reader.close();
    await this.#applier.close();
    await this.#descriptor.close();
  }

  /**
   * @throws StorageError for what SQLite says of the disk; if the file is damaged, the node cannot go on either: what it
   *   would serve could be anything
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
    // Of a file on its way out nobody is served any more.
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

  /** Nobody waits for it; what fails is done after the next flush. */
  #tidySoon(): void {
    this.#tidy().catch(() => undefined);
  }

  /** Half of the applier's time at most. */
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
      // The file is as it was.
    } finally {
      this.#tidying = false;
    }
  }

  /** A read transaction would keep a checkpoint from moving everything. @returns whether there is more to do */
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
    // Closing moves the WAL into the file.
    if (this.#closing) throw new Error('the file is about to be closed');
    faultPoint('snapshot-read');
    await bytes.read(at, into);
  }

  /** @returns what says how much longer the WAL is than now, in bytes */
  #growth(): () => number {
    const wal = `${this.#path}-wal`;
    const size = (): number => statSync(wal, { throwIfNoEntry: false })?.size ?? 0;
    const before = size();
    return () => Math.max(0, size() - before);
  }

  /** The file is not closed while something reads it. */
  #tracked<T>(reading: Promise<T>): Promise<T> {
    this.#readings.add(reading);
    const done = (): void => {
      this.#readings.delete(reading);
    };
    reading.then(done, done);
    return reading;
  }

  /** The same for what reads one state of it: as long as it does, the WAL cannot be moved as a whole. */
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

/** The main thread's end of the applier's thread: questions and their answers. */
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
    // Whatever ends it but `close` is the end of the node: what is written from then on could never be applied.
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

/** An error that has crossed from the thread: its class is lost, its code is not. */
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
  // SQLite says of some damaged headers only that it cannot do that (`unsupported file format`).
  if (isDamaged(error) || code === 'SQLITE_ERROR') return new DamageError(damaged(path, message));
  // The file is what it was; there is no room to bring it up to date, say.
  return new StartError(`${openingFailure(error, path)}; nothing was changed`);
}

/** Whether there surely is no such file: not only that it cannot be reached. */
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
