/** Decides which backups of a target are kept. Pure. */
import type { NamedBackup } from './backup-names.ts';

/** Of the backups that are younger than `ageMs`, one for each period of `everyMs` is kept. */
export interface KeepRule {
  readonly ageMs: number;
  readonly everyMs: number;
}

/**
 * Of each history the newest backup of each period is kept, and the newest of each cluster always. Periods begin at whole multiples
 * since 1970, so that it does not matter when and how often somebody decides.
 * @param now milliseconds since 1970; a backup of a later time is kept
 * @returns the backups that no rule keeps, the oldest first
 */
export function outdated(
  backups: readonly NamedBackup[],
  rules: readonly KeepRule[],
  now: number,
): readonly NamedBackup[] {
  const newestFirst = [...backups].sort(
    (one, other) => other.time - one.time || other.position.offset - one.position.offset,
  );
  const taken = new Set<string>();
  /** Whether it is the first one that asks for the place. */
  const takes = (...place: readonly unknown[]): boolean => {
    const name = place.join(' ');
    if (taken.has(name)) return false;
    taken.add(name);
    return true;
  };
  const isKept = ({ cluster, position, time }: NamedBackup): boolean => {
    const isNewest = takes('newest', cluster);
    const isOfRule = rules.map(
      ({ ageMs, everyMs }, index) =>
        now - time < ageMs && takes(index, cluster, position.runId, Math.floor(time / everyMs)),
    );
    return isNewest || time > now || isOfRule.includes(true);
  };
  return newestFirst.filter((backup) => !isKept(backup)).reverse();
}
