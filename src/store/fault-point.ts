/**
 * Fault points: each place where the store touches the disk has a label, so that a test can make that place fail or end
 * the process there.
 *
 * `PSYNCD_FAULTS` names a JSON file such as `{"journal-append": "ENOSPC"}`. Each fault point reads it anew, so a test
 * can also repair what it broke. A value is the code of the error to throw, or `kill`, or `hold` for a point that
 * waits. Real nodes run without the variable: each point is then a call of an empty function.
 *
 * `CODE#n` applies to the n-th time that the thread reaches the point. `"trace"` may name a file to which each point
 * that is reached adds a line; one that begins to wait adds `<point> held`.
 */

import { appendFileSync, readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { telling } from '../node/ports/failures.ts';

/**
 * Labels of all fault points. In a pair such as `x`, `x-ed`, the process reaches the first before it touches the disk
 * and the second after.
 */
export const FAULT_POINTS = [
  'folder-open',
  'state-open',
  'state-new',
  'state-made',
  'journal-append',
  'journal-appended',
  'journal-read',
  'journal-trim',
  'journal-fsync',
  'journal-syncer',
  'journal-checkpoint',
  'journal-checkpointed',
  'state-save',
  'state-saved',
  'keyspace-switch',
  'keyspace-switched',
  'keyspace-open',
  'keyspace-reader',
  'keyspace-migrate',
  'keyspace-read',
  'keyspace-scan',
  'keyspace-scrub',
  'entries-read',
  'applier-commit',
  'applier-committed',
  'applier-checkpoint',
  'applier-shrink',
  'applier-freeze',
  'snapshot-read',
  'snapshot-create',
  'snapshot-write',
  'snapshot-sync',
  'snapshot-check',
  'snapshot-discard',
  'copy-room',
  'copy-create',
  'copy-write',
  'copy-rename',
  'copy-read',
  'file-keep',
  'file-kept',
  'file-remove',
  'aside-begin',
  'aside-file',
  'aside-switch',
  'aside-end',
  'backup-seal',
  'backup-sealed',
  'backup-place',
  'backup-placed',
  'restore-begin',
  'restore-state',
  'restore-copy',
  'restore-copied',
  'restore-staged',
  'restore-aside',
  'restore-file',
  'restore-switch',
  'restore-switched',
  'restore-end',
] as const;
export type FaultPoint = (typeof FAULT_POINTS)[number];

const FILE = process.env.PSYNCD_FAULTS;

/** @throws Error with the code that the test has set for this point */
export const faultPoint: (point: FaultPoint) => void = FILE === undefined ? () => undefined : injected(FILE);

/** Interval between two looks at the file while a point is held, in milliseconds. */
const HOLD_LOOK_MS = 20;

/** A fault point that a test can hold: it does not return while its value is `hold`. */
export const waitingFaultPoint: (point: FaultPoint) => Promise<void> =
  FILE === undefined ? () => Promise.resolve() : held(FILE);

function held(file: string): (point: FaultPoint) => Promise<void> {
  return async (point) => {
    const { trace, [point]: value } = faultsIn(file);
    if (value === 'hold' && trace !== undefined) appendFileSync(trace, `${point} held\n`);
    while (faultsIn(file)[point] === 'hold') await pause(HOLD_LOOK_MS);
    faultPoint(point);
  };
}

function faultsIn(file: string): Partial<Record<FaultPoint | 'trace', string>> {
  return JSON.parse(readFileSync(file, 'utf8')) as Partial<Record<FaultPoint | 'trace', string>>;
}

function injected(file: string): (point: FaultPoint) => void {
  const reached = new Map<FaultPoint, number>();
  return (point) => {
    const count = (reached.get(point) ?? 0) + 1;
    reached.set(point, count);
    const faults = faultsIn(file);
    if (faults.trace !== undefined) appendFileSync(faults.trace, `${point}\n`);
    const [code, which] = faults[point]?.split('#') ?? [];
    if (code === undefined || (which !== undefined && Number(which) !== count)) return;
    if (code === 'kill') process.kill(process.pid, 'SIGKILL');
    throw Object.assign(telling(new Error(`injected at ${point}`)), { code });
  };
}
