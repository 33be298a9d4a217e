/**
 * Tells whether an object of a target is a backup: by its first bytes, and by the length that they promise. A cut file has the first bytes
 * of a backup too. All who count on a backup ask here: what is not whole stands for no other one.
 */
import { type BackupTarget, type TargetCall, TargetError, type TargetObject } from './backup-target.ts';

/** Number of bytes at the begin of a backup that tell whether it is one: a shorter object is none. */
export const BACKUP_BEGIN_BYTES = 100;

/** The length in bytes that a backup says of itself in its first `BACKUP_BEGIN_BYTES`; null: they are not those of a backup. */
export type BackupLength = (begin: Uint8Array) => number | null;

/**
 * - `whole`: a backup of the length that it says; its other bytes were not looked at
 * - `cut`: it begins as a backup, and has another length
 * - `none`: it does not begin as a backup
 * - `gone`: the target has nothing of that name
 */
export type BackupLook = 'whole' | 'cut' | 'none' | 'gone';

/** @param object as the list of the target says @throws TargetError */
export async function lookAtBackup(
  target: Pick<BackupTarget, 'begin'>,
  { name, size }: Pick<TargetObject, 'name' | 'size'>,
  lengthOf: BackupLength,
  call: TargetCall,
): Promise<BackupLook> {
  try {
    const length = lengthOf(await target.begin(name, BACKUP_BEGIN_BYTES, call));
    if (length === null) return 'none';
    return length === size ? 'whole' : 'cut';
  } catch (error) {
    if (error instanceof TargetError && error.code === 'NOT_FOUND') return 'gone';
    throw error;
  }
}
