/**
 * How fast writers may fill the overlay while the applier empties it.
 *
 * Without it they fill it as fast as they can and then stand still until the applier commits, for a second and more; and
 * with an import stands everybody who only wants to set one key. So while a commit is under way, what room there is is
 * given out over the time that the commit will still take, which is known from the one before: writers become slow
 * instead of standing.
 */

/** The longest pause between two turns. */
const MAX_PAUSE_MS = 25;
/** Of the predicted time of a commit: what it is thought to still need when that is over. */
const OVERRUN = 0.1;
/** Commits of less say little about how fast the applier is. */
const TELLING_BYTES = 1024 * 1024;

export class Pace {
  /** Of the last commit that was worth measuring; before the first, what a small machine needs. */
  #msPerByte = 1_000 / (32 * 1024 * 1024);
  /** The commit that is under way. */
  #startedAt: number | null = null;
  #bytes = 0;
  /** When the next turn may be, on the monotonic clock. */
  #notBefore = 0;

  /** The applier begins to commit so many bytes of the overlay. @param now milliseconds of the monotonic clock */
  begun(bytes: number, now: number): void {
    this.#startedAt = now;
    this.#bytes = bytes;
  }

  /** The commit is over, or has failed. */
  ended(now: number): void {
    if (this.#startedAt !== null && this.#bytes >= TELLING_BYTES) {
      this.#msPerByte = (now - this.#startedAt) / this.#bytes;
    }
    this.#startedAt = null;
    this.#notBefore = 0;
  }

  /** A turn has brought so many bytes into the overlay. @param room how many more it may take */
  added(bytes: number, room: number, now: number): void {
    if (this.#startedAt === null) return;
    const predicted = this.#bytes * this.#msPerByte;
    const left = Math.max(this.#startedAt + predicted - now, predicted * OVERRUN);
    const share = bytes / Math.max(room, bytes);
    this.#notBefore = Math.min(Math.max(this.#notBefore, now) + left * share, now + MAX_PAUSE_MS);
  }

  /** How long to wait with the next turn, in whole milliseconds. */
  pauseMs(now: number): number {
    return Math.max(0, Math.floor(this.#notBefore - now));
  }
}
