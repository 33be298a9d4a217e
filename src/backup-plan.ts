/** What the settings say about backups by a schedule. Nothing of it is loaded without `--backup-to`. */
import { existsSync } from 'node:fs';
import { join, resolve, sep } from 'node:path';
import type { ArchiveNeedsOf } from './node/ports/archive-needs.ts';
import { type BackupTarget, TargetError } from './node/ports/backup-target.ts';
import type { BackupPlan } from './node/upkeep/backups.ts';
import { version } from './runtime/version.ts';
import { showsItself } from './settings/load.ts';
import type { Settings } from './settings/table.ts';
import { StartError } from './store/start-error.ts';

/**
 * @returns null: the node makes no backups
 * @throws StartError if `--backup-to` names no target, or the data folder of a node
 */
export async function backupPlan(settings: Settings): Promise<BackupPlan | null> {
  const { backupTo } = settings;
  if (backupTo === null) return null;
  const target = await targetOf('--backup-to', backupTo, settings.data);
  const [{ BackupMaker }, needsTokens] = await Promise.all([
    import('./store/copies/backup-maker.ts'),
    tokensNeed(settings),
  ]);
  const files = new BackupMaker(resolve(settings.data), version(), needsTokens);
  return { target, files, cluster: settings.cluster, archiveNeeds, ...rhythmOf(settings) };
}

/**
 * @returns whether what the node has must not be served without tokens: it has needed some, or it shows its master a token or a
 *   certificate, without which it would have nothing. A copy of such a node may stay open where it is, but what is restored from its
 *   backups does not start open unasked
 */
export async function tokensNeed(settings: Settings): Promise<() => boolean> {
  const { isGuarded } = await import('./store/guard-file.ts');
  return () => showsItself(settings) || isGuarded(resolve(settings.data));
}

/** Loads what it needs when old backups are looked for. */
const archiveNeeds: ArchiveNeedsOf = async (request) => {
  const { archiveNeeds } = await import('./archive/retention/archive-needs.ts');
  return archiveNeeds(request);
};

function rhythmOf(settings: Settings): Pick<BackupPlan, 'everyMs' | 'keep' | 'role'> {
  return { everyMs: settings.backupEvery, keep: settings.backupKeep, role: settings.backupRole };
}

/**
 * @param flag for messages
 * @param data the data folder of the node
 * @throws StartError if the text names no target, or the data folder of a node
 */
export async function targetOf(flag: string, text: string, data: string): Promise<BackupTarget> {
  const own = resolve(data);
  const [{ openTarget }, { FolderTarget }, { nodeFolderOf }] = await Promise.all([
    import('./target/open-target.ts'),
    import('./target/folder-target.ts'),
    import('./store/backup/node-folder.ts'),
  ]);
  const target = await openTarget(text, process.env).catch((error: unknown) => {
    throw error instanceof TargetError ? new StartError(`${flag}: ${error.message}`) : error;
  });
  if (target instanceof FolderTarget) {
    const isOwn = join(target.shown, sep).startsWith(join(own, sep));
    const folder = isOwn ? own : existsSync(target.shown) ? nodeFolderOf(target.shown) : null;
    if (folder !== null) {
      throw new StartError(
        `${flag}: ${target.shown} is in ${folder}, the data folder of a node; choose another`,
      );
    }
  }
  return target;
}
