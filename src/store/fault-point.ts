/**
 * Every place where the store touches the disk has a label here, so that a test can make exactly that one fail, or end
 * the process exactly there.
 *
 * `PSYNCD_FAULTS` names a JSON file, `{"journal-append": "ENOSPC"}`, that is read anew each time a point is reached: so a
 * test heals what it broke. The value is the code of the error that is thrown, or `kill`; or, for a point that waits, `hold`.
 * Without the variable, in every real node, a point is a call of an empty function.
 *
 * `CODE#n` is for the n-th time that the thread reaches the point. Beside the points, `"trace"` may name a file: the points that
 * are reached are added to it, one a line.
 */
import { appendFileSync, readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';

/** Where there are two, the first is reached before the disk is touched, the second after. */
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
  'file-keep',
  'file-kept',
  'file-remove',
  'aside-begin',
  'aside-file',
  'aside-switch',
  'aside-end',
] as const;
export type FaultPoint = (typeof FAULT_POINTS)[number];

const FILE = process.env.PSYNCD_FAULTS;

/** @throws Error with the code that the test has set for this point */
export const faultPoint: (point: FaultPoint) => void = FILE === undefined ? () => undefined : injected(FILE);

/** How often a point that is held looks whether it may go on, in milliseconds. */
const HOLD_LOOK_MS = 20;

/** The same where the test may want time to stand still: while the value is `hold`, the point is not passed. */
export const waitingFaultPoint: (point: FaultPoint) => Promise<void> =
  FILE === undefined ? () => Promise.resolve() : held(FILE);

function held(file: string): (point: FaultPoint) => Promise<void> {
  return async (point) => {
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
    throw Object.assign(new Error(`injected at ${point}`), { code });
  };
}
