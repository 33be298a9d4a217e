/** Conditions on the current state of an entry: HTTP's `If-Match` and `If-None-Match`, `ifVersion` and `ifAbsent`. */
import type { Entry } from './entry.ts';
import { Refusal } from './refusal.ts';

export interface Condition {
  /** Versions of which the entry must have one; `*`: any version, but the entry must exist. */
  readonly match?: '*' | readonly number[];
  /** Versions of which the entry must have none; `*`: the entry must not exist. */
  readonly noneMatch?: '*' | readonly number[];
}

export const ALWAYS: Condition = {};

/** Whether there is anything to check; if not, the entry need not be read. */
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
