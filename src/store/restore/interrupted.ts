/**
 * Puts in order what an interrupted restore has left in a data folder: it undoes a restore that did not come to the switch, and
 * finishes one that did. As long as `restoring/` has psyncd.db, there was no switch.
 */
import { existsSync } from 'node:fs';
import { link, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import {
  GUARD_FILE,
  KEYSPACE_FILE,
  NODE_FILE,
  REPLACED_FOLDER,
  RESTORING_FOLDER,
  STATE_FILE,
} from '../folder-names.ts';
import { InUseError } from '../start-error.ts';
import { lockState } from '../state/state-opening.ts';
import { syncFolder } from '../sync-folder.ts';
import { isSameFile } from './shared-file.ts';

const STATE_WAL = `${STATE_FILE}-wal`;

/**
 * Makes the files of the data folder what they were, if a restore was interrupted just before its switch. Called before SQLite opens
 * psyncd.db, because the restore of a damaged one takes its WAL away.
 * @throws InUseError if another restore is at work
 */
export async function mendInterrupted(folder: string): Promise<void> {
  const path = join(folder, RESTORING_FOLDER);
  if (!existsSync(join(path, STATE_FILE))) return;
  refuseAtWork(path);
  for (const aside of await asidesIn(path)) {
    const wal = join(path, aside, STATE_WAL);
    const to = join(folder, STATE_WAL);
    const isOf = isSameFile(join(folder, STATE_FILE), join(path, aside, STATE_FILE));
    if (!isOf || !existsSync(wal) || existsSync(to)) continue;
    await link(wal, to);
    await syncFolder(folder);
  }
}

/**
 * Removes `restoring/`, and what else an interrupted restore has left. The files that it has replaced stay, in `replaced-…/`.
 * @throws InUseError if another restore is at work
 */
export async function clearInterrupted(folder: string): Promise<void> {
  const path = join(folder, RESTORING_FOLDER);
  if (!existsSync(path)) return;
  if (existsSync(join(path, STATE_FILE))) {
    refuseAtWork(path);
    await undo(folder, path);
  } else await keepReplaced(folder);
  await rm(path, { recursive: true, force: true });
  await syncFolder(folder);
}

/**
 * Gives the replaced files their place beside the new ones, when they have no other names any more.
 * @returns the path of their folder; null: there were none
 */
export async function keepReplaced(folder: string): Promise<string | null> {
  const path = join(folder, RESTORING_FOLDER);
  let kept: string | null = null;
  for (const aside of await asidesIn(path)) {
    for (const name of await readdir(join(path, aside))) {
      const first = join(folder, name);
      if (NODE_FILE.test(name) && isSameFile(first, join(path, aside, name))) await rm(first);
    }
    kept = join(folder, freeAside(folder, aside));
    await rename(join(path, aside), kept);
    await syncFolder(folder);
  }
  return kept;
}

/** @returns the name, or with a higher number if there is such a folder already */
function freeAside(folder: string, name: string): string {
  if (!existsSync(join(folder, name))) return name;
  return freeAside(
    folder,
    name.replace(/\d+$/, (digits) => String(Number(digits) + 1)),
  );
}

/** @returns why the folder has no node, and what to do, if a restore into a new folder was interrupted there; null: it was not */
export function interruptedIn(folder: string): string | null {
  if (!existsSync(join(folder, RESTORING_FOLDER)) || existsSync(join(folder, STATE_FILE))) return null;
  return `${folder} is no data folder of psyncd yet: a restore into it was interrupted, or is at work; run the restore again`;
}

/** Leaves the data folder as it was before the restore. psyncd.db goes last, with the folder. */
async function undo(folder: string, path: string): Promise<void> {
  for (const aside of await asidesIn(path)) await rm(join(path, aside), { recursive: true });
  for (const name of await readdir(path)) {
    if ((KEYSPACE_FILE.test(name) || name === GUARD_FILE) && isSameFile(join(path, name), join(folder, name)))
      await rm(join(folder, name));
  }
  await syncFolder(path);
  await syncFolder(folder);
}

async function asidesIn(path: string): Promise<readonly string[]> {
  return (await readdir(path)).filter((name) => REPLACED_FOLDER.test(name));
}

/** @param path of the folder in which a restore makes its files */
function refuseAtWork(path: string): void {
  try {
    lockState(join(path, STATE_FILE)).close();
  } catch (error) {
    if (error instanceof InUseError) throw new InUseError(`a restore is at work in ${path}`);
    // What is left of a psyncd.db that was not finished.
  }
}
