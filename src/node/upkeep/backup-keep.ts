/** Decides which backups of a target are kept. Pure. */
import { BACKUP_BEGIN_BYTES } from '../ports/backup-target.ts';
import type { NamedBackup } from './backup-names.ts';

const NONE: ReadonlySet<string> = new Set();

/** Histories of each cluster whose largest offset is kept always, those with the newest backups. */
const MAX_HELD = 8;

/** Of the backups that are younger than `ageMs`, one for each period of `everyMs` is kept. */
export interface KeepRule {
  readonly ageMs: number;
  readonly everyMs: number;
}

/**
 * Of each history the newest backup of each period is kept, and the newest of each cluster always. So are those with the largest offset of
 * the last `MAX_HELD` histories of each cluster, because the time in a name may be that of a wrong clock. Periods begin at whole multiples
 * since 1970, so that it does not matter when and how often somebody decides.
 * @param now milliseconds since 1970; a backup of a later time is kept
 * @param wrong names of files that are no whole backups: they stand for no other one, and stay until they are older than all rules
 * @returns the backups that no rule keeps, the oldest first
 */
export function outdated(
  backups: readonly NamedBackup[],
  rules: readonly KeepRule[],
  now: number,
  wrong: ReadonlySet<string> = NONE,
): readonly NamedBackup[] {
  const mostMs = Math.max(0, ...rules.map(({ ageMs }) => ageMs));
  const newestFirst = [...backups].sort(
    (one, other) => other.time - one.time || other.position.offset - one.position.offset,
  );
  const held = largestOffsets(newestFirst.filter(({ name }) => !wrong.has(name)));
  const taken = new Set<string>();
  /** Whether it is the first one that asks for the place. */
  const takes = (...place: readonly unknown[]): boolean => {
    const name = place.join(' ');
    if (taken.has(name)) return false;
    taken.add(name);
    return true;
  };
  const isKept = (backup: NamedBackup): boolean => {
    const { cluster, name, position, time } = backup;
    if (wrong.has(name)) return now - time < mostMs;
    const isNewest = takes('newest', cluster);
    const isOfRule = rules.map(
      ({ ageMs, everyMs }, index) =>
        now - time < ageMs && takes(index, cluster, position.runId, Math.floor(time / everyMs)),
    );
    return isNewest || held.has(backup) || time > now || isOfRule.includes(true);
  };
  return newestFirst.filter((backup) => !isKept(backup)).reverse();
}

/** @returns of the last histories of each cluster the backup with the largest offset */
function largestOffsets(newestFirst: readonly NamedBackup[]): ReadonlySet<NamedBackup> {
  const clusters = new Map<string | null, Map<string, NamedBackup>>();
  for (const backup of newestFirst) {
    // Such a short file is no backup, whatever its name says.
    if (backup.size < BACKUP_BEGIN_BYTES) continue;
    const { cluster, position } = backup;
    const largest = clusters.get(cluster) ?? new Map<string, NamedBackup>();
    clusters.set(cluster, largest);
    const before = largest.get(position.runId);
    if (before === undefined ? largest.size < MAX_HELD : position.offset > before.position.offset) {
      largest.set(position.runId, backup);
    }
  }
  return new Set([...clusters.values()].flatMap((largest) => [...largest.values()]));
}
