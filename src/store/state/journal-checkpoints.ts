/**
 * The checkpoints of psyncd.db. A thread with a connection of its own moves the WAL into the file, so that the event
 * loop waits neither for writing 32 MiB nor for the fsyncs.
 *
 * The thread's checkpoints are PASSIVE: they block no commit, so new commits follow each of them. SQLite restarts the
 * WAL only at a commit that finds all of it in the file. Therefore a checkpoint has two steps:
 * - passes: the thread moves the WAL until little is left, while commits go on;
 * - settling: one more pass, during which the node postpones all commits that can wait. The event loop keeps running.
 *
 * A commit that cannot wait comes through. Then settling starts again; after a few attempts the WAL grows until the
 * next checkpoint. The limit is WAL_PAGES: from there on, SQLite makes a checkpoint in each commit.
 *
 * The thread opens its connection for each pass only, because the main thread must close the last connection: that one
 * removes the WAL.
 */
import { Worker } from 'node:worker_threads';
import type { Database as Connection, Statement } from 'better-sqlite3';
import { Durations, SHORT_RANGES } from '../../node/ports/counts.ts';
import { inLogOf } from '../../node/ports/failures.ts';
import type { Log } from '../../node/ports/world.ts';
import { workerUrl } from '../worker-url.ts';
import { Gate } from './gate.ts';
import type { CheckpointData, CheckpointResult } from './journal-checkpoint-protocol.ts';

/** Number of WAL pages of 4 KiB not yet in the file at which a checkpoint begins: 32 MiB. */
const CHECKPOINT_PAGES = 8_192;
/**
 * Number of commits, of at most half a MiB each, between two measurements of the WAL: a measurement costs a sixth of a
 * small commit.
 */
const MEASURED_COMMITS = 8;
/** Number of WAL pages at which settling begins: 2 MiB, which takes about as long as the two fsyncs. */
const SETTLING_PAGES = 512;
/** Number of passes after which settling begins even if more pages are left: the disk is slower than the writers. */
const MAX_PASSES = 6;
/** Number of attempts to settle. */
const MAX_SETTLING_PASSES = 3;
/** Largest WAL in pages: 128 MiB. Above it, each commit makes a checkpoint itself. */
export const WAL_PAGES = 32_768;
/** Number of WAL pages above which a commit may find, before the next measurement, that one has made a checkpoint. */
const LONG_PAGES = WAL_PAGES / 2;
/** Wait after a failed checkpoint, in milliseconds. */
const RETRY_MS = 1_000;
/** Time after which an idle thread is ended, because it takes memory, in milliseconds. */
const IDLE_MS = 10_000;
/** Young generation of the thread in MB: it runs little JavaScript. */
const THREAD_YOUNG_MB = 1;

type Phase = 'idle' | 'passes' | 'settling' | 'failed' | 'closed';

export class JournalCheckpoints {
  readonly #path: string;
  readonly #log: Log;
  readonly #measure: Statement;
  readonly #gate = new Gate();
  /** From the moment when a checkpoint was due to its end, failed ones excluded. */
  readonly durations = new Durations(SHORT_RANGES);
  readonly #settledListeners: (() => void)[] = [];
  #phase: Phase = 'idle';
  #commits = 0;
  #mayRestartWal = true;
  #isPassing = false;
  #isLong = false;
  #thread: Worker | null = null;
  #timer: NodeJS.Timeout | undefined;

  /** @param db the main thread's connection of psyncd.db */
  constructor(db: Connection, log: Log) {
    this.#path = db.name;
    this.#log = log;
    // A NOOP checkpoint changes nothing and returns the length of the WAL.
    this.#measure = db.prepare('PRAGMA wal_checkpoint(NOOP)').raw();
  }

  /** Whether commits that can wait should be postponed. */
  get settling(): boolean {
    return this.#phase === 'settling';
  }

  /**
   * Whether the next commit may begin the WAL anew: it is the first one of this process, a pass is running or has ended
   * since the last commit, or commits may make checkpoints themselves.
   */
  get mayRestartWal(): boolean {
    return this.#mayRestartWal;
  }

  /** Registers a callback for each end of settling. */
  onSettled(listener: () => void): void {
    this.#settledListeners.push(listener);
  }

