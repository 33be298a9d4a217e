/**
 * Token buckets: each name may do something `burst` times at once, and `perSecond` times a second in the long run. Synchronous, because the
 * fast path asks too.
 */

/** Largest number of names that are remembered; then the oldest is forgotten, and may begin anew. */
export const MAX_BUCKETS = 100_000;

interface Bucket {
  left: number;
  /** Monotonic time of the last look, in milliseconds. */
  at: number;
}

export interface Verdict {
  readonly allowed: boolean;
  /** How often it may be done at once now, in whole times. */
  readonly left: number;
  /** Time until the bucket is full again, or, if it is not allowed, until it is allowed; in whole seconds. */
  readonly seconds: number;
}

export class Buckets {
  readonly #perSecond: number;
  readonly #burst: number;
  readonly #monotonic: () => number;
  readonly #buckets = new Map<string, Bucket>();

  /** @param monotonic milliseconds */
  constructor(perSecond: number, burst: number, monotonic: () => number) {
    this.#perSecond = perSecond;
    this.#burst = burst;
    this.#monotonic = monotonic;
  }

  get size(): number {
    return this.#buckets.size;
  }

  /** Whether `name` may do it now, without doing it. */
  look(name: string): Verdict {
    return this.#verdict(this.#filled(name));
  }

  /** Does it, if it is allowed. */
  take(name: string): Verdict {
    const bucket = this.#filled(name);
    const verdict = this.#verdict(bucket);
    if (verdict.allowed) {
      bucket.left -= 1;
      this.#keep(name, bucket);
    }
    return verdict;
  }

  #filled(name: string): Bucket {
    const now = this.#monotonic();
    const known = this.#buckets.get(name);
    if (known === undefined) return { left: this.#burst, at: now };
    const gained = ((now - known.at) / 1_000) * this.#perSecond;
    return Object.assign(known, { left: Math.min(this.#burst, known.left + gained), at: now });
  }

  #verdict({ left }: Bucket): Verdict {
    const allowed = left >= 1;
    const lacking = allowed ? this.#burst - (left - 1) : 1 - left;
    return {
      allowed,
      left: Math.max(0, Math.floor(allowed ? left - 1 : 0)),
      seconds: Math.ceil(lacking / this.#perSecond),
    };
  }

  #keep(name: string, bucket: Bucket): void {
    if (!this.#buckets.has(name) && this.#buckets.size >= MAX_BUCKETS) {
      const [oldest] = this.#buckets.keys();
      if (oldest !== undefined) this.#buckets.delete(oldest);
    }
    this.#buckets.set(name, bucket);
  }
}
