/** `--fsync everysec`: the journal reaches the disk within about a second, without a wait of the event loop. */
import { close, fdatasync, openSync } from 'node:fs';
import type { Log } from '../../node/ports/world.ts';
import { faultPoint } from '../fault-point.ts';

const SYNC_INTERVAL_MS = 1_000;

/** Fsyncs the journal's WAL once a second if a commit has come since, off the event loop. */
export class JournalSyncer {
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
