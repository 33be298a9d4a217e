/** A node with a journal and an archiver, a target that the test can break, and timers that ring when the test says so. */
import assert from 'node:assert/strict';
import { readdirSync, rmSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { Archiver } from '../../src/archive/archiver.ts';
import { parseArchived, type SegmentName } from '../../src/archive/names.ts';
import { restoreTo } from '../../src/cli/tasks/restore-to.ts';
import { until } from '../../src/cli/until.ts';
import type { Archive, ArchivedStream, CommittedPart } from '../../src/node/ports/archived-stream.ts';
import { type BackupTarget, TargetError, type TargetSource } from '../../src/node/ports/backup-target.ts';
import { NotInJournal, StorageError } from '../../src/node/ports/failures.ts';
import type { World } from '../../src/node/ports/world.ts';
import { type History, type LineageReason, newHistory, renamed } from '../../src/replication/history.ts';
import { type Offset, offset, type RunId } from '../../src/replication/position.ts';
import { lengthInHeader } from '../../src/store/backup/backup-header.ts';
import { FolderTarget } from '../../src/target/folder-target.ts';
import { BEGUN_AT, hasEntries, ModelStream, type State, TestArchive } from './archives.ts';
import { BACKED_UP } from './backups.ts';
import { temporaryFolder } from './cluster.ts';
import { type Seeded, seeded } from './random.ts';

const A = BACKED_UP.runId;
const START: number = BACKED_UP.offset;
const WANTED = { isForced: false, isDry: false, dropsExpired: false };
/** Small, so that a few commits make a segment. */
export const SEGMENT_BYTES = 1_000;
/** What a target throws that is away. */
export const AWAY = new TargetError('TARGET_UNREACHABLE', 'nobody answers');

export class Stage implements ArchivedStream {
  readonly model: ModelStream;
  readonly archive: TestArchive;
  readonly work: string;
  readonly seed: number;
  history: History = newHistory(A);
  chainFrom = offset(0);
  isSettled = true;
  outdatedCalls = 0;
  /** The run ID that the node takes when it hears that it lacks bytes. */
  outdatedAs: RunId | null = null;
  /** Hears that the node has heard that it lacks bytes. */
  onOutdated: () => void = () => undefined;
  /** The offset at which the node has begun; null: at its head. */
  began: number | null = null;
  renamedAt: Offset | null = null;
  /** Milliseconds since the last commit. */
  waited = 0;
  /** By how much the clock of the node is ahead of that of the target, in milliseconds. */
  skewMs = 0;
  /** What the journal has dropped. */
  dropped: number = START;
  /** The row of the journal with the byte after this offset is damaged; null: none is. */
  damagedAfter: number | null = null;
  /** Whether the journal cannot be read, for another reason than damage. */
  isUnreadable = false;
  /** What the journal keeps for others. */
  needed = Number.POSITIVE_INFINITY;
  missing = Number.NEGATIVE_INFINITY;
  limitBytes = 1_000_000;
  /** Objects that a restore reads at most. */
  mostObjects = 1_000_000;
  /** What every call of the target throws; null: it works. */
  broken: TargetError | null = null;
  /** Whether the key of the target lets the node read objects. */
  isReadable = true;
  /** Puts that have begun and that the target does not answer. */
  hanging = 0;
  hangs = false;
  bases = 0;
  makesBases = true;
  /** What a base waits for when it has been put. */
  baseHeld: Promise<unknown> = Promise.resolve();
  /** By how much the clock is ahead when a base is made. */
  aheadMs = 0;
  /** Whether the node needs tokens. */
  isGuarded = false;
  readonly warnings: string[] = [];
  readonly #timers = new Set<{ readonly callback: () => void; readonly ms: number }>();
  #attached: Archive | null = null;
  #archiver: Archiver | null = null;
  /** The backups that were begun; a node may have stopped to wait for one that is still being made. */
  readonly #makings: Promise<unknown>[] = [];

  constructor(work: string, folder: string, { random, seed }: Seeded, begunAt: number) {
    this.seed = seed;
    this.model = new ModelStream(random, begunAt);
    this.archive = new TestArchive(folder, this.model);
    this.work = work;
  }

  /** @param begunAt when the clock stands at the begin, in milliseconds since 1970 */
  static async create(t: TestContext, random = seeded(), begunAt = BEGUN_AT): Promise<Stage> {
    const stage = new Stage(await temporaryFolder(t), await temporaryFolder(t), random, begunAt);
    t.diagnostic(`seed ${stage.seed}`);
    t.after(() => stage.stop());
    return stage;
  }

  /** A node that was stopped when all was archived. @param counts commits between one segment and the next */
  static async stopped(t: TestContext, counts: readonly number[]): Promise<Stage> {
    const stage = await Stage.create(t);
    await stage.start();
    for (const count of counts) {
      stage.write(count);
      await stage.archived();
    }
    await stage.stop();
    return stage;
  }

  /**
   * A node that has archived, was stopped, and then got its files of before the last commits.
   * @returns it, where its archive ends, and its last state of before
   */
  static async putBack(
    t: TestContext,
  ): Promise<{ readonly stage: Stage; readonly end: number; readonly lost: State }> {
    // A segment ends before the offset to which the node is put back: its hash proves what is shared.
    const stage = await Stage.stopped(t, [6, 14]);
    const end = stage.offset;
    const lost = stage.model.last;
    stage.model.rewind(8);
    // At that time the journal had what the archive did not have.
    const ends = stage.names().map((segment): number => segment.end);
    stage.dropped = Math.max(START, ...ends.filter((each) => each <= stage.offset));
    return { stage, end, lost };
  }

  /** Milliseconds since 1970. */
  get now(): number {
    return this.model.last.ms + this.waited;
  }

  get #targetNow(): number {
    return this.now - this.skewMs;
  }

  /** Gives an object the time of the target at which that got it. */
  #gotAt(name: string, ms: number): void {
    utimesSync(this.archive.path(name), ms / 1_000, ms / 1_000);
  }

  get offset(): Offset {
    return this.model.last.at as Offset;
  }

  get journalStart(): Offset | null {
    return this.dropped === this.offset ? null : offset(this.dropped);
  }

  get archiver(): Archiver {
    return this.#archiver as Archiver;
  }

  /** Starts the archiver, and waits until it has begun. */
  async start(): Promise<void> {
    this.begin();
    await this.archived();
  }

  begin(): void {
    const log = {
      debug: () => undefined,
      info: () => undefined,
      warn: (event: string) => void this.warnings.push(event),
      error: (event: string) => void this.warnings.push(event),
    };
    this.#archiver = new Archiver({
      world: this.#world(),
      log,
      stream: this,
      target: this.#target(),
      cluster: 'shop',
      limitBytes: this.limitBytes,
      compresses: false,
      segmentBytes: SEGMENT_BYTES,
      mostObjects: this.mostObjects,
      backupLength: lengthInHeader,
      isGuarded: () => this.isGuarded,
      makeBase: async () => {
        if (this.broken !== null) throw this.broken;
        if (!this.makesBases) throw AWAY;
        const making = this.makeBase();
        this.#makings.push(making);
        const name = await making;
        await this.baseHeld;
        this.bases += 1;
        return name;
      },
    });
  }

  /** Puts a base of the present position into the target. @returns its name */
  async makeBase(): Promise<string> {
    const { archive, aheadMs, history, offset: at, waited } = this;
    const got = this.#targetNow;
    const name = await archive.base(at, history.runId, history.lineage, aheadMs + waited);
    this.#gotAt(name, got);
    return name;
  }

  async stop(): Promise<void> {
    const closing = this.#archiver?.close();
    this.ring();
    await closing;
    await Promise.allSettled(this.#makings);
    this.#attached = null;
    this.#timers.clear();
  }

  write(count: number): void {
    for (let index = 0; index < count; index += 1) {
      if (this.waited !== 0) this.model.growAfter(this.waited + 20);
      else this.model.grow(1);
      this.waited = 0;
      this.#attached?.committed(this.offset);
    }
    this.trim();
  }

  /** Lets all timers ring that have been set. */
  ring(): void {
    for (const timer of [...this.#timers]) {
      this.#timers.delete(timer);
      timer.callback();
    }
  }

  /** Waits until a condition holds, with timers that ring. */
  until(what: string, holds: () => boolean): Promise<true> {
    return until(`${what} (seed ${this.seed})`, () => {
      this.ring();
      return holds() ? true : null;
    });
  }

  archived(): Promise<true> {
    return this.until('everything is archived', () => this.archiver.numbers.isWhole);
  }

  rename(run: RunId, validTo: number, reason: LineageReason = 'promoted'): void {
    this.history = renamed(this.history, {
      runId: run,
      validTo: offset(validTo),
      reason,
      at: this.now,
    });
    this.renamedAt = this.offset;
  }

  replaced(): void {
    this.#attached?.replaced();
  }

  names(): SegmentName[] {
    return readdirSync(this.archive.folder, { recursive: true })
      .map((name) => parseArchived(String(name)))
      .filter((found) => found?.kind === 'segment')
      .sort((a, b) => a.after - b.after);
  }

  /** Checks that the archive gives the state of an offset. */
  async restores(run: RunId, at: number): Promise<void> {
    const folder = join(this.work, 'restored');
    const goal = { kind: 'position', position: { runId: run, offset: offset(at) } } as const;
    await restoreTo(this.archive.folder, folder, goal, null, WANTED);
    hasEntries(folder, this.model.stateAt(at).entries, `seed ${this.seed}, offset ${at}`);
    rmSync(folder, { recursive: true });
  }

  /** Checks that the archive gives a state at a time. @param time milliseconds since 1970 */
  async restoresTime(time: number, { entries }: State, what: string): Promise<void> {
    const folder = join(this.work, 'restored');
    await restoreTo(this.archive.folder, folder, { kind: 'time', at: time }, null, WANTED);
    hasEntries(folder, entries, `seed ${this.seed}, ${what}`);
    rmSync(folder, { recursive: true });
  }

  refuses(run: RunId, at: number, message: RegExp): Promise<void> {
    const goal = { kind: 'position', position: { runId: run, offset: offset(at) } } as const;
    return assert.rejects(
      restoreTo(this.archive.folder, join(this.work, 'restored'), goal, null, WANTED),
      message,
    );
  }

  get committedParts(): readonly CommittedPart[] {
    return this.model.states.slice(1).map(({ at, ms }) => ({ end: offset(at), by: ms }));
  }

  hashAt(at: Offset): bigint | null {
    const state = this.model.stateAt(at);
    return state.at === at && at >= this.chainFrom ? state.hash : null;
  }

  differsAt(at: Offset, hash: bigint | null): boolean {
    const state = this.model.stateAt(at);
    if (at > this.offset || at <= this.chainFrom) return false;
    return state.at !== at || (hash !== null && state.hash !== hash);
  }

  rowStart(after: Offset): Offset | null {
    return after >= this.offset || after < this.dropped ? null : (this.model.stateAt(after).at as Offset);
  }

  read(after: Offset, enoughBytes: number): Buffer {
    if (after < this.dropped || after >= this.offset) throw new NotInJournal(`byte ${after + 1}`);
    if (this.isUnreadable) throw new StorageError('disk I/O error', false);
    const { damagedAfter } = this;
    if (damagedAfter === after) throw new StorageError('damaged', false, undefined, 'damaged', true);
    const found = this.model.states.find(({ at }) => at >= after + enoughBytes)?.at ?? this.offset;
    const end = damagedAfter !== null && damagedAfter > after ? Math.min(found, damagedAfter) : found;
    return this.model.bytes.subarray(after - START, end - START);
  }

  attach(archive: Archive): void {
    this.#attached = archive;
  }

  outdated(shared: Offset): void {
    this.outdatedCalls += 1;
    if (this.outdatedAs !== null)
      this.rename(this.outdatedAs, Math.min(shared, this.began ?? this.offset), 'rolled-back');
    this.outdatedAs = null;
    this.onOutdated();
  }

  trim(): void {
    this.dropped = Math.max(
      this.dropped,
      Math.min(this.#attached?.pinned ?? this.offset, this.needed, this.offset),
    );
  }

  missingRoom(): Promise<number> {
    return Promise.resolve(this.missing);
  }

  #world(): World {
    return {
      now: () => this.now,
      monotonic: () => performance.now(),
      random: () => 0,
      newRunId: () => A,
      soon: (callback) => void setImmediate(callback),
      after: (ms, callback) => {
        const timer = { ms, callback };
        this.#timers.add(timer);
        return () => this.#timers.delete(timer);
      },
    };
  }

  #target(): BackupTarget {
    const target = new FolderTarget(this.archive.folder);
    return {
      shown: 'the target',
      put: async (name: string, source: TargetSource, call) => {
        if (this.broken !== null) throw this.broken;
        if (this.hangs) {
          this.hanging += 1;
          await new Promise((_, reject) => {
            call?.signal?.addEventListener('abort', () => reject(call.signal?.reason));
          });
        }
        await target.put(name, source, call);
        this.#gotAt(name, this.#targetNow);
      },
      get: (name, path, call) => target.get(name, path, call),
      list: (folder, call) => {
        if (this.broken !== null) throw this.broken;
        return target.list(folder, call);
      },
      begin: async (name, length, call) => {
        if (!this.isReadable) throw new TargetError('NO_ACCESS', 'the key may not get objects');
        return await target.begin(name, length, call);
      },
      find: (name, call) => target.find(name, call),
      delete: (name, call) => target.delete(name, call),
      clean: (before, isOwn, call) => target.clean(before, isOwn, call),
    };
  }
}
