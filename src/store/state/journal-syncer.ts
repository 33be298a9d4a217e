/** Brings the journal's WAL to the disk without a wait of the event loop, and knows how much of it is there. */
import { close, fdatasync, openSync } from 'node:fs';
import type { Durations } from '../../node/ports/counts.ts';
import type { Log } from '../../node/ports/world.ts';
import type { Offset } from '../../replication/position.ts';
import { faultPoint } from '../fault-point.ts';
import type { FsyncPolicy } from './state-settings.ts';

/** Time between two fsyncs of `--fsync everysec`. */
const SYNC_INTERVAL_MS = 1_000;

export class JournalSyncer {
  readonly #descriptor: number;
  readonly #log: Log;
  readonly #timer: NodeJS.Timeout | null;
  /** Offset up to which the journal is on the disk, and its end; null: all of it is on the disk. */
  #open: { readonly durable: Offset; readonly end: Offset } | null = null;
  /** The fsync that runs, the end of the journal when it began (null: it says nothing any more), and its askers; null: none runs. */
  #running: { end: Offset | null; readonly askers: readonly (() => void)[] } | null = null;
  /** Who asks for more than the fsync that runs will bring. */
  #askers: (() => void)[] = [];
  /**
   * Whether an fsync has failed. The system may then have dropped pages that it could not write, and the next fsync would
   * succeed without them; so nothing that was appended since counts as on the disk until the node starts anew.
   */
  #hasFailed = false;
  #closed = false;
  readonly #durations: Durations;
  #begunAt = 0;

  /**
   * @param path of the WAL
   * @param policy `no`: only `syncSoon` begins an fsync
   * @param durations gets how long each fsync took that succeeded
   */
  constructor(path: string, log: Log, policy: Exclude<FsyncPolicy, 'always'>, durations: Durations) {
    faultPoint('journal-syncer');
    this.#descriptor = openSync(path, 'r');
    this.#log = log;
    this.#durations = durations;
    this.#timer = policy === 'no' ? null : setInterval(() => this.#sync(), SYNC_INTERVAL_MS);
    this.#timer?.unref();
  }

  /** Notes a commit. @param from offset before its bytes @param end offset after them */
  appended(from: Offset, end: Offset): void {
    this.#open = { durable: this.#open?.durable ?? from, end };
  }

  /** Notes that another transaction has brought everything to the disk. */
  allSynced(): void {
    // What is appended from now on may have lower offsets, of another history.
    if (this.#running !== null) this.#running.end = null;
    if (!this.#hasFailed) this.#open = null;
  }

  /** @param head end of the journal @returns the offset up to which the journal is on the disk */
  durableUpTo(head: Offset): Offset {
    return this.#open?.durable ?? head;
  }

  /** @param done called once everything that was appended so far is on the disk, or cannot be brought there */
  syncSoon(done: () => void): void {
    if (this.#open === null || this.#hasFailed) {
      done();
      return;
    }
    this.#askers.push(done);
    this.#sync();
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#closed = true;
    if (this.#running === null) this.#release();
  }

  #sync(): void {
    if (this.#open === null || this.#running !== null || this.#closed) return;
    this.#running = { end: this.#open.end, askers: this.#askers };
    this.#askers = [];
    this.#begunAt = performance.now();
    try {
      faultPoint('journal-fsync');
    } catch (error) {
      this.#ended(error as Error);
      return;
    }
    fdatasync(this.#descriptor, (error) => this.#ended(error));
  }

  #ended(error: Error | null): void {
    const { end, askers } = this.#running ?? { end: null, askers: [] };
    this.#running = null;
    if (error === null) {
      this.#durations.add((performance.now() - this.#begunAt) / 1_000);
      this.#reached(end);
    } else {
      this.#hasFailed = true;
      this.#log.error('fsync-failed', { error: error.message });
    }
    if (this.#closed) {
      this.#release();
      return;
    }
    for (const done of askers) done();
    if (this.#askers.length > 0) this.#sync();
  }

  #reached(end: Offset | null): void {
    if (this.#open === null || end === null || this.#hasFailed) return;
    this.#open = end === this.#open.end ? null : { durable: end, end: this.#open.end };
  }

  #release(): void {
    close(this.#descriptor);
  }
}
