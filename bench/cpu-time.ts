import { readFileSync } from 'node:fs';

/** Linux counts in hundredths of a second here, on every machine that Node runs on. */
const TICK_MICROS = 10_000;
/** Of the fields behind the process's name. */
const USER_TICKS = 11;
const SYSTEM_TICKS = 12;

/**
 * The processor time that a process has used so far, all its threads together.
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
