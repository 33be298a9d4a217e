/**
 * One keyspace file as the main thread uses it: a reading connection, the applier's thread that writes, and a
 * descriptor for reading the bytes of snapshots.
 *
 * The descriptor is opened with the file and closed after both SQLite connections: closing any descriptor of a database
 * file drops all POSIX locks that the process holds on it, SQLite's included.
 */
import { statSync } from 'node:fs';
import { type FileHandle, open as openFile } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import type { Entry, Outline } from '../../keyspace/entry.ts';
import type { Changes } from '../../keyspace/overlay/changes.ts';
import type { Scan } from '../../keyspace/page.ts';
import type {
  Digest,
  DueCursor,
  EntryReader,
  FileCopying,
  FrozenFile,
  Keyspace,
  OpenDigest,
  Scrubbed,
} from '../../node/ports/keyspace.ts';
import type { Position } from '../../replication/position.ts';
import { PART_BYTES } from '../../replication/snapshot-terms.ts';
import { digest, inspect, type Stoppable, scrub } from '../checks/file-tasks.ts';
import { expectPosition } from '../checks/inspect.ts';
import { openDigest } from '../checks/open-digest.ts';
import { copyFrozen } from '../copies/copy-task.ts';
import { faultPoint } from '../fault-point.ts';
import type { OpenFiles, WatchedFile } from '../open-files.ts';
import { isWalStale, staleWal } from '../stale-wal.ts';
import { ApplierCalls } from './applier-calls.ts';
import { FileFailures } from './file-failures.ts';
import { FileReader } from './file-reader.ts';
import { FrozenBytes, type FrozenPages } from './frozen-file.ts';
import { MARK_SCHEMA } from './keyspace-schema.ts';
import { SnapshotReader } from './snapshot-reader.ts';

export class KeyspaceFile implements Keyspace {
  readonly opened: Position;
  readonly #path: string;
  readonly #applier: ApplierCalls;
  readonly #reader: FileReader;
  readonly #descriptor: FileHandle;
  readonly #watched: WatchedFile;
  readonly #failures: FileFailures;
  readonly #readings = new Set<Promise<unknown>>();
  #tidying = false;
  /** Whether more upkeep may be due than the running one has seen. */
  #untidy = false;
  readonly #openDigests = new Set<OpenDigest>();
  /** Position of the last flush that was started. */
  #flushing: Position | null = null;
  /** End the running tasks that can end early. */
  readonly #stops = new Set<() => void>();
  #closing = false;

  private constructor(
    path: string,
    applier: ApplierCalls,
    reader: FileReader,
    descriptor: FileHandle,
    watched: WatchedFile,
    failures: FileFailures,
  ) {
    this.opened = applier.opened;
    this.#path = path;
    this.#failures = failures;
    this.#applier = applier;
    this.#reader = reader;
    this.#descriptor = descriptor;
    this.#watched = watched;
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
    const applier = await ApplierCalls.start({ path, createAt }, failed);
    try {
      faultPoint('keyspace-reader');
      const failures = new FileFailures(path, failed);
      const reader = new FileReader(path, failures);
      try {
        const descriptor = await openFile(path, 'r');
        return new KeyspaceFile(path, applier, reader, descriptor, files.watch(path), failures);
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
    return this.#reader.get(key);
  }

  outline(key: string): Outline | null {
    return this.#reader.outline(key);
  }

  expiry(key: string): number | null | undefined {
    return this.#reader.expiry(key);
  }

  get scan(): Scan {
    return this.#reader.scan;
  }

  due(now: number, after: DueCursor | null, limit: number): { keys: string[]; cursor: DueCursor | null } {
    return this.#reader.due(now, after, limit);
  }

  countDue(now: number, after: DueCursor | null, most: number): number {
    return this.#reader.countDue(now, after, most);
  }

  readEntries(prefixes: readonly string[]): EntryReader {
    try {
      this.#watched.check();
      const heldBytes = this.#growth();
      const reader = new SnapshotReader(this.#path, prefixes, heldBytes, this.#failures.of);
      // The digest reports its own failure.
      this.#held(reader.closed).catch(() => undefined);
      return reader;
    } catch (error) {
      throw this.#failures.of(error);
    }
  }

  async flush(position: Position, changes: readonly Changes[]): Promise<void> {
    this.#flushing = position;
    await this.#applier.ask({ kind: 'flush', position, changes });
    this.#reader.renew();
    this.#tidySoon();
  }

  async freeze(): Promise<FrozenFile> {
    const pages = await this.#applier.ask({ kind: 'freeze' });
    const bytes = new FrozenBytes(this.#path, this.#descriptor, pages);
    const heldBytes = this.#growth();
    return {
      position: pages.position,
      length: bytes.length,
      partBytes: PART_BYTES,
      heldBytes,
      read: (at, into) => this.#tracked(this.#readFrozen(bytes, at, into)),
      copyTo: (path) => this.#copy(pages, path),
      crc32,
      release: () => {
        bytes.close();
        this.#applier.ask({ kind: 'thaw' }).catch(() => undefined);
        this.#tidySoon();
      },
    };
  }

  #copy(pages: FrozenPages, to: string): FileCopying {
    if (this.#closing) return { done: Promise.resolve(null), copiedBytes: () => 0, stop: () => undefined };
    const copying = copyFrozen({ path: this.#path, file: this.#descriptor.fd, pages, to });
    return { ...copying, done: this.#tracked(this.#stoppable(copying)) };
  }

  digest(): Promise<Digest> {
    return this.#held(this.#digest());
  }

  async #digest(): Promise<Digest> {
    try {
      this.#watched.check();
      return await digest(this.#path);
    } catch (error) {
      throw this.#failures.of(error);
    }
  }

  async openDigest(): Promise<OpenDigest> {
    try {
      this.#watched.check();
      const opening = openDigest(this.#path, this.#failures.of);
      const digest = await this.#tracked(opening);
      this.#openDigests.add(digest);
      const forget = digest.closed.then(() => {
        this.#openDigests.delete(digest);
      });
      this.#held(forget).catch(() => undefined);
      if (this.#closing) digest.close();
      return digest;
    } catch (error) {
      throw this.#failures.of(error);
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
      throw this.#failures.of(error);
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

  async #stoppable<T>({ done, stop }: Pick<Stoppable<T>, 'done' | 'stop'>): Promise<T> {
    this.#stops.add(stop);
    // `close` may have been called in the meantime.
    if (this.#closing) stop();
    try {
      return await done;
    } finally {
      this.#stops.delete(stop);
    }
  }

  size(): number {
    return this.#reader.size();
  }

  async close(): Promise<void> {
    this.#closing = true;
    this.#failures.close();
    this.#watched.release();
    for (const stop of this.#stops) stop();
    for (const digest of this.#openDigests) digest.close();
    await Promise.allSettled(this.#readings);
    // Closing the applier's connection last makes SQLite move the WAL into the file and remove it.
    this.#reader.close();
    await this.#applier.close();
    await this.#descriptor.close();
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
    this.#reader.giveWay();
    try {
      return await this.#applier.ask({ kind: 'tidy' });
    } finally {
      this.#reader.resume();
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
