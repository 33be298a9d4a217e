/**
 * Sets aside the damaged files of a replica that is about to get everything from its master anew.
 *
 * A complete new psyncd.db, which says whose replica the node is, is on disk before any file moves. So after a crash at
 * any point, the next start finds the old psyncd.db or finishes the work; the node never comes up as an empty master.
 */
import { existsSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { faultPoint } from './fault-point.ts';
import {
  ASIDE_FOLDER,
  KEYSPACE_FILE,
  NEXT_STATE_FILE,
  NODE_FILE,
  RESTORING_FOLDER,
  STATE_COMPANION,
  STATE_FILE,
} from './folder-names.ts';
import { isNodeIntact } from './state/node-checksum.ts';
import { makeStateFile } from './state/state-opening.ts';
import type { StateFileSettings } from './state/state-settings.ts';
import { codeOf } from './storage-failure.ts';
import { syncFolder } from './sync-folder.ts';

/** Number of folders with damaged files that are kept. */
const MAX_ASIDE = 3;

/**
 * Reads which master the folder's node follows, as far as psyncd.db is still readable; null: none, or unknown. A node
 * that was handing over, and does not know whether the other node took over, counts as unknown: it may be the only one
 * that has the data.
 */
export function upstreamOf(folder: string): string | null {
  const path = join(folder, STATE_FILE);
  if (!existsSync(path)) return null;
  try {
    const db = new Database(path, { readonly: true });
    try {
      if (!isNodeIntact(db)) return null;
      const upstream = db.prepare('SELECT upstream FROM node WHERE handing_over = 0').pluck().get();
      return (upstream as string | null | undefined) ?? null;
    } finally {
      db.close();
    }
  } catch {
    // psyncd.db is the damaged file.
    return null;
  }
}

/**
 * Whether a node would begin with nothing in the folder, as a master: it has neither a keyspace nor a master that psyncd.db remembers. What
 * an interrupted restore or `setAside` has left is that of a node. In a folder that cannot be read no node begins.
 * @param folder that need not exist
 */
export function beginsAnew(folder: string): boolean {
  let names: readonly string[];
  try {
    names = existsSync(folder) ? readdirSync(folder) : [];
  } catch {
    return false;
  }
  const isNode = (name: string): boolean =>
    name === NEXT_STATE_FILE || name === RESTORING_FOLDER || KEYSPACE_FILE.test(name);
  // A start that was interrupted at its very begin may have left psyncd.db alone.
  return !names.some(isNode) && upstreamOf(folder) === null;
}

/**
 * Moves the node's files into a folder `damaged-<ms since 1970>` inside the data folder, and creates a new psyncd.db
 * with the same role. Keeps the newest three such folders.
 * @returns the path of the new folder
 */
export async function setAside(folder: string, settings: StateFileSettings): Promise<string> {
  faultPoint('aside-begin');
  const next = join(folder, NEXT_STATE_FILE);
  await removeNext(folder);
  makeStateFile(next, settings);
  await syncFolder(folder);
  const names = readdirSync(folder);
  const aside = join(folder, `damaged-${Date.now()}`);
  await mkdir(aside);
  for (const name of inOrder(names.filter((each) => NODE_FILE.test(each)))) {
    faultPoint('aside-file');
    try {
      await rename(join(folder, name), join(aside, name));
    } catch (error) {
      // SQLite removes companion files when another connection closes.
      if (codeOf(error) !== 'ENOENT') throw error;
    }
  }
  faultPoint('aside-switch');
  await rename(next, join(folder, STATE_FILE));
  await syncFolder(folder);
  faultPoint('aside-end');
  const older = names.filter((name) => ASIDE_FOLDER.test(name)).sort();
  for (const name of older.slice(0, Math.max(0, older.length + 1 - MAX_ASIDE))) {
    await rm(join(folder, name), { recursive: true, force: true });
  }
  return aside;
}

/** Finishes an interrupted `setAside`, or undoes it if psyncd.db was not moved yet. */
export function finishSettingAside(folder: string): void {
  const names = readdirSync(folder);
  if (!names.includes(NEXT_STATE_FILE)) return;
  if (names.includes(STATE_FILE)) {
    for (const name of names) if (name.startsWith(NEXT_STATE_FILE)) rmSync(join(folder, name));
    return;
  }
  // Moved too, because SQLite would apply the old WAL to the new file.
  const aside = names
    .filter((name) => ASIDE_FOLDER.test(name))
    .sort()
    .at(-1);
  for (const name of names.filter((each) => STATE_COMPANION.test(each))) {
    if (aside === undefined) rmSync(join(folder, name));
    else renameSync(join(folder, name), join(folder, aside, name));
  }
  renameSync(join(folder, NEXT_STATE_FILE), join(folder, STATE_FILE));
}

async function removeNext(folder: string): Promise<void> {
  for (const suffix of ['-journal', '-wal', '-shm', ''])
    await rm(join(folder, NEXT_STATE_FILE) + suffix, { force: true });
}

/**
 * Puts psyncd.db after the other files, so that it states the node's role to the end, and SQLite's companion files
 * last.
 */
function inOrder(names: readonly string[]): readonly string[] {
  const rank = (name: string): number => (name === STATE_FILE ? 1 : STATE_COMPANION.test(name) ? 2 : 0);
  return names.toSorted((one, other) => rank(one) - rank(other));
}
