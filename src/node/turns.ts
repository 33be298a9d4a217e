/**
 * Limits how long a loop on the main thread runs before it lets the event loop handle other events.
 *
 * A node serves all its clients with one event loop. A loop that awaits only promises that are already settled never lets the
 * event loop poll, so a fast reader of an export would stop the whole node. Therefore each loop whose length a user decides runs
 * for a limited time, not for a number of steps, and then waits until the event loop has handled the events that are ready.
 *
 * The clock is the world's monotonic one, so that a test can drive it.
 */
import type { World } from './ports/world.ts';

/** The longest time that one loop runs before it lets the event loop handle other events, in milliseconds. */
export const TURN_MS = 5;
/**
 * The largest share of the event loop's time that background work takes: work that no client waits for, such as the deletion of
 * expired entries. After a step it rests for three times as long as the step took.
 */
export const BACKGROUND_SHARE = 1 / 4;
/** The longest rest after one step of background work, in milliseconds, so that one slow step does not stop the work for long. */
export const MAX_REST_MS = 1_000;

/** The clock and the event loop, as a loop needs them. */
export type Loop = Pick<World, 'monotonic' | 'soon'>;

/** The turns of one long loop. The loop asks between its steps whether its turn is over. */
export class Turns {
  readonly #loop: Loop;
  readonly #mostMs: number;
  #since: number;

  /** @param mostMs the longest time of one turn, in milliseconds */
  constructor(loop: Loop, mostMs = TURN_MS) {
    this.#loop = loop;
    this.#mostMs = mostMs;
    this.#since = loop.monotonic();
  }

  /** Whether the loop has run for the whole time of its turn. */
  get isOver(): boolean {
    return this.#loop.monotonic() - this.#since >= this.#mostMs;
  }

  /** Time that the turn has taken until now, in milliseconds. */
  get takenMs(): number {
    return this.#loop.monotonic() - this.#since;
  }

  /** Begins a new turn now. The caller knows that the event loop has just handled other events. */
  begin(): void {
    this.#since = this.#loop.monotonic();
  }

  /** Ends the turn before its time is up, so that `next` waits. */
  end(): void {
    this.#since = Number.NEGATIVE_INFINITY;
  }

  /** Waits until the event loop has handled other events, if the turn is over. */
  async next(): Promise<void> {
    if (this.isOver) await this.pass();
  }

  /** Waits until the event loop has handled other events, and begins a new turn. */
  async pass(): Promise<void> {
    await new Promise<void>((resolve) => this.#loop.soon(resolve));
    this.begin();
  }
}

/**
 * The turns of work that callbacks do, when they may call each other without end. A turn begins when a callback first asks after
 * the event loop has handled other events.
 */
export class SharedTurn {
  readonly #loop: Loop;
  readonly #mostMs: number;
  /** Moment of the monotonic clock at which the present turn began; null: no callback has asked yet. */
  #since: number | null = null;

  /** @param mostMs the longest time that all callbacks together may take in one turn of the event loop, in milliseconds */
  constructor(loop: Loop, mostMs = TURN_MS) {
    this.#loop = loop;
    this.#mostMs = mostMs;
  }

  /** Whether the callbacks have used up the turn, and must leave the rest of their work to the next turn of the event loop. */
  get isOver(): boolean {
    const now = this.#loop.monotonic();
    if (this.#since === null) {
      this.#since = now;
      this.#loop.soon(() => {
        this.#since = null;
      });
    }
    return now - this.#since >= this.#mostMs;
  }
}

/**
 * An event loop for loops that requests begin. In each turn of the real event loop, only one of the waiting loops continues, in
 * the order in which they began to wait. So many requests take no more of each turn than one request does.
 */
export class OneByOne implements Loop {
  readonly #loop: Loop;
  readonly #waiting: (() => void)[] = [];

  constructor(loop: Loop) {
    this.#loop = loop;
  }

  monotonic(): number {
    return this.#loop.monotonic();
  }

  soon(callback: () => void): void {
    this.#waiting.push(callback);
    if (this.#waiting.length === 1) this.#loop.soon(() => this.#run());
  }

  #run(): void {
    const next = this.#waiting.shift();
    if (this.#waiting.length > 0) this.#loop.soon(() => this.#run());
    next?.();
  }
}

/** @returns how long background work rests after a step that took `stepMs`, in whole milliseconds, at least 1 */
export function restAfter(stepMs: number): number {
  const restMs = stepMs * (1 / BACKGROUND_SHARE - 1);
  return Math.min(MAX_REST_MS, Math.max(1, Math.ceil(restMs)));
}
