/** Rings at a time of the wall clock, and before it now and then, because somebody may set the clock. */

/**
 * Longest time until it rings, in milliseconds: after a sleep of the machine, or when somebody sets its clock, it is at
 * most this late.
 */
const MAX_SLEEP_MS = 60_000;

export class Alarm {
  readonly #ring: () => void;
  #at: number | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(ring: () => void) {
    this.#ring = ring;
  }

  /** @param at milliseconds since 1970, or infinite. It replaces the earlier time. */
  set(at: number): void {
    if (at === this.#at) return;
    this.stop();
    this.#at = at;
    this.#timer = setTimeout(
      () => {
        this.#at = undefined;
        this.#ring();
      },
      Math.min(at - Date.now(), MAX_SLEEP_MS),
    );
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#at = undefined;
  }
}
