/** `psyncd backup`: one file with all entries of a node, or of the data folder of a node that does not run. */
import { realpathSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { singleName } from '../../node/upkeep/backup-names.ts';
import { formatPosition } from '../../replication/position.ts';
import { withoutDisk } from '../../store/backup/backup-error.ts';
import type { Manifest } from '../../store/backup/manifest.ts';
import { nodeFolderOf } from '../../store/backup/node-folder.ts';
import { partialName, removePartial } from '../../store/backup/partials.ts';
import { isThere, place } from '../../store/backup/place.ts';
import { NODE_FILE } from '../../store/folder-names.ts';
import { CommandError } from '../command-error.ts';
import type { Reach } from '../options/node.ts';
import { counted, sized } from '../output/info.ts';
import { reporter } from '../output/progress.ts';
import { kindOf } from './kind-of.ts';
import { tidyUp } from './leftovers.ts';

/** Exit code that shells report for a program ended by SIGINT. */
const INTERRUPTED = 130;
const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

/** Where a backup goes. */
export interface Target {
  readonly folder: string;
  /** Name of the file; null: of the position and the time. */
  readonly name: string | null;
}

/** Makes the backup as a new file. @param into its path, beside the target */
export type Make = (into: string) => Promise<Manifest>;

/**
 * @param data data folder of a node that does not run, or a keyspace file that none has open; null: the backup is made of a running node
 * @param reach of the running node
 * @param version of this psyncd
 */
export function makerOf(data: string | null, reach: Reach, version: string): Make {
  return async (into) => {
    const { report, stop } = reporter(data === null ? 'downloading' : 'copying');
    try {
      if (data === null) {
        const { backUpNode } = await import('./back-up-node.ts');
        return await backUpNode(reach, into, version, report);
      }
      if (kindOf(data) === 'file') {
        const { backUpKeyspace } = await import('../../store/backup/offline/keyspace-copy.ts');
        return await backUpKeyspace(resolve(data), into, version, report);
      }
      const { backUpFolder } = await import('../../store/backup/offline/folder-copy.ts');
      return await backUpFolder(resolve(data), into, version, report);
    } finally {
      stop();
    }
  };
}

/**
 * Makes a backup under a temporary name, and gives it its name when it is whole and durable.
 * @param target a file or a folder
 * @param isForced whether a file that has the name is replaced
 * @returns the path of the backup, and its manifest
 * @throws CommandError, BackupError or StartError, one line
 */
export async function backUp(
  target: string,
  isForced: boolean,
  make: Make,
): Promise<{ readonly file: string; readonly manifest: Manifest }> {
  const { folder, name } = targetOf(target, isForced);
  tidyUp(folder);
  const partial = join(folder, partialName(name ?? 'psyncd-backup'));
  const interrupted = (): void => {
    removePartial(partial);
    process.exit(INTERRUPTED);
  };
  for (const signal of SIGNALS) process.once(signal, interrupted);
  try {
    const manifest = await make(partial);
    const file = join(folder, name ?? singleName(manifest.position, manifest.commitTime));
    await place(partial, file, isForced);
    return { file, manifest };
  } catch (error) {
    throw withoutDisk(`cannot write ${target}`, error, partial);
  } finally {
    for (const signal of SIGNALS) process.off(signal, interrupted);
    removePartial(partial);
  }
}

/** @throws CommandError if nothing can be written there */
function targetOf(target: string, isForced: boolean): Target {
  const named = resolve(target);
  const found = statOf(named);
  // The target of a link is replaced, not the link.
  const path = found === undefined ? named : realpathSync(named);
  if (found?.isDirectory()) return { folder: outsideOfNode(path), name: null };
  if (target.endsWith('/') || statOf(dirname(path))?.isDirectory() !== true) {
    throw new CommandError(`cannot write ${target}: there is no such folder`);
  }
  if (found !== undefined && !found.isFile()) throw new CommandError(`cannot write ${target}: it is no file`);
  const folder = outsideOfNode(dirname(path));
  if (NODE_FILE.test(basename(path))) {
    throw new CommandError(`cannot write ${target}: a file of a data folder has that name; choose another`);
  }
  if (found !== undefined && !isForced) throw isThere(target);
  return { folder, name: basename(path) };
}

/** A node removes files from its folder, and refuses a folder with others. @throws CommandError */
function outsideOfNode(folder: string): string {
  const node = nodeFolderOf(folder);
  if (node === null) return folder;
  const is = node === realpathSync(folder) ? 'is' : `is in ${node},`;
  throw new CommandError(`${folder} ${is} the data folder of a node; choose another for the backup`);
}

function statOf(path: string): ReturnType<typeof statSync> {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (error) {
    throw withoutDisk(`cannot write ${path}`, error);
  }
}

/** One line about a backup. */
export function backupLine({ position, keys, bytes, commitTime }: Manifest): string {
  const time = new Date(commitTime).toISOString();
  return `${counted(keys, 'entry', 'entries')} at ${formatPosition(position)}, of ${time}, ${sized(bytes)}`;
}
