/**
 * Drops journal rows that nobody needs, a few at a time and in the background, so that no turn waits for long.
 *
 * Owns: the pins, with which readers keep rows in the journal.
 */
import type { Offset } from '../../replication/position.ts';
import { inLogOf } from '../ports/failures.ts';
import type { StateStore } from '../ports/state-store.ts';
import type { Log, World } from '../ports/world.ts';
import { restAfter, TURN_MS } from '../turns.ts';

/** Largest number of journal rows that one step drops. Small rows take about a millisecond together. */
const TRIM_ROWS = 128;
/** Largest number of bytes in the rows that one step drops: SQLite visits each page of them. One larger row goes alone. */
export const TRIM_BYTES = 4 * 1024 * 1024;
/** Time between a failed step and the next attempt, in milliseconds. */
const RETRY_MS = 1_000;
/** Longest wait for the end of the trim, in milliseconds: about 4 GiB of rows on a slow disk, and less than a master's patience. */
const FINISH_MS = 30_000;

export class JournalTrim {
  readonly #world: World;
  readonly #log: Log;
  readonly #state: Pick<StateStore, 'trim'>;
  readonly #unneededTo: () => number;
  readonly #trimmed: () => void;
  readonly #pins = new Set<() => Offset | null>();
  #running = false;
  /** Share of `TRIM_ROWS` and `TRIM_BYTES` that the next step drops: less than 1 if the disk is slow. */
  #share = 1;
  /** Whether the last step failed. */
  #hasFailed = false;
  /** Called when nothing more can be dropped. */
  #waiters = new Set<() => void>();
  #cancel: (() => void) | null = null;
  #closed = false;

  /**
   * @param parts.unneededTo the offset up to which nobody needs the journal, but for the readers with pins
   * @param parts.trimmed called after each step
   */
  constructor(parts: {
    readonly world: World;
    readonly log: Log;
    readonly state: Pick<StateStore, 'trim'>;
    readonly unneededTo: () => number;
    readonly trimmed: () => void;
  }) {
    this.#world = parts.world;
    this.#log = parts.log;
    this.#state = parts.state;
    this.#unneededTo = parts.unneededTo;
    this.#trimmed = parts.trimmed;
  }

  /**
   * Keeps all journal rows after the offset that `pin` returns, as long as it returns one.
   * @returns the function that removes the pin
   */
  pin(pin: () => Offset | null): () => void {
    this.#pins.add(pin);
    return () => this.#pins.delete(pin);
  }

  /** Starts dropping rows in the background, unless that is under way. */
  start(): void {
    if (this.#running) return;
    this.#running = true;
    this.#world.soon(() => this.#step());
  }

  /**
   * Drops in steps what nobody needs. The steps rest for a shorter time, because somebody waits for them.
   * @returns a promise that resolves when nothing more can be dropped, the disk refuses, or `FINISH_MS` are over
   */
  finish(): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#world.after(FINISH_MS, () => {
        this.#waiters.delete(ended);
        resolve();
      });
      const ended = (): void => {
        cancel();
        resolve();
      };
      this.#waiters.add(ended);
      this.start();
    });
  }

  close(): void {
    this.#closed = true;
    this.#cancel?.();
    this.#finished();
  }

  #step(): void {
    this.#running = false;
    this.#cancel?.();
    this.#cancel = null;
    if (this.#closed) {
      this.#finished();
      return;
    }
    try {
      const startedAt = this.#world.monotonic();
      const { rows, bytes } = this.#most;
      const hasMore = this.#state.trim(this.#trimmableTo(), rows, bytes);
      this.#trimmed();
      this.#hasFailed = false;
      const tookMs = this.#world.monotonic() - startedAt;
      // The next step adapts to the time, because it depends on the disk.
      if (tookMs > TURN_MS) this.#share = Math.max(1 / TRIM_ROWS, this.#share / 2);
      else if (tookMs < TURN_MS / 2) this.#share = Math.min(1, this.#share * 2);
      if (!hasMore) {
        this.#finished();
        return;
      }
      this.#running = true;
      const restMs = this.#waiters.size > 0 ? tookMs : restAfter(tookMs);
      this.#cancel = this.#world.after(restMs, () => this.#step());
    } catch (error) {
      this.#failed(error);
    }
  }

  /** Tries again later, with fewer rows: the rows stay, so nothing is lost, and fewer rows need less room on a full disk. */
  #failed(error: unknown): void {
    if (!this.#hasFailed) this.#log.warn('trim-failed', { error: inLogOf(error) });
    this.#hasFailed = true;
    this.#share = Math.max(1 / TRIM_ROWS, this.#share / 2);
    this.#cancel = this.#world.after(RETRY_MS, () => this.start());
    this.#finished();
  }

  #finished(): void {
    const waiters = this.#waiters;
    this.#waiters = new Set();
    for (const waiter of waiters) waiter();
  }

  get #most(): { readonly rows: number; readonly bytes: number } {
    return { rows: Math.ceil(TRIM_ROWS * this.#share), bytes: Math.ceil(TRIM_BYTES * this.#share) };
  }

  #trimmableTo(): Offset {
    let least = this.#unneededTo();
    for (const pin of this.#pins) {
      const pinned = pin();
      if (pinned !== null) least = Math.min(least, pinned);
    }
    return least as Offset;
  }
}
