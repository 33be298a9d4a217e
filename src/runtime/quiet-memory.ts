/**
 * Gives memory back to the system when nothing is going on.
 *
 * V8 collects garbage when there is much of it, and keeps pages for what comes next: after a burst of writes a node that has
 * nothing to do would keep what the burst took, for hours. So each thread that has been quiet for a while does once what V8
 * does when memory runs out. That takes some tens of milliseconds of a thread for which nobody waits; under load it would
 * cost far more than it gives, so there it is not done.
 */
import { performance } from 'node:perf_hooks';
import v8 from 'node:v8';
import vm from 'node:vm';

const LOOK_EVERY_MS = 2_000;
/** So many looks in a row. */
const QUIET_LOOKS = 5;
/** At most so much of the time the event loop was at work. */
const QUIET_SHARE = 0.02;
/** The heap has grown to so many times what the last time left of it. */
const GROWTH = 2;
/** To look at more would take too long: a third of a second, about. Thousands of followers are more. */
const MAX_HEAP_BYTES = 256 * 1024 * 1024;

/** For the calling thread, from now on. */
export function giveBackWhenQuiet(): void {
  let looks = 0;
  let left = 0;
  let before = performance.eventLoopUtilization();
  setInterval(() => {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, before);
    before = now;
    looks = utilization > QUIET_SHARE ? 0 : looks + 1;
    if (looks < QUIET_LOOKS) return;
    const { total_heap_size: size, used_heap_size: used } = v8.getHeapStatistics();
    if (size < GROWTH * left || used > MAX_HEAP_BYTES) return;
    collectThoroughly();
    left = v8.getHeapStatistics().total_heap_size;
  }, LOOK_EVERY_MS).unref();
}

/**
 * V8 hands out its collector to contexts that are made while the flag is set. The flag is not given to the whole process
 * because with it V8 would compile Node's own modules anew in each thread, instead of taking them as Node was built with them:
 * an eighth of a start.
 */
export function collectThoroughly(): void {
  v8.setFlagsFromString('--expose-gc');
  const gc = vm.runInNewContext('globalThis.gc') as typeof globalThis.gc;
  v8.setFlagsFromString('--no-expose-gc');
  gc?.({ type: 'major', execution: 'sync', flavor: 'last-resort' });
}
