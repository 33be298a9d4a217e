/** What the settings say about backups by a schedule. Nothing of it is loaded without `--backup-to`. */
import { existsSync } from 'node:fs';
import { join, resolve, sep } from 'node:path';
import { TargetError } from './node/ports/backup-target.ts';
import type { BackupPlan } from './node/upkeep/backups.ts';
import { version } from './runtime/version.ts';
import type { Settings } from './settings/table.ts';
import { StartError } from './store/start-error.ts';

/**
 * @returns null: the node makes no backups
 * @throws StartError if `--backup-to` names no target, or the data folder of a node
 */
export async function backupPlan(settings: Settings): Promise<BackupPlan | null> {
  const { backupTo } = settings;
  const own = resolve(settings.data);
  if (backupTo === null) return null;
  const [{ openTarget }, { FolderTarget }, { BackupMaker }, { nodeFolderOf }] = await Promise.all([
    import('./target/open-target.ts'),
    import('./target/folder-target.ts'),
    import('./store/copies/backup-maker.ts'),
    import('./store/backup/node-folder.ts'),
  ]);
  const target = await openTarget(backupTo, process.env).catch((error: unknown) => {
    throw error instanceof TargetError ? new StartError(`--backup-to: ${error.message}`) : error;
  });
  if (target instanceof FolderTarget) {
    const isOwn = join(target.shown, sep).startsWith(join(own, sep));
    const folder = isOwn ? own : existsSync(target.shown) ? nodeFolderOf(target.shown) : null;
    if (folder !== null) {
      throw new StartError(
        `--backup-to: ${target.shown} is in ${folder}, the data folder of a node; choose another`,
      );
    }
  }
  const files = new BackupMaker(own, version());
  return { target, files, cluster: settings.cluster, ...rhythmOf(settings) };
}

function rhythmOf(settings: Settings): Pick<BackupPlan, 'everyMs' | 'keep' | 'role'> {
  return { everyMs: settings.backupEvery, keep: settings.backupKeep, role: settings.backupRole };
}
