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
 */
import { close, fdatasync, openSync, readdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { crc32 } from 'node:zlib';
import Database, { type Database as Connection, type Statement } from 'better-sqlite3';
import { NotInJournal, StorageError } from '../../node/ports/failures.ts';
import type { JournalRow, KeptFile, StateChange, StateStore } from '../../node/ports/state-store.ts';
import type { Log } from '../../node/ports/world.ts';
import { FULL_RESYNC_REASONS } from '../../replication/decide.ts';
import { type Ancestor, type History, type LineageReason, newHistory } from '../../replication/history.ts';
import type { HashedOffset } from '../../replication/history-hash.ts';
import { type Offset, offset, parseRunId, type RunId } from '../../replication/position.ts';
import { faultPoint } from '../fault-point.ts';
import { KEYSPACE_FILE } from '../folder-names.ts';
import { damage } from '../keyspace/entry-checksum.ts';
import { migrate } from '../migrate.ts';
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
import { WalMarks } from '../wal-mark.ts';
import { type FileIdentity, identityOf, isSameFile } from './file-identity.ts';
import { JournalCheckpoints, WAL_PAGES } from './journal-checkpoints.ts';
import { isNodeIntact, putNodeChecksum } from './node-checksum.ts';

export type FsyncPolicy = 'always' | 'everysec' | 'no';

export interface StateFileSettings {
  readonly fsync: FsyncPolicy;
  /** Identifies this boot of the machine; null: unknown. */
  readonly bootId: string | null;
  readonly newRunId: () => RunId;
  /** URL `ws://HOST:PORT` of the master that a new node follows; null: the new node is a master. */
  readonly upstream: string | null;
}

interface NodeRow {
  readonly run_id: string;
  readonly keyspace: number;
  readonly upstream: string | null;
  readonly clean: number;
  readonly boot_id: string | null;
  readonly fsync: string;
  readonly handing_over: number;
  readonly guarded_against: string | null;
  readonly inode: string | null;
  readonly born_ns: string | null;
}

interface KeptRow {
  readonly keyspace: number;
  readonly name: string;
  readonly run_id: string;
  readonly offset: number;
  readonly reason: string | null;
  readonly at: number;
}

/** Page cache in KiB. It can be small: only slow replicas read the journal. */
const CACHE_KIB = 2 * 1024;
const SYNC_INTERVAL_MS = 1_000;
/** The schema since which the file has marks. */
export const MARK_SCHEMA = 8;
/**
 * Longest wait for SQLite's write lock, in milliseconds: the thread of the checkpoints holds it for some microseconds.
 */
const LOCK_WAIT_MS = 1_000;

export class StateFile implements StateStore {
  readonly #db: Connection;
  readonly #log: Log;
  readonly #settings: StateFileSettings;
  readonly #insert: Statement;
  readonly #select: Statement;
  readonly #delete: Statement;
  readonly #lastEnd: Statement;
  readonly #rowWith: Statement;
  readonly #checkpoints: JournalCheckpoints;
  readonly #marks: WalMarks;
  readonly #files: OpenFiles;
  readonly #watched: WatchedFile;
  #row: NodeRow;
  #isCopy: boolean;
  #history: History;
  #kept: readonly KeptFile[];
  #syncer: JournalSyncer | null = null;
  #commits = 0;

  private constructor(db: Connection, log: Log, settings: StateFileSettings, files: OpenFiles) {
    this.#db = db;
    this.#log = log;
    this.#settings = settings;
    if (!isNodeIntact(db)) throw damage('what it says of the node is not what was written');
    this.#row = readNode(db);
    this.#isCopy = isAnother(identityOf(db.name), this.#row);
    this.#history = readHistory(db, this.#row);
    this.#kept = readKept(db);
    this.#insert = db.prepare(
      'INSERT INTO journal (end_offset, bytes, checksum, hash_before, begins_chain) VALUES (?, ?, ?, ?, ?)',
    );
    this.#select = db
      .prepare('SELECT end_offset, bytes, checksum FROM journal WHERE end_offset > ? ORDER BY end_offset')
      .raw();
    this.#lastEnd = db.prepare('SELECT max(end_offset) FROM journal WHERE end_offset <= ?').pluck();
    // Read as big integers, because a hash uses all 64 bits.
    this.#rowWith = db
      .prepare(
        'SELECT end_offset - length(bytes), hash_before FROM journal WHERE end_offset > ? ORDER BY end_offset LIMIT 1',
      )
      .raw()
      .safeIntegers();
    this.#delete = db.prepare('DELETE FROM journal WHERE end_offset <= ? ORDER BY end_offset LIMIT ?');
    this.#checkpoints = new JournalCheckpoints(db, log);
    this.#marks = new WalMarks(db);
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
    let db: Connection | null = null;
    try {
      faultPoint('state-open');
      refuseStaleWal(path);
      db = new Database(path, { timeout: 0 });
      db.pragma('journal_mode = WAL');
      db.pragma('synchronous = FULL');
      db.pragma(`cache_size = -${CACHE_KIB}`);
      db.pragma(`wal_autocheckpoint = ${WAL_PAGES}`);
      keepOthersOut(db);
      const made = db;
      migrate(made, 'state', path, () => {
        refuseBesideData(path);
        begins();
        insertNode(made, settings);
      });
      return new StateFile(db, log, settings, files);
    } catch (error) {
      db?.close();
      if (error instanceof StartError) throw error;
      throw explain(path, error);
    }
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
      if (!this.#isCopy) this.#putIdentity();
    });
    if (fsync === 'everysec') this.#syncer = new JournalSyncer(`${this.#db.name}-wal`, this.#log);
  }

  get history(): History {
    return this.#history;
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
    const row = this.#db
      .prepare('SELECT end_offset - length(bytes) FROM journal ORDER BY end_offset LIMIT 1')
      .pluck()
      .get() as number | undefined;
    return row === undefined ? null : offset(row);
  }

  get journalEnd(): Offset | null {
    const row = this.#db.prepare('SELECT max(end_offset) FROM journal').pluck().get() as number | null;
    return row === null ? null : offset(row);
  }

  get lost(): string | null {
    return this.#files.lost;
  }

  get chainStart(): Offset | null {
    const row = this.#db
      .prepare(
        'SELECT end_offset - length(bytes) FROM journal WHERE begins_chain = 1 ORDER BY end_offset DESC LIMIT 1',
      )
      .pluck()
      .get() as number | undefined;
    return row === undefined ? null : offset(row);
  }

  get toldHash(): HashedOffset | null {
    const columns = this.#db.prepare('SELECT told_offset, told_hash FROM node').raw().safeIntegers();
    const [at, hash] = columns.get() as [bigint | null, bigint | null];
    return at === null ? null : { offset: offset(Number(at)), hash: hash === null ? null : unsigned(hash) };
  }

  append(end: Offset, bytes: Buffer, hash: bigint | null, beginsChain: boolean): void {
    this.#onDisk(() => {
      this.#refuseWhenLost();
      faultPoint('journal-append');
      this.#marked(() =>
        this.#insert.run(
          end,
          bytes,
          crc32(bytes),
          hash === null ? null : signed(hash),
          beginsChain ? 1 : null,
        ),
      );
      faultPoint('journal-appended');
    });
    this.#commits += 1;
    this.#syncer?.dirty();
    this.#checkpoints.committed();
  }

  get settling(): boolean {
    return this.#checkpoints.settling;
  }

  onSettled(listener: () => void): void {
    this.#checkpoints.onSettled(listener);
  }

  /** Counts since the start of the process: rows committed to the journal, and fsyncs of the journal for them. */
  get journalCounters(): { readonly commits: number; readonly fsyncs: number } {
    // With `always` SQLite fsyncs the WAL in each commit.
    const inCommits = this.#settings.fsync === 'always' ? this.#commits : 0;
    return { commits: this.#commits, fsyncs: this.#syncer?.count ?? inCommits };
  }

  read(after: Offset, enoughBytes: number): Buffer {
    return this.#onDisk(() => {
      faultPoint('journal-read');
      return this.#read(after, enoughBytes);
    });
  }

  #read(after: Offset, enoughBytes: number): Buffer {
    const parts: Buffer[] = [];
    let total = 0;
    let at: number = after;
    for (const row of this.#select.iterate(after)) {
      const [end, bytes, checksum] = row as [number, Buffer, number | null];
      if (checksum !== null && checksum !== crc32(bytes)) {
        throw damage(`what ends at byte ${end} of the journal is not what was written`);
      }
      const start = end - bytes.length;
      if (start > at) break;
      const part = bytes.subarray(at - start);
      parts.push(part);
      total += part.length;
      at = end;
      if (total >= enoughBytes) break;
    }
    if (total === 0) throw new NotInJournal(`byte ${after + 1} is not in the journal`);
    return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts, total);
  }

  rowWith(after: Offset): JournalRow | null {
    return this.#onDisk(() => {
      faultPoint('journal-read');
      const row = this.#rowWith.get(after) as [bigint, bigint | null] | undefined;
      if (row === undefined || Number(row[0]) > after) return null;
      return { start: offset(Number(row[0])), hash: row[1] === null ? null : unsigned(row[1]) };
    });
  }

  lastCommit(upTo: Offset): Offset | null {
    return this.#onDisk(() => {
      faultPoint('journal-read');
      const end = this.#lastEnd.get(upTo) as number | null;
      if (end !== null) return offset(end);
      const start = this.journalStart;
      return start !== null && start <= upTo ? start : null;
    });
  }

  trim(upTo: Offset, maxRows: number): boolean {
    // While the files are lost, the keyspace file may vanish, and the journal with its data must stay.
    if (this.lost !== null) return false;
    return this.#onDisk(() => {
      faultPoint('journal-trim');
      return this.#marked(() => this.#delete.run(upTo, maxRows)).changes === maxRows;
    });
  }

  save({ history, upstream, handingOver, guardedAgainst, copySettled, toldHash }: StateChange): void {
    this.#durably(() => {
      if (history !== undefined) this.#putHistory(history);
      if (toldHash !== undefined) this.#putToldHash(toldHash);
      if (upstream !== undefined) this.#db.prepare('UPDATE node SET upstream = ?').run(upstream);
      if (handingOver !== undefined) {
        this.#db.prepare('UPDATE node SET handing_over = ?').run(handingOver ? 1 : 0);
      }
      if (guardedAgainst !== undefined) {
        this.#db.prepare('UPDATE node SET guarded_against = ?').run(guardedAgainst);
      }
      if (copySettled === true) this.#putIdentity();
    });
    if (copySettled === true) this.#isCopy = false;
    if (history !== undefined) this.#history = history;
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
        this.#db.prepare('UPDATE node SET keyspace = ?').run(keyspaceNumber);
        this.#putToldHash(toldHash);
        this.#putHistory(history);
        this.#db.prepare('DELETE FROM journal').run();
        if (keep !== null) this.#putKept(keep);
      });
      this.#onDisk(() => faultPoint('keyspace-switched'));
    } catch (error) {
      // After an error here the caller removes the new file, so the switch must really not have happened.
      if (!replaces || !this.#isOnDisk(keyspaceNumber)) throw error;
      this.#log.warn('keyspace-switched-all-the-same', { error: messageOf(error) });
    }
    this.#row = { ...this.#row, keyspace: keyspaceNumber, ...(replaces ? { guarded_against: null } : {}) };
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
      this.#log.warn('stop-not-marked', { error: messageOf(error) });
    }
    this.#db.close();
  }

  /** Whether psyncd.db on disk names this keyspace file as the current one. */
  #isOnDisk(keyspaceNumber: number): boolean {
    return this.#onDisk(() => readNode(this.#db)).keyspace === keyspaceNumber;
  }

  #putIdentity(): void {
    const { inode, bornNs } = identityOf(this.#db.name);
    this.#db.prepare('UPDATE node SET inode = ?, born_ns = ?').run(inode, bornNs);
  }

  #putKept({ keyspaceNumber, name, position, reason, at }: KeptFile): void {
    this.#db
      .prepare('INSERT INTO kept (keyspace, name, run_id, "offset", reason, at) VALUES (?, ?, ?, ?, ?, ?)')
      .run(keyspaceNumber, name, position.runId, position.offset, reason, at);
  }

  #putToldHash(told: HashedOffset | null): void {
    const hash = told === null || told.hash === null ? null : signed(told.hash);
    this.#db.prepare('UPDATE node SET told_offset = ?, told_hash = ?').run(told?.offset ?? null, hash);
  }

  #putHistory(history: History): void {
    this.#db.prepare('UPDATE node SET run_id = ?').run(history.runId);
    this.#db.prepare('DELETE FROM lineage').run();
    const insert = this.#db.prepare(
      'INSERT INTO lineage (number, run_id, valid_to, reason, at) VALUES (?, ?, ?, ?, ?)',
    );
    for (const [index, { runId, validTo, reason, at }] of history.lineage.entries()) {
      insert.run(history.lineage.length - index, runId, validTo, reason, at);
    }
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
    if (this.#files.lost !== null) throw new StorageError(this.#files.lost, false);
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

/** Fsyncs the journal's WAL once a second if a commit has come since, off the event loop. */
class JournalSyncer {
  readonly #descriptor: number;
  readonly #log: Log;
  readonly #timer: NodeJS.Timeout;
  #dirty = false;
  #syncing = false;
  #closed = false;
  #count = 0;

  constructor(path: string, log: Log) {
    faultPoint('journal-syncer');
    this.#descriptor = openSync(path, 'r');
    this.#log = log;
    this.#timer = setInterval(() => this.#sync(), SYNC_INTERVAL_MS);
    this.#timer.unref();
  }

  /** Number of fsyncs that succeeded. */
  get count(): number {
    return this.#count;
  }

  dirty(): void {
    this.#dirty = true;
  }

  close(): void {
    clearInterval(this.#timer);
    this.#closed = true;
    if (!this.#syncing) this.#release();
  }

  #sync(): void {
    if (!this.#dirty || this.#syncing) return;
    this.#dirty = false;
    this.#syncing = true;
    try {
      faultPoint('journal-fsync');
    } catch (error) {
      this.#synced(error as Error);
      return;
    }
    fdatasync(this.#descriptor, (error) => this.#synced(error));
  }

  #synced(error: Error | null): void {
    this.#syncing = false;
    if (error === null) this.#count += 1;
    else {
      this.#dirty = true;
      this.#log.error('fsync-failed', { error: error.message });
    }
    if (this.#closed) this.#release();
  }

  #release(): void {
    close(this.#descriptor);
  }
}

/**
 * Takes SQLite's exclusive lock and then keeps the shared one, so that only one process can use the file. SQLite takes
 * the exclusive lock with the first write transaction in exclusive mode, and gives it back after the first one in
 * normal mode; none of these transactions writes. The first transaction opens the WAL in normal mode: a WAL opened in
 * exclusive mode could not be shared with the thread of the checkpoints.
 * @throws SqliteError SQLITE_BUSY when another process has the file open
 */
function keepOthersOut(db: Connection): void {
  for (const mode of ['NORMAL', 'EXCLUSIVE', 'NORMAL']) {
    db.pragma(`locking_mode = ${mode}`);
    db.transaction(() => undefined).immediate();
  }
  db.pragma(`busy_timeout = ${LOCK_WAIT_MS}`);
}

/**
 * @throws DamageError if the WAL belongs to another state of the file; SqliteError SQLITE_BUSY when another process has
 * the file open
 */
function refuseStaleWal(path: string): void {
  if (!isWalStale(path, MARK_SCHEMA)) return;
  // Another process may have written to both while they were compared.
  lockOnce(path);
  if (isWalStale(path, MARK_SCHEMA)) throw staleWal(path);
}

/**
 * Takes and gives back the lock, without moving the WAL into the file: SQLite does that when the last connection that may
 * write is closed, unless another one has the file open.
 * @throws SqliteError SQLITE_BUSY when another process has the file open
 */
function lockOnce(path: string): void {
  const db = new Database(path, { timeout: 0 });
  const reader = new Database(path, { readonly: true });
  try {
    lenient(() => keepOthersOut(db));
    lenient(() => reader.pragma('schema_version'));
  } finally {
    db.close();
    reader.close();
  }
}

/** Ignores what SQLite says of a mixture of two states, but not that the file is in use. */
function lenient(use: () => void): void {
  try {
    use();
  } catch (error) {
    if (!isDamage(codeOf(error))) throw error;
  }
}

/**
 * Creates a complete psyncd.db for a new node and closes it; it is on disk on return.
 * @param path where no file exists
 */
export function makeStateFile(path: string, settings: StateFileSettings): void {
  const db = new Database(path);
  try {
    db.pragma('synchronous = FULL');
    migrate(db, 'state', path, () => insertNode(db, settings));
  } finally {
    db.close();
  }
  faultPoint('state-made');
}

function insertNode(db: Connection, settings: StateFileSettings): void {
  faultPoint('state-new');
  db.prepare(
    'INSERT INTO node (only, run_id, keyspace, upstream, clean, boot_id, fsync) VALUES (1, ?, 0, ?, 1, ?, ?)',
  ).run(settings.newRunId(), settings.upstream, settings.bootId, settings.fsync);
}

/**
 * Refuses to create psyncd.db beside a keyspace file: there must have been a psyncd.db that says whose keyspace it is.
 * @throws Error with SQLite's code for damage
 */
function refuseBesideData(path: string): void {
  const file = readdirSync(dirname(path)).find((name) => KEYSPACE_FILE.test(name));
  if (file !== undefined) throw damage(`it is empty, and there is ${file}`);
}

/** Whether the file is another one than the recorded one; false if nothing was recorded. */
function isAnother(found: FileIdentity, { inode, born_ns: bornNs }: NodeRow): boolean {
  return inode !== null && !isSameFile({ inode, bornNs }, found);
}

function readNode(db: Connection): NodeRow {
  const row = db
    .prepare(
      `SELECT run_id, keyspace, upstream, clean, boot_id, fsync, handing_over, guarded_against, inode, born_ns
       FROM node`,
    )
    .get();
  if (row === undefined) throw damage('the table node is empty');
  return row as NodeRow;
}

function readHistory(db: Connection, row: NodeRow): History {
  const lineage = db
    .prepare('SELECT run_id, valid_to, reason, at FROM lineage ORDER BY number DESC')
    .all() as { run_id: string; valid_to: number; reason: string; at: number }[];
  return {
    ...newHistory(runIdOf(row.run_id)),
    lineage: lineage.map(
      (entry): Ancestor => ({
        runId: runIdOf(entry.run_id),
        validTo: offsetOf(entry.valid_to),
        reason: entry.reason as LineageReason,
        at: entry.at,
      }),
    ),
  };
}

function readKept(db: Connection): readonly KeptFile[] {
  const rows = db
    .prepare('SELECT keyspace, name, run_id, "offset", reason, at FROM kept ORDER BY keyspace')
    .all() as KeptRow[];
  return rows.map((row) => ({
    keyspaceNumber: row.keyspace,
    name: row.name,
    position: { runId: runIdOf(row.run_id), offset: offsetOf(row.offset) },
    reason: FULL_RESYNC_REASONS.find((reason) => reason === row.reason) ?? null,
    at: row.at,
  }));
}

function offsetOf(value: number): Offset {
  if (!Number.isSafeInteger(value) || value < 0) throw damage(`${value} is no offset`);
  return offset(value);
}

/** Converts to a signed integer, as SQLite stores them. */
function signed(hash: bigint): bigint {
  return BigInt.asIntN(64, hash);
}

function unsigned(hash: bigint): bigint {
  return BigInt.asUintN(64, hash);
}

function runIdOf(text: string): RunId {
  const runId = parseRunId(text);
  if (runId === null) throw damage(`${JSON.stringify(text)} is no run ID`);
  return runId;
}

function explain(path: string, error: unknown): StartError {
  const code = codeOf(error);
  switch (true) {
    case code === 'SQLITE_BUSY' || code === 'SQLITE_LOCKED':
      return new StartError(
        `${path} is in use by another process; stop that one, or choose another folder with --data`,
      );
    case code === 'SQLITE_CANTOPEN' || code.startsWith('SQLITE_READONLY') || code === 'SQLITE_PERM':
      return new StartError(`${path} cannot be opened for writing: ${messageOf(error)}`);
    case isDamaged(error):
      return new DamageError(
        `${path} is damaged: ${messageOf(error)}; nothing was changed, restore the folder from a copy or choose another with --data`,
      );
    default:
      return new StartError(openingFailure(error, path));
  }
}
