/** Deletes backups that no rule keeps from a target. What is not certainly a backup of psyncd stays. */
import type { Position } from '../../replication/position.ts';
import type { ArchiveNeeds } from '../ports/archive-needs.ts';
import {
  type BackupLength,
  type BackupLook,
  type BackupTarget,
  lookAtBackup,
  type TargetCall,
  TargetError,
} from '../ports/backup-target.ts';
import { type KeepRule, outdated } from './backup-keep.ts';
import { type NamedBackup, namedBackup } from './backup-names.ts';

/** Most backups of one list that are looked at. One with more names them. */
const MAX_BACKUPS = 50_000;
/** Number of backups that are looked into at a time. */
const AT_A_TIME = 8;
/** Most times that what stays is decided anew, because something that was to stay is no whole backup. */
const MAX_DECISIONS = 16;

/**
 * @param folder of the target; '': all
 * @returns the backups in it, by their names, the oldest first
 * @throws TargetError, also if there are more than `MAX_BACKUPS`
 */
export async function backupsIn(
  target: BackupTarget,
  folder: string,
  call: TargetCall = {},
): Promise<readonly NamedBackup[]> {
  const found: NamedBackup[] = [];
  for await (const object of target.list(folder, call)) {
    const backup = namedBackup(object);
    if (backup === null) continue;
    if (found.length === MAX_BACKUPS) {
      const advice = 'name the folder of one cluster, or delete some by their names';
      throw new TargetError(
        'TARGET_FAILED',
        `${target.shown} has more than ${MAX_BACKUPS} backups: ${advice}`,
      );
    }
    found.push(backup);
  }
  return found.sort((one, other) => one.time - other.time || one.position.offset - other.position.offset);
}

/** @returns the time from which on each moment is to be restorable of an archive, in milliseconds since 1970 */
export function horizonOf(rules: readonly KeepRule[], now: number): number {
  return now - Math.max(0, ...rules.map(({ ageMs }) => ageMs));
}

export interface PruneRequest {
  readonly target: BackupTarget;
  readonly backups: readonly NamedBackup[];
  readonly rules: readonly KeepRule[];
  /** Milliseconds since 1970. */
  readonly now: number;
  /** Whether nothing is deleted. */
  readonly isDry: boolean;
  readonly backupLength: BackupLength;
  /** What archives in the target need; null: there are none. */
  readonly archive: ArchiveNeeds | null;
  /** Most segments of archives that are deleted; the others are for the next time. */
  readonly mostSegments: number;
  /** Whether a segment may be deleted whose last byte is at this position. */
  mayDelete(end: Position): boolean;
  readonly call?: TargetCall;
}

export interface Pruned {
  /** What was deleted, or would be; the oldest first. */
  readonly deleted: readonly NamedBackup[];
  /** What has the name of a backup and is none; it stays. */
  readonly foreign: readonly NamedBackup[];
  /** Number of segments that were deleted, or would be. */
  readonly segments: number;
}

/** @throws TargetError; what was deleted by then is deleted */
export async function prune(request: PruneRequest): Promise<Pruned> {
  const { target, archive, call = {}, isDry, mostSegments } = request;
  const looks = new Looks(request);
  const deleted: NamedBackup[] = [];
  const foreign: NamedBackup[] = [];
  const over = await surelyOutdated(request, looks);
  const needed = await archive?.neededOf(over.map(({ name }) => name));
  for (const backup of over) {
    if (needed?.has(backup.name) === true) continue;
    const look = await looks.at(backup);
    // Somebody else has deleted it.
    if (look === 'gone') continue;
    if (look === 'none') {
      foreign.push(backup);
      continue;
    }
    if (!isDry) await target.delete(backup.name, call);
    deleted.push(backup);
  }
  // Last: a segment without a backup before it does no harm, and one that is missing after a backup makes a gap.
  const mayDelete = request.mayDelete.bind(request);
  const segments = (await archive?.deleteSegments({ isDry, most: mostSegments, mayDelete })) ?? 0;
  return { deleted, foreign, segments };
}

/** Looks into backups, once into each. */
class Looks {
  readonly #request: PruneRequest;
  readonly #found = new Map<string, BackupLook>();

  constructor(request: PruneRequest) {
    this.#request = request;
  }

  /** @throws TargetError */
  async at(backup: NamedBackup): Promise<BackupLook> {
    const { target, backupLength, call = {} } = this.#request;
    const look = this.#found.get(backup.name) ?? (await lookAtBackup(target, backup, backupLength, call));
    this.#found.set(backup.name, look);
    return look;
  }

  /** @returns the names of those that are no whole backups @throws TargetError */
  async wrongAmong(backups: readonly NamedBackup[]): Promise<readonly string[]> {
    const wrong: string[] = [];
    for (let at = 0; at < backups.length; at += AT_A_TIME) {
      const some = backups.slice(at, at + AT_A_TIME);
      const looks = await Promise.all(some.map((backup) => this.at(backup)));
      wrong.push(...some.filter((_, index) => looks[index] !== 'whole').map(({ name }) => name));
    }
    return wrong;
  }
}

/** @returns the backups that no rule keeps, if only whole ones stand for others @throws TargetError */
async function surelyOutdated(
  { target, backups, rules, now }: PruneRequest,
  looks: Looks,
): Promise<readonly NamedBackup[]> {
  const wrong = new Set<string>();
  for (let decided = 0; decided < MAX_DECISIONS; decided += 1) {
    const over = outdated(backups, rules, now, wrong);
    if (over.length === 0) return [];
    const isOver = new Set(over);
    const found = await looks.wrongAmong(
      backups.filter((each) => !isOver.has(each) && !wrong.has(each.name)),
    );
    if (found.length === 0) return over;
    for (const name of found) wrong.add(name);
  }
  const what = `${target.shown} has too many files that have the names of backups and are no whole ones`;
  throw new TargetError('TARGET_FAILED', `${what}: nothing is deleted`);
}
