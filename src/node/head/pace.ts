/**
 * Speed limit for writers while the applier commits the overlay to the keyspace file.
 *
 * Without it, writers fill the overlay at full speed and then all stop for a second or more until the commit finishes; an
 * import would stop everybody who wants to set a single key. So the pace spreads the remaining room over the remaining time
 * of the commit, which it predicts from the commit before: writers become slow instead of stopping.
 */

/** Longest pause between two turns, in milliseconds. */
const MAX_PAUSE_MS = 25;
/** Share of the predicted time that an overdue commit is assumed to need still. */
const OVERRUN = 0.1;
/** Smallest commit, in bytes, from which the pace measures how fast the applier is. */
const TELLING_BYTES = 1024 * 1024;

export class Pace {
  /** Time per byte of the last measured commit; before the first, the time that a small machine needs. */
  #msPerByte = 1_000 / (32 * 1024 * 1024);
  /** Start of the running commit, on the monotonic clock; null: no commit runs. */
  #startedAt: number | null = null;
  #bytes = 0;
  /** Earliest time of the next turn, on the monotonic clock. */
  #notBefore = 0;

  /** Notes that the applier begins to commit `bytes` of the overlay. @param now milliseconds of the monotonic clock */
  begun(bytes: number, now: number): void {
    this.#startedAt = now;
    this.#bytes = bytes;
  }

  /** Notes that the commit has finished or failed. */
  ended(now: number): void {
    if (this.#startedAt !== null && this.#bytes >= TELLING_BYTES) {
      this.#msPerByte = (now - this.#startedAt) / this.#bytes;
    }
    this.#startedAt = null;
    this.#notBefore = 0;
  }

  /** Notes that a turn brought `bytes` into the overlay. @param room number of bytes that the overlay can still take */
  added(bytes: number, room: number, now: number): void {
    if (this.#startedAt === null) return;
    const predicted = this.#bytes * this.#msPerByte;
    const left = Math.max(this.#startedAt + predicted - now, predicted * OVERRUN);
    const share = bytes / Math.max(room, bytes);
    this.#notBefore = Math.min(Math.max(this.#notBefore, now) + left * share, now + MAX_PAUSE_MS);
  }

  /** Time to wait before the next turn, in whole milliseconds. */
  pauseMs(now: number): number {
    return Math.max(0, Math.floor(this.#notBefore - now));
  }
}
