/**
 * One line of the log for all connections that ended without showing that they may replicate: at the first one, and then at most once a
 * minute, with their number. Whoever can reach the port can make such connections, as fast as he likes.
 */
import { msSince } from '../elapsed.ts';
import type { Log, World } from '../ports/world.ts';

/** Shortest time between two lines, in milliseconds. */
const LINE_EVERY_MS = 60_000;

export class LockedCount {
  readonly #log: Log;
  readonly #monotonic: World['monotonic'];
  /** Connections since the last line. */
  #connections = 0;
  #loggedAt: number | null = null;

  /** @param monotonic milliseconds */
  constructor(log: Log, monotonic: World['monotonic']) {
    this.#log = log;
    this.#monotonic = monotonic;
  }

  /**
   * Counts a connection that has ended.
   * @param peer its address
   * @param reason why it ended
   */
  add(peer: string, reason: string | number = ''): void {
    this.#connections += 1;
    if (this.#loggedAt !== null && msSince({ monotonic: this.#monotonic }, this.#loggedAt) < LINE_EVERY_MS)
      return;
    this.#loggedAt = this.#monotonic();
    this.#log.info('replicas-without-token', { connections: this.#connections, last: peer, reason });
    this.#connections = 0;
  }
}
