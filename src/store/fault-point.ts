/**
 * Every place where the store touches the disk has a label here, so that a test can make exactly that one fail, or end
 * the process exactly there.
 *
 * `PSYNCD_FAULTS` names a JSON file, `{"journal-append": "ENOSPC"}`, that is read anew each time a point is reached: so a
 * test heals what it broke. The value is the code of the error that is thrown, or `kill`. Without the variable, in every
 * real node, a point is a call of an empty function.
 */
import { readFileSync } from 'node:fs';

/** Where there are two, the first is reached before the disk is touched, the second after. */
export const FAULT_POINTS = [
  'state-open',
  'journal-append',
  'journal-appended',
  'journal-read',
  'journal-trim',
  'journal-fsync',
  'journal-checkpoint',
  'journal-checkpointed',
  'state-save',
  'state-saved',
  'keyspace-switch',
  'keyspace-switched',
  'keyspace-open',
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
] as const;
export type FaultPoint = (typeof FAULT_POINTS)[number];

const FILE = process.env.PSYNCD_FAULTS;

/** @throws Error with the code that the test has set for this point */
export const faultPoint: (point: FaultPoint) => void = FILE === undefined ? () => undefined : injected(FILE);

function injected(file: string): (point: FaultPoint) => void {
  return (point) => {
    const code = (JSON.parse(readFileSync(file, 'utf8')) as Partial<Record<FaultPoint, string>>)[point];
    if (code === undefined) return;
    if (code === 'kill') process.kill(process.pid, 'SIGKILL');
    throw Object.assign(new Error(`injected at ${point}`), { code });
  };
}
