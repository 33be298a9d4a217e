/**
 * A module that a node loads before its program (`--import`): measures how long a request that arrives at a random moment would
 * wait for the event loop. The figures in `/v1/info` cover only five seconds, and only the 99th percentile.
 *
 * The histogram of perf_hooks counts a stall of 100 ms once, like one of 1 ms, although a hundred times as many
 * requests arrive during it. Here a stall counts once for each millisecond in which a request could arrive.
 *
 * The parent sends `begin` and `end`.
 */
import { isMainThread } from 'node:worker_threads';

export interface Stalls {
  /** Milliseconds of waiting that 99.9 % of the moments do not exceed. */
  readonly p999: number;
  readonly max: number;
  /**
   * The most processor time that the main thread used between two moments in which it could have answered, in milliseconds: the longest
   * wait without what other programs have added to it.
   */
  readonly maxBusy: number;
  readonly seconds: number;
}

const TICK_MS = 1;
const LONGEST_MS = 60_000;

/** Number of moments by the milliseconds of waiting. */
const moments = new Uint32Array(LONGEST_MS);
let timer: NodeJS.Timeout | undefined;
let beganAt = 0;
let last = 0;
let max = 0;
let lastBusy = 0;
let maxBusy = 0;

/** @returns processor time of the main thread, in milliseconds */
function busyMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
}

function tick(): void {
  const now = performance.now();
  const waited = Math.max(0, now - last - TICK_MS);
  last = now;
  max = Math.max(max, waited);
  const busy = busyMs();
  maxBusy = Math.max(maxBusy, busy - lastBusy);
  lastBusy = busy;
  for (let ms = Math.min(Math.floor(waited), LONGEST_MS - 1); ms >= 0; ms -= 1) {
    moments[ms] = (moments[ms] as number) + 1;
  }
}

function stalls(): Stalls {
  const all = moments.reduce((sum, count) => sum + count, 0);
  let left = all * 0.001;
  let ms = LONGEST_MS - 1;
  while (ms > 0 && (moments[ms] as number) <= left) {
    left -= moments[ms] as number;
    ms -= 1;
  }
  return { p999: ms, max, maxBusy, seconds: (performance.now() - beganAt) / 1000 };
}

// The option reaches the worker threads too.
if (isMainThread) {
  process.on('message', (message) => {
    if (message === 'begin') {
      beganAt = last = performance.now();
      max = maxBusy = 0;
      lastBusy = busyMs();
      moments.fill(0);
      clearInterval(timer);
      timer = setInterval(tick, TICK_MS).unref();
    } else if (message === 'end') {
      process.send?.(stalls());
    }
  });
  process.channel?.unref();
}
