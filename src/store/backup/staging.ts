/**
 * The folder `restoring/` inside of a data folder, in which a restore makes the files of the node, and the step with which they
 * become the node's.
 *
 * That step is one rename: of the finished psyncd.db over the present one, or into a folder without one. Before it, the data
 * folder is what it was; after it, what the backup holds. The files that it replaces have got second names in `replaced-…/` by
 * then, so none of them goes. A start refuses a folder that has `restoring/` and no psyncd.db. The next restore removes what an
 * interrupted one has left.
 */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { link, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../../node/ports/failures.ts';
import { faultPoint } from '../fault-point.ts';
import {
  GUARD_FILE,
  KEYSPACE_FILE,
  NODE_FILE,
  REPLACED_FOLDER,
  RESTORING_FOLDER,
  STATE_COMPANION,
  STATE_FILE,
  TOKENS_FILE,
} from '../folder-names.ts';
import { InUseError } from '../start-error.ts';
import { lockState } from '../state/state-opening.ts';
import { codeOf } from '../storage-failure.ts';
import { syncFolder } from '../sync-folder.ts';
import { BackupError } from './backup-error.ts';
import { NO_LINKS } from './place.ts';

export class Staging {
  /** The data folder. */
  readonly folder: string;
  /** The folder in which the new files are made. */
  readonly path: string;
  /** Number of the new keyspace file, which no file of the data folder has. */
  readonly number: number;

  private constructor(folder: string, number: number) {
    this.folder = folder;
    this.path = join(folder, RESTORING_FOLDER);
    this.number = number;
  }

  /** Path of the new keyspace file. */
  get keyspace(): string {
    return join(this.path, this.#keyspaceName);
  }

  get #keyspaceName(): string {
    return `keyspace-${this.number}.db`;
  }

  /**
   * Removes what an interrupted restore has left, and begins another one.
   * @throws BackupError if another restore is at work
   */
  static async begin(folder: string): Promise<Staging> {
    const numbers = readdirSync(folder).map((name) => Number(KEYSPACE_FILE.exec(name)?.[1] ?? 0));
    const staging = new Staging(folder, Math.max(0, ...numbers) + 1);
    await mkdir(staging.path, { mode: 0o700 });
    return staging;
  }

  /** Makes the new files those of the node. @param aside name of the folder for the present ones; null: there are none */
  async finish(aside: string | null): Promise<void> {
    const { folder, path } = this;
    await syncFolder(path);
    faultPoint('restore-staged');
    const replaced = aside === null ? [] : await this.#nameAgain(aside);
    faultPoint('restore-file');
    await this.#place();
    // SQLite would apply the WAL of the present psyncd.db, which is left of a damaged one only, to the new one.
    for (const name of readdirSync(folder)) if (STATE_COMPANION.test(name)) await rm(join(folder, name));
    await syncFolder(folder);
    faultPoint('restore-switch');
    await rename(join(path, STATE_FILE), join(folder, STATE_FILE));
    await syncFolder(folder).catch((error: unknown) => {
      throw new BackupError(
        `${folder} has what the backup holds, but the disk did not confirm it: ${messageOf(error)}; check it with psyncd verify`,
      );
    });
    // The restore is done. The next start removes what stays now, but for a list of tokens, which the node then uses.
    await this.#tidy(replaced).catch(() => undefined);
  }

  /** Removes the first names of the replaced files, and the folder in which the new ones were made. */
  async #tidy(replaced: readonly string[]): Promise<void> {
    faultPoint('restore-switched');
    for (const name of replaced) {
      // The node still needs tokens, so it still refuses to start without.
      if (name !== STATE_FILE && name !== GUARD_FILE) await rm(join(this.folder, name), { force: true });
    }
    await rm(this.path, { recursive: true, force: true });
    await syncFolder(this.folder);
    faultPoint('restore-end');
  }

  /** Removes the new files after a failure. */
  async discard(): Promise<void> {
    await clearStaging(this.folder);
  }

  /** Gives the keyspace file its place; the next restore knows it by its name here, if there is no switch. */
  async #place(): Promise<void> {
    const to = join(this.folder, this.#keyspaceName);
    try {
      await link(this.keyspace, to);
    } catch (error) {
      if (!NO_LINKS.has(codeOf(error))) throw error;
      await rename(this.keyspace, to);
    }
  }

  /** Gives the present files of the node second names. @returns their names */
  async #nameAgain(aside: string): Promise<readonly string[]> {
    faultPoint('restore-aside');
    const to = join(this.folder, aside);
    await mkdir(to, { mode: 0o700 });
    const names = presentFiles(this.folder);
    for (const name of names) await link(join(this.folder, name), join(to, name));
    await syncFolder(to);
    return names;
  }
}

/** @returns the names of the files of a node in its data folder; what was set aside before stays where it is */
export function presentFiles(folder: string): readonly string[] {
  return readdirSync(folder).filter(
    (name) => NODE_FILE.test(name) || TOKENS_FILE.test(name) || name === GUARD_FILE,
  );
}

/**
 * Removes what an interrupted restore has left in the data folder.
 * @throws BackupError if another restore is at work
 */
export async function clearStaging(folder: string): Promise<void> {
  const path = join(folder, RESTORING_FOLDER);
  if (!existsSync(path)) return;
  // As long as psyncd.db stands here, the node does not use the new keyspace file.
  if (existsSync(join(path, STATE_FILE))) {
    refuseAtWork(path);
    for (const name of await readdir(path)) {
      if (KEYSPACE_FILE.test(name) && isSameFile(join(path, name), join(folder, name)))
        await rm(join(folder, name));
    }
    for (const name of await readdir(folder)) {
      if (REPLACED_FOLDER.test(name) && holdsOnlySecondNames(folder, name)) {
        await rm(join(folder, name), { recursive: true });
      }
    }
  }
  await rm(path, { recursive: true, force: true });
}

function refuseAtWork(path: string): void {
  try {
    lockState(join(path, STATE_FILE)).close();
  } catch (error) {
    if (error instanceof InUseError) throw new BackupError(`another restore is at work in ${path}`);
    // What is left of a psyncd.db that was not finished.
  }
}

/** Whether all files of a folder have another name in the data folder still, but for WALs, which a start may have emptied. */
function holdsOnlySecondNames(folder: string, aside: string): boolean {
  return readdirSync(join(folder, aside)).every(
    (name) => /-(?:wal|shm)$/.test(name) || isSameFile(join(folder, name), join(folder, aside, name)),
  );
}

/** Whether both paths name one file. */
export function isSameFile(one: string, other: string): boolean {
  const [a, b] = [one, other].map((path) => statSync(path, { throwIfNoEntry: false }));
  return a !== undefined && b !== undefined && a.ino === b.ino && a.dev === b.dev;
}

/** Says why a folder cannot get second names of files. */
export function linkFailure(error: unknown, folder: string): unknown {
  if (!NO_LINKS.has(codeOf(error))) return error;
  return new BackupError(
    `the file system of ${folder} cannot give a file a second name: restore into an empty folder on another file system, or move the present files away first`,
  );
}
