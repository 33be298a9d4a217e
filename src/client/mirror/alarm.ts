/** Rings at a time of the wall clock. */

/**
 * Longest time without a look at the clock, in milliseconds: after a sleep of the machine, or when somebody sets its
 * clock, the alarm is at most this late.
 */
const MAX_SLEEP_MS = 60_000;

export class Alarm {
  readonly #ring: () => void;
  #at: number | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(ring: () => void) {
    this.#ring = ring;
  }

  /** @param at milliseconds since 1970; undefined: never. It replaces the earlier time. */
  set(at: number | undefined): void {
    if (at === this.#at) return;
    this.stop();
    this.#at = at;
    if (at !== undefined) this.#sleep(at);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#at = undefined;
  }

  #sleep(at: number): void {
    const ms = Math.max(0, Math.min(at - Date.now(), MAX_SLEEP_MS));
    this.#timer = setTimeout(() => {
      if (at > Date.now()) {
        this.#sleep(at);
        return;
      }
      this.#at = undefined;
      this.#ring();
    }, ms);
  }
}
