/**
 * Returns memory to the system while a thread is idle.
 *
 * V8 collects garbage when there is much of it, and keeps pages for later: an idle node would keep the memory of a
 * burst of writes for hours. So each thread that has been idle for a while runs V8's last-resort collection once. That
 * takes some tens of milliseconds in which no request waits; under load it would cost far more than it saves.
 */
import { performance } from 'node:perf_hooks';
import v8 from 'node:v8';
import vm from 'node:vm';

const LOOK_EVERY_MS = 2_000;
/** Number of idle looks in a row before the collection. */
const QUIET_LOOKS = 5;
/** Largest share of time that the event loop of an idle thread works. */
const QUIET_SHARE = 0.02;
/** Growth of the heap since the last collection that makes another worthwhile. */
const GROWTH = 2;
/**
 * Largest heap that is collected this way, in bytes: a larger one, as with thousands of followers, would take more than
 * about a third of a second.
 */
const MAX_HEAP_BYTES = 256 * 1024 * 1024;

/** Starts watching the calling thread. */
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
 * Exposes V8's collector: contexts that are created while the flag is set can call it. The flag is not given to the
 * whole process, because V8 would then compile Node's own modules in each thread instead of using Node's built-in
 * cache: an eighth of a start.
 */
export function collectThoroughly(): void {
  v8.setFlagsFromString('--expose-gc');
  const gc = vm.runInNewContext('globalThis.gc') as typeof globalThis.gc;
  v8.setFlagsFromString('--no-expose-gc');
  gc?.({ type: 'major', execution: 'sync', flavor: 'last-resort' });
}
