/**
 * How long code on the main thread runs before it gives the event loop its turn.
 *
 * Everything that a node does for its clients goes through one event loop. A loop that awaits only promises which are
 * settled already never lets it poll: a fast reader of an export would stop the whole node. So each loop whose length a
 * user decides runs for a time, not for a count, and then waits until the event loop has handled what is ready.
 *
 * The clock is the world's monotonic one: a test drives it.
 */
import type { World } from './ports.ts';

/** The longest that one loop runs at a time, in milliseconds. At the limit the event loop handles what is ready. */
export const TURN_MS = 5;
/**
 * The share of the event loop that background work takes at most: work that nobody waits for, such as deleting expired
 * entries. After a step it rests for three times as long as the step took.
 */
export const BACKGROUND_SHARE = 1 / 4;
/** The longest rest after one step of background work, in milliseconds: one slow step does not stop the work for long. */
export const MAX_REST_MS = 1_000;

/** The time and the turns that a loop needs. */
export type Loop = Pick<World, 'monotonic' | 'soon'>;

/** The turns of one long loop. It asks between its steps whether it has run for long enough. */
export class Turns {
  readonly #loop: Loop;
  readonly #mostMs: number;
  #since: number;

  /** @param mostMs how long it may run at a time, in milliseconds */
  constructor(loop: Loop, mostMs = TURN_MS) {
    this.#loop = loop;
    this.#mostMs = mostMs;
    this.#since = loop.monotonic();
  }

  /** Whether the loop has run for as long as it may. */
  get isOver(): boolean {
    return this.#loop.monotonic() - this.#since >= this.#mostMs;
  }

  /** The event loop has just had its turn: the time counts from now on. */
  begin(): void {
    this.#since = this.#loop.monotonic();
  }

  /** The loop has run for as long as it may, whatever the time is: `next` waits. */
  end(): void {
    this.#since = Number.NEGATIVE_INFINITY;
  }

  /** Waits until the event loop has had its turn, if this loop has run for as long as it may. */
  async next(): Promise<void> {
    if (this.isOver) await this.pass();
  }

  /** Waits until the event loop has had its turn. */
  async pass(): Promise<void> {
    await new Promise<void>((resolve) => this.#loop.soon(resolve));
    this.begin();
  }
}

/**
 * The turns of a loop that is driven by callbacks, which may call each other without an end: the time counts from its first
 * use after the event loop had its turn.
 */
export class SharedTurn {
  readonly #loop: Loop;
  readonly #mostMs: number;
  /** When it was used first in this turn of the event loop; null: it was not yet. */
  #since: number | null = null;

  /** @param mostMs how long all uses together may take in one turn of the event loop, in milliseconds */
  constructor(loop: Loop, mostMs = TURN_MS) {
    this.#loop = loop;
    this.#mostMs = mostMs;
  }

  /** Whether the callbacks have run for as long as they may: what is left is done in the next turn of the event loop. */
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
 * For loops that requests begin, as many as there are requests: of all that wait for the event loop one goes on in each of its
 * turns, in the order in which they came. So together they take no longer than one of them.
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
