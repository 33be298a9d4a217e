/**
 * The requests of all connections share the event loop. A client may send a thousand requests in one packet: they start a few
 * milliseconds long, and then, in the next turns of the event loop, one of each connection that has some, round by round. So a
 * single request on another connection waits for one round and not for all of them.
 */
import { type Loop, SharedTurn } from '../../node/turns.ts';

/** A connection whose requests wait for their turn. */
export interface Starter {
  /** Starts the next request, if it may start now. @returns whether another one may start behind it */
  startNext(): boolean;
}

const LOOP: Loop = {
  monotonic: () => performance.now(),
  soon: (callback) => {
    setImmediate(callback);
  },
};

/** For so long requests start in one turn of the event loop, in milliseconds: starting is a third of the work on a short one. */
export const STARTS_MS = 10;
/**
 * In one turn of the event loop at most so many requests start that Fastify handles: most of the work on them is done behind the
 * first `await`, when the time of the turn is not looked at any more.
 */
export const MAX_LONG_STARTS = 32;

export class Rounds {
  readonly #loop: Loop;
  readonly #turn: SharedTurn;
  /** How many requests that Fastify handles have started in this turn of the event loop. */
  #longStarts = 0;
  /** Who waits, in the order of the round. */
  readonly #waiting = new Set<Starter>();

  /** @param loop for tests */
  constructor(loop: Loop = LOOP) {
    this.#loop = loop;
    this.#turn = new SharedTurn(loop, STARTS_MS);
  }

  /** Whether a request may start at once: nobody waits, and there is time left in this turn of the event loop. */
  get isOpen(): boolean {
    return this.#waiting.size === 0 && !this.#isOver;
  }

  /** A request that Fastify handles has started. */
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

  /** The connection has a request that may start when its turn comes. */
  join(starter: Starter): void {
    if (this.#waiting.size === 0) this.#loop.soon(() => this.#run());
    this.#waiting.add(starter);
  }

  #run(): void {
    // Whoever has more joins again at the end, and comes up again in this loop.
    for (const starter of this.#waiting) {
      this.#waiting.delete(starter);
      if (starter.startNext()) this.#waiting.add(starter);
      if (this.#isOver) break;
    }
    if (this.#waiting.size > 0) this.#loop.soon(() => this.#run());
  }
}
