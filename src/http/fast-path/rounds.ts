/**
 * Shares the event loop among the requests of all connections. A client may send a thousand requests in one packet.
 * They start for a few milliseconds; then each further turn of the event loop starts one request of each waiting
 * connection, round by round. So a single request on another connection waits for one round, not for all of them.
 */
import { type Loop, SharedTurn } from '../../node/turns.ts';
import { EVENT_LOOP } from '../../runtime/event-loop.ts';

/** A connection whose requests wait for their turn. */
export interface Starter {
  /**
   * Starts the next request if it may start now.
   * @returns whether another one may start after it
   */
  startNext(): boolean;
}

/**
 * Time for starting requests in one turn of the event loop, in milliseconds; starting is a third of the work for a
 * short request.
 */
export const STARTS_MS = 10;
/**
 * Number of requests for Fastify that may start in one turn of the event loop: most of their work comes after the first
 * `await`, where the turn's time is no longer measured.
 */
export const MAX_LONG_STARTS = 32;

export class Rounds {
  readonly #loop: Loop;
  readonly #turn: SharedTurn;
  /** Number of requests for Fastify that have started in this turn of the event loop. */
  #longStarts = 0;
  /** Waiting connections in the order of the round. */
  readonly #waiting = new Set<Starter>();

  /** @param loop replaced in tests */
  constructor(loop: Loop = EVENT_LOOP) {
    this.#loop = loop;
    this.#turn = new SharedTurn(loop, STARTS_MS);
  }

  /** Whether a request may start at once: no connection waits, and this turn of the event loop has time left. */
  get isOpen(): boolean {
    return this.#waiting.size === 0 && !this.#isOver;
  }

  /** Records that a request for Fastify has started. */
  longStarted(): void {
    this.#longStarts += 1;
    if (this.#longStarts > 1) return;
    this.#loop.soon(() => {
      this.#longStarts = 0;
    });
  }

  get #isOver(): boolean {
    return this.#longStarts >= MAX_LONG_STARTS || this.#turn.isOver;
  }

  /** Adds a connection that has a request to start. */
  join(starter: Starter): void {
    if (this.#waiting.size === 0) this.#loop.soon(() => this.#run());
    this.#waiting.add(starter);
  }

  #run(): void {
    // A connection with more requests joins again at the end, and this loop reaches it again.
    for (const starter of this.#waiting) {
      this.#waiting.delete(starter);
      if (starter.startNext()) this.#waiting.add(starter);
      if (this.#isOver) break;
    }
    if (this.#waiting.size > 0) this.#loop.soon(() => this.#run());
  }
}
