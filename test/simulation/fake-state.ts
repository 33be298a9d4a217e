/** psyncd.db on a fake disk: what `store/state/state-file.ts` promises, power cuts included. */

import { changed, trimmedMarks } from '../../src/node/head/time-marks.ts';
import { NotInJournal, StorageError } from '../../src/node/ports/failures.ts';
import type {
  JournalRow,
  KeptFile,
  StateChange,
  StateStore,
  TimeChange,
  TimeMark,
} from '../../src/node/ports/state-store.ts';
import type { History } from '../../src/replication/history.ts';
import type { HashedOffset } from '../../src/replication/history-hash.ts';
import { type Offset, offset, type RunId, ZERO } from '../../src/replication/position.ts';
import type { FsyncPolicy } from '../../src/store/state/state-settings.ts';
import type { Disk } from './disk.ts';
import type { Life } from './process.ts';

/** What the referee wants to know of each change, before the node can go on. */
export interface StateWatcher {
  appended(from: number, bytes: Buffer): void;
  saving(change: StateChange): void;
  switching(keyspaceNumber: number, history: History, keep: KeptFile | null): void;
}

const SYNC_INTERVAL_MS = 1_000;
const SYNC_MS = 20;
/** How long an operating system that is not asked to keeps what was written in memory. */
const WRITE_BACK_MS = 10_000;
/** Which of the appends finds that it is time for a checkpoint of the journal, and how long that takes to settle. */
const SETTLING_ODDS = 0.02;
const SETTLING_MS = 20;

export class FakeState implements StateStore {
  readonly mayLackBytes: boolean;
  readonly wasClean: boolean;
  readonly #disk: Disk;
  readonly #process: Life;
  readonly #watcher: StateWatcher;
  readonly #fsync: FsyncPolicy;
  readonly #boot: string | null;
  readonly #settledListeners: (() => void)[] = [];
  settling = false;
  #damagedUpTo: Offset | null = null;

  /** @param boot names the boot of the machine; null: unknown */
  constructor(disk: Disk, process: Life, watcher: StateWatcher, fsync: FsyncPolicy, boot: string | null) {
    this.#disk = disk;
    this.#process = process;
    this.#watcher = watcher;
    this.#fsync = fsync;
    this.#boot = boot;
    const { row } = disk;
    const sameBoot = row.boot !== null && row.boot === boot;
    this.wasClean = row.clean;
    this.mayLackBytes = !row.clean && row.fsync !== 'always' && !sameBoot;
  }

  get isCopy(): boolean {
    const { row, file } = this.#disk;
    return row.file !== null && row.file !== file;
  }

  get history(): History {
    return this.#disk.row.history;
  }

  get renamedAt(): Offset | null {
    return this.#disk.row.renamedAt;
  }

  get upstream(): string | null {
    return this.#disk.row.upstream;
  }

  get guardedAgainst(): RunId | null {
    return this.#disk.row.guardedAgainst;
  }

  get handingOver(): boolean {
    return this.#disk.row.handingOver;
  }

  get kept(): readonly KeptFile[] {
    return this.#disk.row.kept;
  }

  get keyspaceNumber(): number {
    return this.#disk.row.keyspaceNumber;
  }

  get journalStart(): Offset | null {
    const first = this.#disk.journal[0];
    return first === undefined ? null : offset(first.end - first.bytes.length);
  }

  get journalEnd(): Offset | null {
    const last = this.#disk.journal.at(-1);
    return last === undefined ? null : offset(last.end);
  }

  get damagedUpTo(): Offset | null {
    return this.#damagedUpTo;
  }

  readonly lost = null;

  begin(): void {
    this.#process.change('begin', () =>
      this.#disk.putRow({
        clean: false,
        boot: this.#boot,
        fsync: this.#fsync,
        ...(this.isCopy ? {} : { file: this.#disk.file }),
      }),
    );
    if (this.#fsync !== 'always') this.#keepSyncing();
  }

  get chainStart(): Offset | null {
    const row = this.#disk.journal.findLast(({ beginsChain }) => beginsChain);
    return row === undefined ? null : offset(row.end - row.bytes.length);
  }

  get toldHash(): HashedOffset | null {
    return this.#disk.row.toldHash;
  }

  append(
    end: Offset,
    bytes: Buffer,
    hash: bigint | null,
    beginsChain: boolean,
    times: TimeChange | null,
  ): void {
    const marks = times === null ? this.timeMarks : changed(this.timeMarks, times);
    this.#process.change('append', () => {
      // The caller may use its buffer again.
      this.#disk.append({ end, bytes: Buffer.from(bytes), hash, beginsChain, times: marks });
      if (this.#fsync === 'always') this.#disk.sync();
      this.#watcher.appended(end - bytes.length, bytes);
    });
    if (!this.settling && this.#process.chance.odds(SETTLING_ODDS)) this.#settle();
  }

  get timeMarks(): readonly TimeMark[] {
    const marks = this.#disk.journal.at(-1)?.times ?? [];
    return trimmedMarks(marks, this.journalStart ?? ZERO);
  }

