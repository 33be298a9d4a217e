/** Conditions on the present state of an entry: HTTP's `If-Match` and `If-None-Match`, `ifVersion` and `ifAbsent`. */
import type { Entry } from './entry.ts';
import { Refusal } from './refusal.ts';

export interface Condition {
  /** The entry must be there, in one of these versions; `*`: in any. */
  readonly match?: '*' | readonly number[];
  /** The entry must not be there in one of these versions; `*`: not at all. */
  readonly noneMatch?: '*' | readonly number[];
}

export const ALWAYS: Condition = {};

/** Whether there is anything to check: if not, the entry need not be read. */
export function isConditional(condition: Condition): boolean {
  return condition.match !== undefined || condition.noneMatch !== undefined;
}

/** @throws Refusal PRECONDITION_FAILED, with the current version */
export function requireCondition(
  condition: Condition,
  key: string,
  entry: Pick<Entry, 'version'> | null,
): void {
  const { match, noneMatch } = condition;
  const version = entry?.version ?? null;
  const failed =
    (match !== undefined && !includes(match, version)) ||
    (noneMatch !== undefined && includes(noneMatch, version));
  if (!failed) return;
  const state = version === null ? 'is not there' : `has version ${version}`;
  throw new Refusal('PRECONDITION_FAILED', `${JSON.stringify(key)} ${state}`, { currentVersion: version });
}

function includes(versions: '*' | readonly number[], version: number | null): boolean {
  return version !== null && (versions === '*' || versions.includes(version));
}
