/** Measures how long the event loop makes requests wait. */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Log } from '../node/ports/world.ts';

const RESOLUTION_MS = 10;
const LOOK_EVERY_MS = 5_000;
/** Length of a stall that is logged, in milliseconds. */
const WARN_MS = 250;
const NANOSECONDS = 1e6;

export interface Lag {
  /** Delays of the last five seconds, in milliseconds. */
  readonly p99Ms: number;
  readonly maxMs: number;
}

export class LoopLag {
  readonly #histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  readonly #log: Log;
  #last: Lag = { p99Ms: 0, maxMs: 0 };

  constructor(log: Log) {
    this.#log = log;
  }

  /** Starts to measure; before, while modules are imported, no request waits. */
  start(): void {
    this.#histogram.enable();
    setInterval(() => {
      const { p99Ms, maxMs } = this.#take();
      if (maxMs > WARN_MS) this.#log.warn('event-loop-stalled', { maxMs, p99Ms });
    }, LOOK_EVERY_MS).unref();
  }

  get last(): Lag {
    return this.#last;
  }

  #take(): Lag {
    // The histogram's values include the interval itself.
    const milliseconds = (value: number): number =>
      Math.max(0, Math.round((value / NANOSECONDS - RESOLUTION_MS) * 10) / 10);
    const { max } = this.#histogram;
    this.#last =
      this.#histogram.count === 0
        ? { p99Ms: 0, maxMs: 0 }
        : { p99Ms: milliseconds(this.#histogram.percentile(99)), maxMs: milliseconds(max) };
    this.#histogram.reset();
    return this.#last;
  }
}
