/** What becomes of the files of a replica that are damaged, when it is to get everything from its master anew. */
import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { STATE_FILE } from './data-folder.ts';
import { codeOf } from './storage-failure.ts';

const OURS = /^(?:psyncd|keyspace-\d+|replaced-[\w-]+)\.db(?:-wal|-shm)?$/;
const ASIDE = /^damaged-\d+$/;
/** So many of the folders with damaged files are kept. */
const MAX_ASIDE = 3;

/** The master that the folder's node follows, as far as psyncd.db can still be read; null: nobody, or unknown. */
export function upstreamOf(folder: string): string | null {
  const path = join(folder, STATE_FILE);
  if (!existsSync(path)) return null;
  try {
    const db = new Database(path, { readonly: true });
    try {
      return (db.prepare('SELECT upstream FROM node').pluck().get() as string | null | undefined) ?? null;
    } finally {
      db.close();
    }
  } catch {
    // It is the damaged one.
    return null;
  }
}

/**
 * Moves the node's files into a folder `damaged-<ms since 1970>` inside of the data folder. Of such folders the newest
 * three are kept.
 * @returns its path
 */
export async function setAside(folder: string): Promise<string> {
  const names = await readdir(folder);
  const aside = join(folder, `damaged-${Date.now()}`);
  await mkdir(aside);
  // psyncd.db last: without it the folder would be somebody else's.
  const ours = names.filter((name) => OURS.test(name)).sort();
  for (const name of ours) {
    try {
      await rename(join(folder, name), join(aside, name));
    } catch (error) {
      // SQLite removes what belongs to a file that is being closed.
      if (codeOf(error) !== 'ENOENT') throw error;
    }
  }
  const older = names.filter((name) => ASIDE.test(name)).sort();
  for (const name of older.slice(0, Math.max(0, older.length + 1 - MAX_ASIDE))) {
    await rm(join(folder, name), { recursive: true, force: true });
  }
  return aside;
}
