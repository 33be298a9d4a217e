/**
 * The folder `restoring/` inside of a data folder, in which a restore makes the files of the node, and the step with which they
 * become the node's.
 *
 * That step is one rename: of the finished psyncd.db over the present one, or into a folder without one. Before it, the data
 * folder is what it was; after it, what the backup holds. The files that it replaces have got second names in
 * `restoring/replaced-…/` by then, so none of them goes; when these names are the only ones, the folder moves beside the new files.
 * A start refuses a folder that has `restoring/` and no psyncd.db. The next start or restore puts in order what an interrupted one
 * has left (interrupted.ts).
 */
import { readdirSync, statSync } from 'node:fs';
import { link, mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Database as Connection } from 'better-sqlite3';
import { messageOf } from '../../node/ports/failures.ts';
import type { RunId } from '../../replication/position.ts';
import { BackupError } from '../backup/backup-error.ts';
import { NO_LINKS } from '../backup/place.ts';
import { waitingFaultPoint } from '../fault-point.ts';
import {
  GUARD_FILE,
  KEYSPACE_FILE,
  NODE_FILE,
  RESTORING_FOLDER,
  STATE_COMPANION,
  STATE_FILE,
  TOKENS_FILE,
} from '../folder-names.ts';
import { isGuarded } from '../guard-file.ts';
import { lockWhole } from '../state/state-opening.ts';
import { codeOf } from '../storage-failure.ts';
import { syncFolder } from '../sync-folder.ts';
import { clearInterrupted, keepReplaced } from './interrupted.ts';

export class Staging {
  /** The data folder. */
  readonly folder: string;
  /** The folder in which the new files are made. */
  readonly path: string;
  /** Number of the new keyspace file, which no file of the data folder has. */
  readonly number: number;
  /** Inode of the psyncd.db that was there at the beginning; null: there was none. */
  readonly #before: number | null;
  /** Keeps other processes from the new psyncd.db. */
  #lock: Connection | null = null;

  private constructor(folder: string, number: number) {
    this.folder = folder;
    this.path = join(folder, RESTORING_FOLDER);
    this.number = number;
    this.#before = this.#stateNow();
  }

  /** Path of the new keyspace file. */
  get keyspace(): string {
    return join(this.path, this.#keyspaceName);
  }

  get #keyspaceName(): string {
    return `keyspace-${this.number}.db`;
  }

  /** Begins a restore where none has left anything. */
  static async begin(folder: string): Promise<Staging> {
    const names = readdirSync(folder).map((name) => Number(KEYSPACE_FILE.exec(name)?.[1] ?? 0));
    const taken = new Set(names);
    // The lowest one: the numbers do not grow with each restore.
    const number = Array.from({ length: taken.size + 1 }, (_, index) => index + 1).find((n) => !taken.has(n));
    const staging = new Staging(folder, number ?? 1);
    await mkdir(staging.path, { mode: 0o700 });
    return staging;
  }

  /**
   * Locks the finished psyncd.db, also under its later name, until `release`.
   * @param runId that it has
   * @throws InUseError or BackupError if another restore is at work
   */
  lock(runId: RunId): void {
    this.#lock = lockWhole(join(this.path, STATE_FILE));
    if (this.#lock.prepare('SELECT run_id FROM node').pluck().get() !== runId) {
      throw new BackupError(`a restore is at work in ${this.path}`);
    }
  }

  /** Lets other processes have the files of the node. */
  release(): void {
    this.#lock?.close();
    this.#lock = null;
  }

