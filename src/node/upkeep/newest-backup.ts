/** Finds the newest backup of a history in a target, of those that are what their names say. */
import {
  BACKUP_BEGIN_BYTES,
  type BackupLength,
  type BackupTarget,
  lookAtBackup,
  type TargetCall,
} from '../ports/backup-target.ts';
import { type NamedBackup, namedBackup } from './backup-names.ts';

/** Most objects that are looked into, those with the largest offsets. */
const MAX_LOOKS = 4;

interface NewestRequest {
  readonly target: BackupTarget;
  /** With the backups of the history. */
  readonly folder: string;
  /** Whether the node can have had the state. */
  counts(backup: NamedBackup): boolean;
  readonly backupLength: BackupLength;
}

interface Newest {
  /** The one with the largest offset; null: there is none. */
  readonly backup: NamedBackup | null;
  /** One that has a larger offset, and does not count, is cut or is no backup; null: there is none. */
  readonly strange: NamedBackup | null;
}

/** @throws TargetError */
export async function newestBackup(request: NewestRequest, call: TargetCall): Promise<Newest> {
  const { target, folder, counts, backupLength } = request;
  let strange: NamedBackup | null = null;
  const largest: NamedBackup[] = [];
  for await (const object of target.list(folder, call)) {
    const backup = namedBackup(object);
    if (backup === null) continue;
    if (backup.size < BACKUP_BEGIN_BYTES || !counts(backup)) strange = laterOf(backup, strange);
    else {
      largest.push(backup);
      largest.sort((one, other) => other.position.offset - one.position.offset || other.time - one.time);
      largest.splice(MAX_LOOKS);
    }
  }
  for (const backup of largest) {
    const look = await lookAtBackup(target, backup, backupLength, call);
    if (look === 'gone') continue;
    if (look === 'whole') return { backup, strange: isLater(strange, backup) ? strange : null };
    strange = laterOf(backup, strange);
  }
  return { backup: null, strange };
}

function isLater(one: NamedBackup | null, other: NamedBackup): boolean {
  return one !== null && one.position.offset > other.position.offset;
}

function laterOf(one: NamedBackup, other: NamedBackup | null): NamedBackup {
  return isLater(other, one) && other !== null ? other : one;
}
