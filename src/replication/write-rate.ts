/**
 * Measures how fast the stream grows, from the commits of the last ten minutes by second, and recommends a backlog size
 * for replicas that may be away for a given time.
 */

/** Length of the memory in seconds. */
export const REMEMBERED_SECONDS = 600;
/** Number of seconds over which the current rate is the mean, and over which the peak is measured. */
export const RATE_SECONDS = 10;

export class WriteRate {
  /** Bytes of each second; second s is at s mod length. */
  readonly #bytes = new Float64Array(REMEMBERED_SECONDS);
  readonly #startedAt: number;
  /** The newest second that is recorded. */
  #second: number;

  /** @param now milliseconds on a monotonic clock, like in the other methods */
  constructor(now: number) {
    this.#startedAt = Math.floor(now / 1000);
    this.#second = this.#startedAt;
  }

  committed(bytes: number, now: number): void {
    this.#advance(now);
    const at = this.#second % REMEMBERED_SECONDS;
    this.#bytes[at] = (this.#bytes[at] as number) + bytes;
  }

  /** Rates in bytes a second: the mean of the last ten full seconds, and the mean of the busiest ten in memory. */
  rates(now: number): { readonly current: number; readonly peak: number } {
    this.#advance(now);
    const seconds = Math.min(this.#second - this.#startedAt, REMEMBERED_SECONDS - 1);
    // The current second is incomplete, so it counts only if there is no other.
    const last = seconds === 0 ? this.#second : this.#second - 1;
    const width = Math.max(1, Math.min(RATE_SECONDS, seconds));
    let sum = 0;
    let [current, peak] = [0, 0];
    for (let age = 0; age < Math.max(1, seconds); age += 1) {
      sum += this.#at(last - age);
      if (age >= width) sum -= this.#at(last - age + width);
      if (age === width - 1) current = sum;
      if (age >= width - 1) peak = Math.max(peak, sum);
    }
    return { current: Math.max(0, current) / width, peak: peak / width };
  }

  #at(second: number): number {
    return this.#bytes[((second % REMEMBERED_SECONDS) + REMEMBERED_SECONDS) % REMEMBERED_SECONDS] as number;
  }

  /** Clears the seconds that have passed since the last call. */
  #advance(now: number): void {
    const second = Math.floor(now / 1000);
    if (second - this.#second >= REMEMBERED_SECONDS) this.#bytes.fill(0);
    else {
      for (let next = this.#second + 1; next <= second; next += 1) this.#bytes[next % REMEMBERED_SECONDS] = 0;
    }
    this.#second = second;
  }
}

/**
 * Recommends a backlog: the time that a replica may be away times the bytes written a second.
 * @returns bytes
 */
export function backlogFor(awayMs: number, bytesPerSecond: number): number {
  return Math.ceil((awayMs / 1000) * bytesPerSecond);
}