  /** To be called after each commit: begins a checkpoint when one is due. */
  committed(): void {
    this.#commits += 1;
    this.#mayRestartWal = this.#isPassing || this.#isLong || this.#phase === 'failed';
    if (this.#commits % MEASURED_COMMITS === 0) this.#checkpointFrom(CHECKPOINT_PAGES);
  }

  /**
   * To be called after a commit that the full disk refused: once all of the WAL is in the file, the next commits reuse the room
   * that the WAL has.
   */
  refused(): void {
    this.#checkpointFrom(1);
  }

  /** Begins a checkpoint if none is under way and at least so many pages are left. */
  #checkpointFrom(pages: number): void {
    if (this.#phase !== 'idle') return;
    try {
      if (this.#left() < pages) return;
    } catch (error) {
      this.#failed(error);
      return;
    }
    this.#checkpoint().catch((error: unknown) =>
      this.#log.error('journal-checkpoint-failed', { error: inLogOf(error) }),
    );
  }

  /** Returns once the thread has no connection and can open no other. */
  close(): void {
    this.#phase = 'closed';
    clearTimeout(this.#timer);
    this.#gate.close();
    this.#endThread();
  }

  async #checkpoint(): Promise<void> {
    clearTimeout(this.#timer);
    const begunAt = performance.now();
    try {
      this.#enter('passes');
      for (let pass = 1; pass <= MAX_PASSES && this.#left() > SETTLING_PAGES; pass += 1) await this.#pass();
      this.#enter('settling');
      for (let pass = 1; pass <= MAX_SETTLING_PASSES && this.#left() > 0; pass += 1) await this.#pass();
      this.#enter('idle');
      this.durations.add((performance.now() - begunAt) / 1_000);
      this.#timer = setTimeout(() => this.#endThread(), IDLE_MS).unref();
    } catch (error) {
      this.#failed(error);
    }
  }

  /** Schedules another attempt. Nothing is lost: the pages stay in the WAL. */
  #failed(error: unknown): void {
    if (this.#phase === 'closed') return;
    this.#log.warn('journal-checkpoint-failed', { error: inLogOf(error) });
    this.#enter('failed');
    this.#timer = setTimeout(() => this.#enter('idle'), RETRY_MS).unref();
  }

  #enter(phase: Exclude<Phase, 'closed'>): void {
    if (this.#phase === 'closed') throw new Error('the journal is closed');
    const settled = this.#phase === 'settling';
    this.#phase = phase;
    if (settled) for (const listener of this.#settledListeners) listener();
  }

  /** Counts the WAL pages that are not in the file. */
  #left(): number {
    const [, pages, moved] = this.#measure.get() as [busy: number, pages: number, moved: number];
    this.#isLong = pages > LONG_PAGES;
    return pages - moved;
  }

  /** Moves the current WAL into the file. */
  #pass(): Promise<void> {
    const thread = this.#thread ?? this.#startThread();
    this.#isPassing = true;
    this.#mayRestartWal = true;
    return new Promise((resolve, reject) => {
      const done = (error: Error | null): void => {
        thread.off('message', answered).off('error', done).off('exit', ended);
        this.#isPassing = false;
        if (error === null) resolve();
        else reject(error);
      };
      const answered = (result: CheckpointResult): void =>
        done(result.failure === null ? null : new Error(result.failure));
      const ended = (): void => done(new Error('the thread has ended'));
      thread.on('message', answered).on('error', done).on('exit', ended);
      thread.postMessage(null);
    });
  }

  #startThread(): Worker {
    const data: CheckpointData = { path: this.#path, gate: this.#gate.shared };
    const thread = new Worker(workerUrl(import.meta.url, 'journal-checkpoint-thread'), {
      workerData: data,
      resourceLimits: { maxYoungGenerationSizeMb: THREAD_YOUNG_MB },
    });
    thread.unref();
    // The pass that waits for the thread reports the failure too.
    thread.on('error', (error) => this.#log.warn('journal-thread-failed', { error: inLogOf(error) }));
    thread.once('exit', () => {
      if (this.#thread === thread) this.#thread = null;
    });
    this.#thread = thread;
    return thread;
  }

  #endThread(): void {
    // The thread ends by itself or has ended; the result does not matter.
    this.#thread?.terminate().catch(() => undefined);
    this.#thread = null;
  }
}
