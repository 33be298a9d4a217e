/** What the settings say about an archive of the stream. Nothing of it is loaded without `--archive-to`. */
import { resolve } from 'node:path';
import type { Archiver } from './archive/archiver.ts';
import { targetOf, tokensNeed } from './backup-plan.ts';
import type { Node } from './node/node.ts';
import type { Log } from './node/ports/world.ts';
import { systemWorld } from './runtime/system-world.ts';
import { version } from './runtime/version.ts';
import type { Settings } from './settings/table.ts';

/** Begins to archive the stream of a node, in the turn in which the node has recovered. */
export type BeginArchive = (node: Node, log: Log) => Archiver;

/**
 * @returns null: the node archives nothing
 * @throws StartError if `--archive-to` names no target, or the data folder of a node
 */
export async function archivePlan(settings: Settings): Promise<BeginArchive | null> {
  const { archiveCompress, archiveTo, archiveJournalLimit, cluster, data } = settings;
  if (archiveTo === null) return null;
  const target = await targetOf('--archive-to', archiveTo, data);
  const [{ Archiver }, { BackupMaker }, { lengthInHeader }, { clusterFolder }, needsTokens] =
    await Promise.all([
      import('./archive/archiver.ts'),
      import('./store/copies/backup-maker.ts'),
      import('./store/backup/backup-header.ts'),
      import('./node/upkeep/backup-names.ts'),
      tokensNeed(settings),
    ]);
  const files = new BackupMaker(resolve(data), version(), needsTokens, 'base');
  return (node, log) =>
    new Archiver({
      world: systemWorld,
      log,
      stream: node.stream,
      target,
      cluster: clusterFolder(cluster),
      limitBytes: archiveJournalLimit,
      compresses: archiveCompress,
      backupLength: lengthInHeader,
      isGuarded: needsTokens,
      makeBase: (from, signal) => node.makeBackup(from, { target, files, cluster }, signal),
    });
}
