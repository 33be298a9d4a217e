/** Deletes backups that no rule keeps from a target. What is not certainly a backup of psyncd stays. */
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
  readonly call?: TargetCall;
}

export interface Pruned {
  /** What was deleted, or would be; the oldest first. */
  readonly deleted: readonly NamedBackup[];
  /** What has the name of a backup and is none; it stays. */
  readonly foreign: readonly NamedBackup[];
}

/** @throws TargetError; what was deleted by then is deleted */
export async function prune(request: PruneRequest): Promise<Pruned> {
  const { target, backups, rules, now, call = {} } = request;
  const deleted: NamedBackup[] = [];
  const foreign: NamedBackup[] = [];
  for (const backup of outdated(backups, rules, now)) {
    const header = await headerOf(target, backup, call);
    // Somebody else has deleted it.
    if (header === null) continue;
    if (!request.isBackup(header)) {
      foreign.push(backup);
      continue;
    }
    if (!request.isDry) await target.delete(backup.name, call);
    deleted.push(backup);
  }
  return { deleted, foreign };
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
