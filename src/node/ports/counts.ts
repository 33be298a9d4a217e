/** Counters that their owner raises as plain numbers, and that `GET /metrics` reads. Nothing here allocates once a name is known. */

/** Counts by name. The owner takes names from a fixed list, never from a request or a peer. */
export class Tally<Name extends string = string> {
  readonly #counts = new Map<Name, { count: number }>();

  /** @param by a whole number, at least 0 */
  add(name: Name, by = 1): void {
    const known = this.#counts.get(name);
    if (known === undefined) this.#counts.set(name, { count: by });
    else known.count += by;
  }

  /** The names that were counted so far, with their counts. */
  get counts(): readonly (readonly [Name, number])[] {
    return [...this.#counts].map(([name, { count }]) => [name, count]);
  }
}

/** How many durations fell into each range, as a Prometheus histogram has it. */
export class Durations {
  /** Upper ends of the ranges in seconds, ascending; the last range has no end. */
  readonly bounds: readonly number[];
  readonly #counts: Float64Array;
  #seconds = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.#counts = new Float64Array(bounds.length + 1);
  }

  /** Counts one duration. */
  add(seconds: number): void {
    const { bounds } = this;
    let range = 0;
    while (range < bounds.length && seconds > (bounds[range] as number)) range += 1;
    this.#counts[range] = (this.#counts[range] as number) + 1;
    this.#seconds += seconds;
  }

  /** Number of durations in each range, one more than `bounds`. */
  get counts(): readonly number[] {
    return [...this.#counts];
  }

  /** Number of all durations. */
  get total(): number {
    return this.#counts.reduce((sum, count) => sum + count, 0);
  }

  /** Sum of all durations, in seconds. */
  get seconds(): number {
    return this.#seconds;
  }
}

/** Ranges of what takes a few microseconds in memory, or some milliseconds on a disk; in seconds. */
export const SHORT_RANGES: readonly number[] = [
  0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5,
];
/** Ranges of answers to requests, as OpenTelemetry's conventions for HTTP have them; in seconds. */
export const REQUEST_RANGES: readonly number[] = [
  0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
];
/** Ranges of whole snapshots, in seconds. */
export const LONG_RANGES: readonly number[] = [0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3_600];
