/**
 * When the bytes of the stream were committed: what turns a lag in bytes into a lag in seconds, on the clock of the
 * node that committed them.
 *
 * Owns: samples (end, at), both ascending: the bytes after the sample before, up to `end`, were committed at `at` or up
 * to `SAMPLE_MS` later. Commits that follow each other closely share a sample. When there are too many, neighbours in
 * the older half become one, so that memory is bounded and only old lags become coarse.
 * A lag that it tells is never too small, but for bytes from before this process started: those count from its start.
 */
import type { Offset } from './position.ts';

const SAMPLE_MS = 50;
/** The most samples that are kept. */
export const MAX_SAMPLES = 4_096;

interface Sample {
  end: Offset;
  /** Milliseconds on a clock that nobody can set, as every time here. */
  readonly at: number;
}

export class CommitClock {
  #samples: Sample[];

  /** @param end everything up to here was committed before `now`, in milliseconds of the monotonic clock */
  constructor(end: Offset, now: number) {
    this.#samples = [{ end, at: now }];
  }

  committed(end: Offset, now: number): void {
    const last = this.#samples[this.#samples.length - 1] as Sample;
    // The first sample stands for what was there before: nothing is added to it.
    if (this.#samples.length > 1 && now - last.at < SAMPLE_MS) last.end = end;
    else this.#samples.push({ end, at: now });
    if (this.#samples.length > MAX_SAMPLES) this.#thinOut();
  }

  /** Milliseconds since the first byte after `has` was committed; 0 if there is none yet. */
  lagMs(has: Offset, now: number): number {
    let [low, high] = [0, this.#samples.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#samples[middle] as Sample).end > has) high = middle;
      else low = middle + 1;
    }
    const sample = this.#samples[low];
    return sample === undefined ? 0 : now - sample.at;
  }

  /** Of two neighbours the earlier time and the later end stay. */
  #thinOut(): void {
    const half = MAX_SAMPLES / 2;
    const older: Sample[] = [];
    for (let index = 0; index < half; index += 2) {
      const [first, second] = [this.#samples[index] as Sample, this.#samples[index + 1] as Sample];
      older.push({ end: second.end, at: first.at });
    }
    this.#samples = [...older, ...this.#samples.slice(half)];
  }
}