  /**
   * Makes the new files those of the node.
   * @param aside name of the folder for the present ones; null: there are none
   * @param lock of the present psyncd.db, which has no WAL then; null: there is none, or a damaged one
   * @returns the path of the folder with the replaced files; null: there were none
   */
  async finish(aside: string | null, lock: Connection | null): Promise<string | null> {
    const { folder, path } = this;
    await syncFolder(path);
    await waitingFaultPoint('restore-staged');
    const replaced = aside === null ? [] : await this.#nameAgain(aside, lock !== null);
    await waitingFaultPoint('restore-file');
    await this.#place();
    // SQLite would apply the WAL of the present psyncd.db, which has something in it for a damaged one only, to the new one.
    for (const name of readdirSync(folder)) if (STATE_COMPANION.test(name)) await rm(join(folder, name));
    await syncFolder(folder);
    await waitingFaultPoint('restore-switch');
    // A node may have begun in an empty folder, or have set a damaged psyncd.db aside, since this restore has looked.
    if (this.#stateNow() !== this.#before)
      throw new BackupError(`${folder} is in use by another process; stop that one first`);
    await rename(join(path, STATE_FILE), join(folder, STATE_FILE));
    await syncFolder(folder).catch((error: unknown) => {
      throw new BackupError(
        `${folder} has what the backup holds, but the disk did not confirm it: ${messageOf(error)}; check it with psyncd verify`,
      );
    });
    // The restore is done. The next start finishes what fails now, but for a list of tokens, which the node then uses.
    const kept = await this.#tidy(replaced).catch(() => null);
    return kept ?? (aside === null ? null : join(path, aside));
  }

  /**
   * Removes the first names of the replaced files, and the folder in which the new ones were made.
   * @returns the path of the folder with the replaced files; null: there were none
   */
  async #tidy(replaced: readonly string[]): Promise<string | null> {
    await waitingFaultPoint('restore-switched');
    // The note that the node needs tokens stays, so that it refuses to start without.
    for (const name of replaced)
      if (TOKENS_FILE.test(name)) await rm(join(this.folder, name), { force: true });
    const kept = await keepReplaced(this.folder);
    await rm(this.path, { recursive: true, force: true });
    await syncFolder(this.folder);
    await waitingFaultPoint('restore-end');
    return kept;
  }

  /** Removes the new files after a failure. */
  async discard(): Promise<void> {
    this.release();
    await clearInterrupted(this.folder);
  }

  #stateNow(): number | null {
    return statSync(join(this.folder, STATE_FILE), { throwIfNoEntry: false })?.ino ?? null;
  }

  /** Gives the new files but psyncd.db their places; the next restore knows them by their names here, if there is no switch. */
  async #place(): Promise<void> {
    await this.#placeFile(this.#keyspaceName);
    // A node that starts in the folder finds the note, or no psyncd.db yet.
    if (isGuarded(this.path) && !isGuarded(this.folder)) await this.#placeFile(GUARD_FILE);
  }

  async #placeFile(name: string): Promise<void> {
    const [from, to] = [join(this.path, name), join(this.folder, name)];
    try {
      await link(from, to);
    } catch (error) {
      if (!NO_LINKS.has(codeOf(error))) throw error;
      await rename(from, to);
    }
  }

  /** Gives the present files of the node second names. @returns their names */
  async #nameAgain(aside: string, isLocked: boolean): Promise<readonly string[]> {
    await waitingFaultPoint('restore-aside');
    const to = join(this.path, aside);
    await mkdir(to, { mode: 0o700 });
    const names = presentFiles(this.folder).filter((name) => !(isLocked && STATE_COMPANION.test(name)));
    for (const name of names) await link(join(this.folder, name), join(to, name));
    await syncFolder(to);
    await syncFolder(this.path);
    return names;
  }
}

/** @returns the names of the files of a node in its data folder; what was set aside before stays where it is */
export function presentFiles(folder: string): readonly string[] {
  return readdirSync(folder).filter(
    (name) => NODE_FILE.test(name) || TOKENS_FILE.test(name) || name === GUARD_FILE,
  );
}

/** Says why a folder cannot get second names of files. */
export function linkFailure(error: unknown, folder: string): unknown {
  if (!NO_LINKS.has(codeOf(error))) return error;
  return new BackupError(
    `the file system of ${folder} cannot give a file a second name: restore into an empty folder on another file system, or move the present files away first`,
  );
}
