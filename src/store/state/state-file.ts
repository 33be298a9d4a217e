/**
 * psyncd.db: run ID, lineage, upstream, the number of the current keyspace file, and the journal.
 *
 * The main thread writes it. SQLite holds a shared lock on an open file as long as the process runs, and every process
 * that opens the file first takes an exclusive lock: so a second process cannot use the data folder. While psyncd.db is
 * open, no code may open it by hand: closing any descriptor of it would drop SQLite's locks. SQLite keeps no locks on the
 * `-wal` file, so `everysec` can fsync that one by hand, off the event loop.
 *
 * When a commit is durable depends on the `fsync` setting:
 * - `always`: on disk when `append` returns (synchronous = FULL);
 * - `everysec`: on disk within about a second; a crash of the process loses nothing;
 * - `no`: on disk when the operating system writes it; a crash of the process loses nothing.
 *
 * `synchronous` is never OFF: a power cut during a checkpoint would then damage the file.
 *
 * Over 350 lines: all statements about the node go through one connection, whose failures this class names.
 */
import { statSync } from 'node:fs';
import type { Database as Connection } from 'better-sqlite3';
import type { Durations } from '../../node/ports/counts.ts';
import { inLogOf, LOST_FILE, NotInJournal, StorageError } from '../../node/ports/failures.ts';
import type {
  JournalRow,
  KeptFile,
  StateChange,
  StateStore,
  TimeChange,
  TimeMark,
} from '../../node/ports/state-store.ts';
import type { Log } from '../../node/ports/world.ts';
import type { History } from '../../replication/history.ts';
import type { HashedOffset } from '../../replication/history-hash.ts';
import { type Offset, parseRunId, type RunId } from '../../replication/position.ts';
import { faultPoint } from '../fault-point.ts';
import { damage } from '../keyspace/entry-checksum.ts';
import type { OpenFiles, WatchedFile } from '../open-files.ts';
import { storageFailure } from '../storage-failure.ts';
import { WalMarks } from '../wal-mark.ts';
import { identityOf } from './file-identity.ts';
import { JournalDamage } from './journal/journal-damage.ts';
import { JournalNumbers } from './journal/journal-numbers.ts';
import { JournalTable } from './journal/journal-table.ts';
import { JournalTimes } from './journal/journal-times.ts';
import { JournalCheckpoints } from './journal-checkpoints.ts';
import { JournalSyncer } from './journal-syncer.ts';
import { isNodeIntact, putNodeChecksum } from './node-checksum.ts';
import {
  isAnother,
  type NodeRow,
  putHistory,
  putIdentity,
  putKept,
  putToldHash,
  readHistory,
  readKept,
  readNode,
  readToldHash,
  renamedAtOf,
} from './node-rows.ts';
import { openState } from './state-opening.ts';
import type { StateFileSettings } from './state-settings.ts';

export class StateFile implements StateStore {
  readonly #db: Connection;
  readonly #log: Log;
  readonly #settings: StateFileSettings;
  readonly #journal: JournalTable;
  readonly #damage: JournalDamage;
  readonly #times: JournalTimes;
  readonly #checkpoints: JournalCheckpoints;
  readonly #marks: WalMarks;
  readonly #files: OpenFiles;
  readonly #watched: WatchedFile;
  #row: NodeRow;
  #isCopy: boolean;
  #history: History;
  #kept: readonly KeptFile[];
  #syncer: JournalSyncer | null = null;
  /** Where the journal ends, as far as this process has seen it. */
  #end = 0;
  readonly #numbers: JournalNumbers;

  private constructor(db: Connection, log: Log, settings: StateFileSettings, files: OpenFiles) {
    this.#db = db;
    this.#log = log;
    this.#settings = settings;
    if (!isNodeIntact(db)) throw damage('what it says of the node is not what was written');
    this.#row = readNode(db);
    this.#isCopy = isAnother(identityOf(db.name), this.#row);
    this.#history = readHistory(db, this.#row);
    this.#kept = readKept(db);
    this.#journal = new JournalTable(db);
    this.#damage = new JournalDamage(log, (after) => this.#journal.endOfRow(after));
    this.#times = new JournalTimes(db);
    this.#checkpoints = new JournalCheckpoints(db, log);
    this.#marks = new WalMarks(db);
    this.#numbers = new JournalNumbers(settings.fsync === 'always');
    this.#files = files;
    this.#watched = files.watch(db.name);
  }

