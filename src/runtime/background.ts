/**
 * Lower priorities for work that nobody waits for within milliseconds: the check of a snapshot, copies of the keyspace, searches for
 * damage, and the commands that make or check a backup.
 *
 * At the same priority such work takes as much of a busy core as the event loop that answers requests. bench/README.md has the
 * measurements (rows 5 and 13).
 */
import { readdirSync } from 'node:fs';
import { getPriority, setPriority } from 'node:os';

/**
 * By how much the nice value of a thread in the background is above that of its process. It gets a third of the time of a thread that
 * competes with it for a core, and all of a core that is idle. At 10, a ninth, full resyncs took longer if the cores were busy, and
 * clients waited as long.
 */
const THREAD_NICER_BY = 5;
/** The same for a command, on which no node waits. */
const PROCESS_NICER_BY = 10;
/** The highest nice value. */
const NICEST = 19;
/** To the system, the caller: on Linux its thread, elsewhere its process. */
const CALLER = 0;
/** Has an entry for each thread of this process, on Linux. */
const THREADS = '/proc/self/task';

/**
 * Gives the calling thread a lower priority for good. Only on Linux do threads have priorities of their own; elsewhere, and where the
 * system forbids it, nothing happens. The thread must not keep a lock for which an event loop waits.
 */
export function lowerThreadPriority(): void {
  if (process.platform === 'linux') lower(CALLER, THREAD_NICER_BY);
}

/**
 * Gives this process a lower priority for good: the threads that it has, and those that it starts later. Where the system forbids it,
 * nothing happens.
 */
export function lowerProcessPriority(): void {
  lower(CALLER, PROCESS_NICER_BY);
  for (const thread of otherThreads()) lower(thread, PROCESS_NICER_BY);
}

/** @returns their numbers; none where a priority belongs to the whole process */
function otherThreads(): readonly number[] {
  if (process.platform !== 'linux') return [];
  try {
    return readdirSync(THREADS)
      .map(Number)
      .filter((thread) => thread !== process.pid);
  } catch {
    return [];
  }
}

function lower(thread: number, by: number): void {
  try {
    setPriority(thread, Math.min(getPriority(thread) + by, NICEST));
  } catch {
    // A sandbox may forbid it, or the thread has ended. The work is done all the same.
  }
}
