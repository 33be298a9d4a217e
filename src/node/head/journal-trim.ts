/**
 * Drops journal rows that nobody needs, a few at a time and in the background, so that no turn waits for long.
 *
 * Owns: the pins, with which readers keep rows in the journal.
 */
import type { Offset } from '../../replication/position.ts';
import type { StateStore } from '../ports/state-store.ts';
import type { Log, World } from '../ports/world.ts';
import { restAfter, TURN_MS } from '../turns.ts';

/** Largest number of journal rows that one step drops. Small rows take about a millisecond together. */
const TRIM_ROWS = 128;

export class JournalTrim {
  readonly #world: World;
  readonly #log: Log;
  readonly #state: Pick<StateStore, 'trim'>;
  readonly #unneededTo: () => number;
  readonly #trimmed: () => void;
  readonly #pins = new Set<() => Offset | null>();
  #running = false;
  /** Number of rows that the next step drops: fewer than `TRIM_ROWS` if the rows are large. */
  #rows = TRIM_ROWS;
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

  close(): void {
    this.#closed = true;
    this.#cancel?.();
  }

  #step(): void {
    this.#running = false;
    if (this.#closed) return;
    try {
      const startedAt = this.#world.monotonic();
      const hasMore = this.#state.trim(this.#trimmableTo(), this.#rows);
      this.#trimmed();
      const tookMs = this.#world.monotonic() - startedAt;
      // The next step adapts to the time, because the length of a row depends on how much one turn committed.
      if (tookMs > TURN_MS) this.#rows = Math.ceil(this.#rows / 2);
      else if (tookMs < TURN_MS / 2) this.#rows = Math.min(TRIM_ROWS, this.#rows * 2);
      if (hasMore) {
        this.#running = true;
        this.#cancel = this.#world.after(restAfter(tookMs), () => this.#step());
      }
    } catch (error) {
      // The rows stay, so nothing is lost. The next commit of the applier starts the trim again.
      this.#log.warn('trim-failed', { error: String(error) });
    }
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
