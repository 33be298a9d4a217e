/**
 * Records when bytes of the stream were committed, to convert a lag in bytes into a lag in seconds on the clock of the
 * committing node.
 *
 * Owns samples (end, at), both ascending: the bytes after the previous sample, up to `end`, were committed at `at` or
 * up to `SAMPLE_MS` later. Commits close together share a sample. When there are too many samples, neighbours in the
 * older half merge: memory is bounded, and only old lags become coarse. A reported lag is never too small, except for
 * bytes from before the start of the process, which count from that start.
 */
import type { Offset } from './position.ts';

const SAMPLE_MS = 50;
/** Largest number of samples. */
export const MAX_SAMPLES = 4_096;

interface Sample {
  end: Offset;
  /** Milliseconds on a monotonic clock, like every time in this file. */
  readonly at: number;
}

export class CommitClock {
  #samples: Sample[];

  /** @param end all bytes up to here were committed before `now`, in milliseconds of the monotonic clock */
  constructor(end: Offset, now: number) {
    this.#samples = [{ end, at: now }];
  }

  committed(end: Offset, now: number): void {
    const last = this.#samples[this.#samples.length - 1] as Sample;
    // The first sample stands for everything before the start, so no commit may join it.
    if (this.#samples.length > 1 && now - last.at < SAMPLE_MS) last.end = end;
    else this.#samples.push({ end, at: now });
    if (this.#samples.length > MAX_SAMPLES) this.#thinOut();
  }

  /** Returns the time since the first byte after `has` was committed, in milliseconds; 0 if there is none yet. */
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

  /** Merges two neighbours: the earlier time and the later end stay. */
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
