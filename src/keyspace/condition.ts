/** Conditions on the current state of an entry: HTTP's `If-Match` and `If-None-Match`, `ifVersion` and `ifAbsent`. */
import type { Entry } from './entry.ts';
import { Refusal } from './refusal.ts';

export interface Condition {
  /** Versions of which the entry must have one; `*`: any version, but the entry must exist. */
  readonly match?: '*' | readonly number[];
  /** Versions of which the entry must have none; `*`: the entry must not exist. */
  readonly noneMatch?: '*' | readonly number[];
  /** Whether the refusal leaves out the version of the entry, because whoever asks may write the entry and not read it. */
  readonly hidesVersion?: boolean;
}

export const ALWAYS: Condition = {};

/** Whether there is anything to check; if not, the entry need not be read. */
export function isConditional(condition: Condition): boolean {
  return condition.match !== undefined || condition.noneMatch !== undefined;
}

/** @throws Refusal PRECONDITION_FAILED, with the current version unless the condition hides it */
export function requireCondition(
  condition: Condition,
  key: string,
  entry: Pick<Entry, 'version'> | null,
): void {
  const { match, noneMatch, hidesVersion = false } = condition;
  const version = entry?.version ?? null;
  const isMatchMissing = match !== undefined && !includes(match, version);
  if (!isMatchMissing && (noneMatch === undefined || !includes(noneMatch, version))) return;
  const wanted = isMatchMissing ? wantedBy(match) : noneMatch === '*' ? 'no entry' : 'another version';
  const there = hidesVersion ? 'is there' : `has version ${version}`;
  const state = version === null ? 'is not there' : there;
  const detail = `${JSON.stringify(key)} ${state}, and the condition asks for ${wanted}: read it again, and decide anew`;
  throw new Refusal('PRECONDITION_FAILED', detail, hidesVersion ? {} : { currentVersion: version });
}

/** Names the versions for people; a list of several could be as long as a header. */
function wantedBy(match: '*' | readonly number[]): string {
  if (match === '*') return 'an entry';
  return match.length === 1 ? `version ${match[0]}` : 'other versions';
}

function includes(versions: '*' | readonly number[], version: number | null): boolean {
  return version !== null && (versions === '*' || versions.includes(version));
}
