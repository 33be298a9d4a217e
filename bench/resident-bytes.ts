import { readFileSync } from 'node:fs';

/**
 * Reads the resident memory of a process. Linux only, like `cpuMicros`.
 * @returns bytes
 */
export function residentBytes(pid: number): number {
  const [, kib] = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  if (kib === undefined) throw new Error('the system does not tell how much memory the process takes');
  return Number(kib) * 1024;
}