  durableUpTo(head: Offset): Offset {
    const { durableEnd } = this.#disk;
    return durableEnd === null ? head : offset(durableEnd);
  }

  syncSoon(done: () => void): void {
    if (this.#disk.durableEnd === null) {
      done();
      return;
    }
    this.#syncLater(done);
  }

  onSettled(listener: () => void): void {
    this.#settledListeners.push(listener);
  }

  #settle(): void {
    this.settling = true;
    this.#process.at(this.#process.chance.delay(SETTLING_MS), () => {
      this.settling = false;
      for (const listener of this.#settledListeners) listener();
    });
  }

  read(after: Offset, enoughBytes: number): Buffer {
    const parts: Buffer[] = [];
    let total = 0;
    let at: number = after;
    for (const { end, bytes, isDamaged } of this.#disk.journal) {
      if (end <= at) continue;
      const start = end - bytes.length;
      if (start > at) break;
      if (isDamaged === true) {
        if (total > 0) break;
        this.#damagedUpTo = offset(Math.max(this.#damagedUpTo ?? 0, end));
        throw new StorageError('the journal is damaged', false, undefined, undefined, true);
      }
      const part = bytes.subarray(at - start);
      parts.push(part);
      total += part.length;
      at = end;
      if (total >= enoughBytes) break;
    }
    if (total === 0) throw new NotInJournal(`byte ${after + 1} is not in the journal`);
    return Buffer.concat(parts, total);
  }

  rowWith(after: Offset): JournalRow | null {
    const row = this.#disk.journal.find(({ end }) => end > after);
    const start = row === undefined ? null : offset(row.end - row.bytes.length);
    return row === undefined || start === null || start > after ? null : { start, hash: row.hash };
  }

  lastCommit(upTo: Offset): Offset | null {
    const commits = this.#disk.journal.flatMap(({ end, bytes }) => [end - bytes.length, end]);
    const at = commits.filter((each) => each <= upTo).at(-1);
    return at === undefined ? null : offset(at);
  }

  readonly reusableBytes = 0;

  trim(upTo: Offset, maxRows: number, maxBytes: number): boolean {
    return this.#process.change('trim', () => {
      const rows = this.#disk.journal.slice(0, maxRows).filter(({ end }) => end <= upTo);
      let bytes = 0;
      const tooMany = rows.findIndex((row, index) => {
        bytes += row.bytes.length;
        return index > 0 && bytes > maxBytes;
      });
      const count = tooMany === -1 ? rows.length : tooMany;
      if (count > 0) this.#disk.trim(count);
      if (this.#fsync === 'always') this.#disk.sync();
      return count < rows.length || count === maxRows;
    });
  }

  save(change: StateChange): void {
    const { copySettled, ...columns } = change;
    this.#process.change('save', () => {
      this.#watcher.saving(change);
      this.#disk.putRow({ ...columns, ...(copySettled === true ? { file: this.#disk.file } : {}) });
    });
  }

  switchKeyspace(
    keyspaceNumber: number,
    history: History,
    keep: KeptFile | null,
    toldHash: HashedOffset | null,
  ): void {
    this.#process.change('switch', () => {
      this.#watcher.switching(keyspaceNumber, history, keep);
      const { kept } = this.#disk.row;
      if (keyspaceNumber !== this.#disk.row.keyspaceNumber) {
        this.#disk.adoptions += 1;
        this.#disk.putRow({ guardedAgainst: null });
      }
      this.#disk.emptyJournal();
      this.#damagedUpTo = null;
      this.#disk.putRow({
        keyspaceNumber,
        history,
        kept: keep === null ? kept : [...kept, keep],
        toldHash,
        renamedAt: null,
      });
    });
  }

  forgetKept(most: number): void {
    const { kept } = this.#disk.row;
    const forgotten = kept.slice(0, Math.max(0, kept.length - most));
    if (forgotten.length === 0) return;
    this.#process.change('forget', () => this.#disk.putRow({ kept: kept.slice(forgotten.length) }));
  }

  close(clean: boolean): void {
    if (clean) this.#process.change('save', () => this.#disk.putRow({ clean: true }));
  }

  /** `everysec`: a sync covers what was written when it began, and takes a while. `no`: some day. */
  #keepSyncing(): void {
    const { chance } = this.#process;
    const pauseMs = this.#fsync === 'everysec' ? SYNC_INTERVAL_MS : chance.delay(WRITE_BACK_MS);
    // Unlike the file's own syncer this one waits for its answer before the next second begins.
    this.#process.at(pauseMs, () => this.#syncLater(() => this.#keepSyncing()));
  }

  /** Syncs what has been written so far; that takes a while. */
  #syncLater(done: () => void): void {
    const written = this.#disk.unsynced;
    this.#process.at(this.#process.chance.delay(SYNC_MS), () => {
      this.#disk.sync(Math.min(written, this.#disk.unsynced));
      done();
    });
  }
}
