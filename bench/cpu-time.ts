import { readFileSync } from 'node:fs';

/** Microseconds of one unit of /proc/PID/stat: a hundredth of a second, on every machine that Node runs on. */
const TICK_MICROS = 10_000;
/** Index of the user time among the fields after the process's name; the system time follows it. */
const USER_TICKS = 11;
const SYSTEM_TICKS = 12;

/**
 * Reads the processor time that a process has used, all its threads together.
 * @returns microseconds; null where the system has no /proc
 */
export function cpuMicros(pid: number): number | null {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return null;
  }
  // The name, in brackets, may itself hold spaces and brackets.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[USER_TICKS]) + Number(fields[SYSTEM_TICKS])) * TICK_MICROS;
}
