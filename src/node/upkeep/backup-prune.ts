/** Deletes backups that no rule keeps from a target. What is not certainly a backup of psyncd stays. */
import type { Position } from '../../replication/position.ts';
import type { ArchiveNeeds } from '../ports/archive-needs.ts';
import { type BackupTarget, type TargetCall, TargetError } from '../ports/backup-target.ts';
import { type KeepRule, outdated } from './backup-keep.ts';
import { HEADER_BYTES, type NamedBackup, namedBackup } from './backup-names.ts';

/** Most backups of one list that are looked at. One with more names them. */
const MAX_BACKUPS = 50_000;

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
  /** Whether a file that begins so is a backup. */
  isBackup(header: Uint8Array): boolean;
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
  const { target, archive, backups, rules, now, call = {}, isDry, mostSegments } = request;
  const deleted: NamedBackup[] = [];
  const foreign: NamedBackup[] = [];
  for (const backup of outdated(backups, rules, now)) {
    if (archive?.needs(backup.name) === true) continue;
    const header = await headerOf(target, backup, call);
    // Somebody else has deleted it.
    if (header === null) continue;
    if (!request.isBackup(header)) {
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

/** @returns the begin of an object; null: it is not there any more @throws TargetError */
export async function headerOf(
  target: BackupTarget,
  { name }: NamedBackup,
  call: TargetCall,
): Promise<Uint8Array | null> {
  try {
    return await target.begin(name, HEADER_BYTES, call);
  } catch (error) {
    if (error instanceof TargetError && error.code === 'NOT_FOUND') return null;
    throw error;
  }
}
