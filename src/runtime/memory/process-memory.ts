/**
 * Settings that keep a node's memory small. Some must be given to a process at its start: flags for V8, and variables
 * for the C library.
 *
 * By default V8 lets young objects grow to 48 MiB before it collects them, and the C library keeps freed memory: once
 * it has returned a buffer of some size to the system, it keeps later buffers of that size. Together that is a third of
 * a node's memory under load.
 */
import { availableParallelism } from 'node:os';
import v8 from 'node:v8';

/** Node's command-line flags: each half of V8's young generation has at most 8 MiB. */
export const NODE_FLAGS: readonly string[] = ['--max-semi-space-size=8'];

/**
 * Variables of glibc; other C libraries ignore them. Buffers of 128 KiB and more return to the system when they are
 * freed.
 */
export const ALLOCATOR: Readonly<Record<string, string>> = {
  MALLOC_MMAP_THRESHOLD_: '131072',
  MALLOC_TRIM_THRESHOLD_: '131072',
  MALLOC_ARENA_MAX: '2',
};

/** Number of cores up to which V8's helper threads would take time from the program's own threads. */
const FEW_CORES = 2;

/**
 * Makes V8 collect young garbage on the thread that made it, without helper threads, if there are few cores. (Measured on
 * two cores, for PUTs with a replica: a tenth less processor time per request.) Call it after the start, because V8 would
 * compile more during a start with a different flag.
 */
export function collectWithoutHelp(): void {
  if (availableParallelism() <= FEW_CORES) v8.setFlagsFromString('--no-parallel-scavenge');
}

/**
 * Starts the program again in this process, with the same arguments, if it lacks these settings. Where that is not
 * possible (Windows, an older Node, a parent with a channel to it), it does nothing.
 */
export function startSmall(): void {
  const given = [...process.execArgv, process.env.NODE_OPTIONS ?? ''].join(' ');
  // The user has chosen a value.
  if (given.includes('semi-space-size')) return;
  if (process.execve === undefined || process.platform === 'win32' || process.channel !== undefined) return;
  process.execve(
    process.execPath,
    [process.execPath, ...NODE_FLAGS, ...process.execArgv, ...process.argv.slice(1)],
    { ...ALLOCATOR, ...process.env },
  );
}
