import { readFileSync } from 'node:fs';

/**
 * The memory that a process has now. Linux only, as `cpuMicros` is.
 * @returns bytes
 */
export function residentBytes(pid: number): number {
  const [, kib] = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  if (kib === undefined) throw new Error('the system does not tell how much memory the process takes');
  return Number(kib) * 1024;
}
