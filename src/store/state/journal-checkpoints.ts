/**
 * The checkpoints of psyncd.db: what is in the WAL is moved into the file by a thread with a connection of its own, so the
 * event loop waits neither for the 32 MiB that are written nor for the fsyncs.
 *
 * The thread's checkpoints are PASSIVE: they stop nobody from committing, so when one ends there are new commits behind it.
 * SQLite begins the WAL anew only with a commit that finds all of it in the file. Therefore:
 *   passes     until little is left; commits go on
 *   settling   one more: nothing that can wait is committed, the event loop goes on
 * A commit that cannot wait comes through; then settling begins again, and after a few times the WAL grows on until the next
 * checkpoint. Its bound is WAL_PAGES, where SQLite makes the checkpoint in the commit.
 *
 * The thread opens its connection for each pass, because the main thread's has to be the last one: it leaves no WAL behind.
 */
import { Worker } from 'node:worker_threads';
import type { Database as Connection, Statement } from 'better-sqlite3';
import type { Log } from '../../node/ports.ts';
import { messageOf } from '../storage-failure.ts';
import { workerUrl } from '../worker-url.ts';
import { Gate } from './gate.ts';
import type { CheckpointData, CheckpointResult } from './journal-checkpoint-protocol.ts';

/** A checkpoint is made when so many pages of 4 KiB in the WAL are not in the file: 32 MiB. */
const CHECKPOINT_PAGES = 8_192;
/** The WAL is measured at every so many commits, of half a MiB at most: that costs a sixth of a small one. */
const MEASURED_COMMITS = 8;
/** What settling may be left with: 2 MiB. Then it takes about as long as its two fsyncs. */
const SETTLING_PAGES = 512;
/** Passes before settling begins all the same: the disk is slower than the writers. */
const MAX_PASSES = 6;
/** Attempts to settle. */
const MAX_SETTLING_PASSES = 3;
/** The WAL's bound in pages: 128 MiB. From there on each commit makes the checkpoint itself. */
export const WAL_PAGES = 32_768;
/** After one that has failed. */
const RETRY_MS = 1_000;
/** A thread with nothing to do takes memory only. */
const IDLE_MS = 10_000;
/** The thread does little in JavaScript. */
const THREAD_YOUNG_MB = 1;

type Phase = 'idle' | 'passes' | 'settling' | 'failed' | 'closed';

export class JournalCheckpoints {
  readonly #path: string;
  readonly #log: Log;
  readonly #measure: Statement;
  readonly #gate = new Gate();
  readonly #settledListeners: (() => void)[] = [];
  #phase: Phase = 'idle';
  #commits = 0;
  #thread: Worker | null = null;
  #timer: NodeJS.Timeout | undefined;

  /** @param db the main thread's connection */
  constructor(db: Connection, log: Log) {
    this.#path = db.name;
    this.#log = log;
    // Does nothing, and says how long the WAL is.
    this.#measure = db.prepare('PRAGMA wal_checkpoint(NOOP)').raw();
  }

  /** Whatever can wait should not be committed now. */
  get settling(): boolean {
    return this.#phase === 'settling';
  }

  /** Calls back each time when `settling` is over. */
  onSettled(listener: () => void): void {
    this.#settledListeners.push(listener);
  }

  /** To be called after each commit: begins a checkpoint when it is time. */
  committed(): void {
    this.#commits += 1;
    if (this.#phase !== 'idle' || this.#commits % MEASURED_COMMITS !== 0) return;
    try {
      if (this.#left() < CHECKPOINT_PAGES) return;
    } catch (error) {
      this.#failed(error);
      return;
    }
    this.#checkpoint().catch((error: unknown) =>
      this.#log.error('journal-checkpoint-failed', { error: messageOf(error) }),
    );
  }

  /** Returns when the thread has no connection any more, and will have none. */
  close(): void {
    this.#phase = 'closed';
    clearTimeout(this.#timer);
    this.#gate.close();
    this.#endThread();
  }

  async #checkpoint(): Promise<void> {
    clearTimeout(this.#timer);
    try {
      this.#enter('passes');
      for (let pass = 1; pass <= MAX_PASSES && this.#left() > SETTLING_PAGES; pass += 1) await this.#pass();
      this.#enter('settling');
      for (let pass = 1; pass <= MAX_SETTLING_PASSES && this.#left() > 0; pass += 1) await this.#pass();
      this.#enter('idle');
      this.#timer = setTimeout(() => this.#endThread(), IDLE_MS).unref();
    } catch (error) {
      this.#failed(error);
    }
  }

  /** Nothing is lost: what was not moved is in the WAL, and is moved the next time. */
  #failed(error: unknown): void {
    if (this.#phase === 'closed') return;
    this.#log.warn('journal-checkpoint-failed', { error: messageOf(error) });
    this.#enter('failed');
    this.#timer = setTimeout(() => this.#enter('idle'), RETRY_MS).unref();
  }

  #enter(phase: Exclude<Phase, 'closed'>): void {
    if (this.#phase === 'closed') throw new Error('the journal is closed');
    const settled = this.#phase === 'settling';
    this.#phase = phase;
    if (settled) for (const listener of this.#settledListeners) listener();
  }

  /** Pages in the WAL that are not in the file. */
  #left(): number {
    const [, pages, moved] = this.#measure.get() as [busy: number, pages: number, moved: number];
    return pages - moved;
  }

  /** Moves what is in the WAL now. */
  #pass(): Promise<void> {
    const thread = this.#thread ?? this.#startThread();
    return new Promise((resolve, reject) => {
      const done = (error: Error | null): void => {
        thread.off('message', answered).off('error', done).off('exit', ended);
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
    // Whoever waits for it hears of it too.
    thread.on('error', (error) => this.#log.warn('journal-thread-failed', { error: messageOf(error) }));
    thread.once('exit', () => {
      if (this.#thread === thread) this.#thread = null;
    });
    this.#thread = thread;
    return thread;
  }

  #endThread(): void {
    // It is gone or it goes; nobody waits for it.
    this.#thread?.terminate().catch(() => undefined);
    this.#thread = null;
  }
}
