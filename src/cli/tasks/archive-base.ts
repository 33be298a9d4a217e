/** The backups of an archive: gets them from the target, and checks that they are what their names say. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ArchiveError, DamagedObject } from '../../archive/archive-error.ts';
import type { ListedBase } from '../../archive/coverage.ts';
import type { HistoryOfBase } from '../../archive/first-told.ts';
import { type BackupTarget, lookAtBackup } from '../../node/ports/backup-target.ts';
import { formatPosition } from '../../replication/position.ts';
import { version } from '../../runtime/version.ts';
import { CheckError } from '../../store/backup/backup-error.ts';
import { lengthInHeader } from '../../store/backup/backup-header.ts';
import { checkBackup } from '../../store/backup/check-backup.ts';
import type { Manifest } from '../../store/backup/manifest.ts';

/**
 * @param path where no file is; the backup is there then
 * @returns what the backup says of itself
 * @throws DamagedObject if it is damaged, or another one than its name says; ArchiveError if it cannot be told; TargetError, or the error
 *   of the file system
 */
export async function gotBase(
  target: BackupTarget,
  base: ListedBase,
  path: string,
  signal: AbortSignal,
): Promise<Manifest> {
  const { name, size } = base;
  const { shown } = target;
  const look =
    size === undefined ? 'whole' : await lookAtBackup(target, { name, size }, lengthInHeader, { signal });
  if (look === 'cut') throw new DamagedObject(`${shown}: ${name} is damaged: a part of it is missing`);
  if (look === 'none') throw new DamagedObject(`${shown}: ${name} is damaged: it does not begin as a backup`);
  await target.get(name, path, { signal, ...(size !== undefined && { most: size }) });
  const manifest = await checkBackup(path, version()).catch((error: unknown) => {
    if (!(error instanceof CheckError)) throw error;
    const message = error.message.replaceAll(path, `${shown}: ${name}`);
    throw error.finding === 'damaged' ? new DamagedObject(message) : new ArchiveError(message);
  });
  const { runId, offset } = manifest.position;
  if (runId === base.runId && offset === base.offset) return manifest;
  throw new DamagedObject(
    `${shown}: ${name} is the backup of ${formatPosition(manifest.position)}, under another name`,
  );
}

/** @param folder for a file while it is read @returns what asks a backup of the target for its history */
export function historyOfBase(target: BackupTarget, folder: string, signal: AbortSignal): HistoryOfBase {
  return async (base) => {
    const path = join(folder, 'asked.db');
    try {
      const { position, lineage } = await gotBase(target, base, path, signal);
      return { runId: position.runId, lineage };
    } finally {
      await rm(path, { force: true });
    }
  };
}