  /**
   * Opens the file, or creates it with a new run ID.
   * @param files watches whether the file is still in its place; if not, all writes are refused
   * @param begins called before the first row of a new file; what it throws keeps the file from being made
   * @throws StartError when the file is locked, damaged, not writable or of another program
   */
  static open(
    path: string,
    log: Log,
    settings: StateFileSettings,
    files: OpenFiles,
    begins: () => void,
  ): StateFile {
    return openState(path, settings, begins, (db) => new StateFile(db, log, settings, files));
  }

  get wasClean(): boolean {
    return this.#row.clean !== 0;
  }

  get mayLackBytes(): boolean {
    const { clean, fsync, boot_id: bootId } = this.#row;
    const sameBoot = bootId !== null && bootId === this.#settings.bootId;
    return clean === 0 && fsync !== 'always' && !sameBoot;
  }

  get isCopy(): boolean {
    return this.#isCopy;
  }

  begin(): void {
    const { fsync, bootId } = this.#settings;
    // This mark is made durable before the file is used; after it, the fsync policy applies.
    this.#durably(() => {
      this.#db.prepare('UPDATE node SET clean = 0, boot_id = ?, fsync = ?').run(bootId, fsync);
      if (!this.#isCopy) putIdentity(this.#db);
    });
    const { syncs } = this.#numbers;
    if (fsync !== 'always') this.#syncer = new JournalSyncer(`${this.#db.name}-wal`, this.#log, fsync, syncs);
  }

  get history(): History {
    return this.#history;
  }

  get renamedAt(): Offset | null {
    return renamedAtOf(this.#row);
  }

  get upstream(): string | null {
    return this.#row.upstream;
  }

  get handingOver(): boolean {
    return this.#row.handing_over === 1;
  }

  get guardedAgainst(): RunId | null {
    return parseRunId(this.#row.guarded_against ?? '');
  }

  get kept(): readonly KeptFile[] {
    return this.#kept;
  }

  get keyspaceNumber(): number {
    return this.#row.keyspace;
  }

  get journalStart(): Offset | null {
    return this.#journal.start;
  }

  get journalEnd(): Offset | null {
    return this.#journal.end;
  }

  get damagedUpTo(): Offset | null {
    return this.#damage.upTo;
  }

  get reusableBytes(): number {
    return this.#onDisk(() => {
      const [reusable, pages, bytes] = ['freelist_count', 'page_count', 'page_size'].map(
        (name) => this.#db.pragma(name, { simple: true }) as number,
      ) as [number, number, number];
      return statSync(this.#db.name).size - (pages - reusable) * bytes;
    });
  }

  get lost(): string | null {
    return this.#files.lost;
  }

  get chainStart(): Offset | null {
    return this.#journal.chainStart;
  }

  get timeMarks(): readonly TimeMark[] {
    return this.#onDisk(() => this.#times.marks);
  }

  get toldHash(): HashedOffset | null {
    return readToldHash(this.#db);
  }

  append(
    end: Offset,
    bytes: Buffer,
    hash: bigint | null,
    beginsChain: boolean,
    times: TimeChange | null,
  ): void {
    try {
      this.#numbers.commit(() =>
        this.#onDisk(() => {
          this.#refuseWhenLost();
          faultPoint('journal-append');
          const append = (): void => this.#journal.append(end, bytes, hash, beginsChain);
          if (times === null) this.#marked(append);
          else this.#marked(() => this.#timed(append, times));
          faultPoint('journal-appended');
        }),
      );
    } catch (error) {
      if (error instanceof StorageError && error.full) this.#checkpoints.refused();
      throw error;
    }
    this.#end = end;
    this.#syncer?.appended((end - bytes.length) as Offset, end);
    this.#checkpoints.committed();
  }

  durableUpTo(head: Offset): Offset {
    return this.#syncer?.durableUpTo(head) ?? head;
  }

  syncSoon(done: () => void): void {
    if (this.#syncer === null) done();
    else this.#syncer.syncSoon(done);
  }

  get settling(): boolean {
    return this.#checkpoints.settling;
  }

  onSettled(listener: () => void): void {
    this.#checkpoints.onSettled(listener);
  }

  /** Counts since the start of the process: rows committed to the journal, and fsyncs of the journal for them. */
  get journalCounters(): { readonly commits: number; readonly fsyncs: number } {
    const { commits, syncs } = this.#numbers;
    return { commits, fsyncs: syncs.total };
  }

  /** Numbers of the journal for `/metrics`. */
  get numbers(): { readonly journal: JournalNumbers; readonly checkpoints: Durations } {
    return { journal: this.#numbers, checkpoints: this.#checkpoints.durations };
  }

  read(after: Offset, enoughBytes: number): Buffer {
    return this.#readAt(after, () => this.#journal.read(after, enoughBytes));
  }

  rowWith(after: Offset): JournalRow | null {
    return this.#readAt(after, () => this.#journal.rowWith(after));
  }

  /** Reads the row with the byte after `after`, and takes note if that fails. */
  #readAt<T>(after: Offset, read: () => T): T {
    try {
      const found = this.#onDisk(() => {
        faultPoint('journal-read');
        try {
          return read();
        } catch (error) {
          throw this.#isGap(after, error) ? damage(`the journal has a gap after byte ${after}`) : error;
        }
      });
      this.#damage.read(after);
      return found;
    } catch (error) {
      if (error instanceof StorageError) this.#damage.failed(after, error, this.#end);
      throw error;
    }
  }

  /** Whether a row is missing, as after a lost write of the disk: the journal has bytes before and behind it. */
  #isGap(after: Offset, error: unknown): boolean {
    const { start, end } = this.#journal;
    return error instanceof NotInJournal && start !== null && end !== null && after >= start && after < end;
  }

  lastCommit(upTo: Offset): Offset | null {
    return this.#onDisk(() => {
      faultPoint('journal-read');
      return this.#journal.lastCommit(upTo);
    });
  }

  trim(upTo: Offset, maxRows: number, maxBytes: number): boolean {
    // While the files are lost, the keyspace file may vanish, and the journal with its data must stay.
    if (this.lost !== null) return false;
    return this.#onDisk(() => {
      faultPoint('journal-trim');
      return this.#marked(() => {
        const { upTo: trimmed, hasMore } = this.#journal.trim(upTo, maxRows, maxBytes);
        // A mark too many does no harm, so this is no transaction with the rows.
        if (trimmed !== null) this.#times.trim(trimmed);
        return hasMore;
      });
    });
  }

  save(change: StateChange): void {
    const { history, renamedAt, upstream, handingOver, guardedAgainst, copySettled, toldHash } = change;
    this.#durably(() => {
      if (history !== undefined) putHistory(this.#db, history);
      if (renamedAt !== undefined) this.#db.prepare('UPDATE node SET renamed_offset = ?').run(renamedAt);
      if (toldHash !== undefined) putToldHash(this.#db, toldHash);
      if (upstream !== undefined) this.#db.prepare('UPDATE node SET upstream = ?').run(upstream);
      if (handingOver !== undefined) {
        this.#db.prepare('UPDATE node SET handing_over = ?').run(handingOver ? 1 : 0);
      }
      if (guardedAgainst !== undefined) {
        this.#db.prepare('UPDATE node SET guarded_against = ?').run(guardedAgainst);
      }
      if (copySettled === true) putIdentity(this.#db);
    });
    if (copySettled === true) this.#isCopy = false;
    if (history !== undefined) this.#history = history;
    if (renamedAt !== undefined) this.#row = { ...this.#row, renamed_offset: renamedAt };
    if (upstream !== undefined) this.#row = { ...this.#row, upstream };
    if (handingOver !== undefined) this.#row = { ...this.#row, handing_over: handingOver ? 1 : 0 };
    if (guardedAgainst !== undefined) this.#row = { ...this.#row, guarded_against: guardedAgainst };
  }

  switchKeyspace(
    keyspaceNumber: number,
    history: History,
    keep: KeptFile | null,
    toldHash: HashedOffset | null,
  ): void {
    const replaces = keyspaceNumber !== this.#row.keyspace;
    try {
      this.#durably(() => {
        faultPoint('keyspace-switch');
        if (replaces) this.#db.prepare('UPDATE node SET guarded_against = NULL').run();
        this.#db.prepare('UPDATE node SET keyspace = ?, renamed_offset = NULL').run(keyspaceNumber);
        putToldHash(this.#db, toldHash);
        putHistory(this.#db, history);
        this.#db.prepare('DELETE FROM journal').run();
        this.#times.clear();
        if (keep !== null) putKept(this.#db, keep);
      });
      this.#onDisk(() => faultPoint('keyspace-switched'));
    } catch (error) {
      // After an error here the caller removes the new file, so the switch must really not have happened.
      if (!replaces || !this.#isOnDisk(keyspaceNumber)) throw error;
      this.#log.warn('keyspace-switched-all-the-same', { error: inLogOf(error) });
    }
    this.#damage.clear();
    const isGuarded = replaces ? { guarded_against: null } : {};
    this.#row = { ...this.#row, keyspace: keyspaceNumber, renamed_offset: null, ...isGuarded };
    this.#history = history;
    if (keep !== null) this.#kept = [...this.#kept, keep];
  }

  forgetKept(most: number): void {
    const forgotten = this.#kept.slice(0, Math.max(0, this.#kept.length - most));
    if (forgotten.length === 0) return;
    this.#durably(() => {
      const remove = this.#db.prepare('DELETE FROM kept WHERE keyspace = ?');
      for (const { keyspaceNumber } of forgotten) remove.run(keyspaceNumber);
    });
    this.#kept = this.#kept.slice(forgotten.length);
  }

  close(clean: boolean): void {
    this.#syncer?.close();
    this.#checkpoints.close();
    this.#watched.release();
    try {
      if (clean && this.lost === null)
        this.#durably(() => this.#db.prepare('UPDATE node SET clean = 1').run());
    } catch (error) {
      // The next start treats this as an unclean stop; nothing else is lost.
      this.#log.warn('stop-not-marked', { error: inLogOf(error) });
    }
    this.#db.close();
  }

  /** Whether psyncd.db on disk names this keyspace file as the current one. */
  #isOnDisk(keyspaceNumber: number): boolean {
    return this.#onDisk(() => readNode(this.#db)).keyspace === keyspaceNumber;
  }

  /** Runs one transaction that is on disk on return, together with all earlier ones, whatever the fsync policy. */
  #durably(change: () => unknown): void {
    this.#onDisk(() => {
      this.#refuseWhenLost();
      this.#db.pragma('synchronous = FULL');
      try {
        faultPoint('state-save');
        this.#db.transaction(() => {
          change();
          putNodeChecksum(this.#db);
          this.#marks.draw();
        })();
        faultPoint('state-saved');
      } finally {
        if (this.#settings.fsync !== 'always') this.#db.pragma('synchronous = NORMAL');
      }
    });
    this.#syncer?.allSynced();
  }

  /** Appends in one transaction with a change of the time marks. */
  #timed(append: () => void, times: TimeChange): void {
    this.#db.transaction(() => {
      append();
      this.#times.apply(times);
    })();
  }

  /** Runs one transaction; it draws a mark if it may be the first one of a WAL. */
  #marked<T>(change: () => T): T {
    if (!this.#checkpoints.mayRestartWal) return change();
    return this.#db.transaction(() => {
      this.#marks.draw();
      return change();
    })();
  }

  /** @throws StorageError if the file is lost: a write would vanish when the process ends */
  #refuseWhenLost(): void {
    const { lost } = this.#files;
    if (lost !== null) throw new StorageError(LOST_FILE, false, undefined, lost);
  }

  /** @throws StorageError for SQLite's errors */
  #onDisk<T>(touch: () => T): T {
    try {
      return touch();
    } catch (error) {
      if (error instanceof RangeError || error instanceof StorageError) throw error;
      throw storageFailure(error, this.#db.name);
    }
  }
}
