/** Puts a finished file into its place: whole or not at all, and never over another file unless that is wanted. */
import { existsSync } from 'node:fs';
import { link, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { faultPoint } from '../fault-point.ts';
import { codeOf } from '../storage-failure.ts';
import { syncFolder } from '../sync-folder.ts';
import { BackupError } from './backup-error.ts';

/** Codes of file systems that cannot give a file a second name. */
export const NO_LINKS = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK']);

/**
 * @param from a durable file in the same folder
 * @param isForced whether a file that has the name is replaced
 * @throws BackupError if there is a file
 */
export async function place(from: string, to: string, isForced: boolean): Promise<void> {
  faultPoint('backup-place');
  if (isForced) await rename(from, to);
  else await placeNew(from, to);
  await syncFolder(dirname(to));
  faultPoint('backup-placed');
}

async function placeNew(from: string, to: string): Promise<void> {
  try {
    // Unlike a rename, a link never replaces a file that somebody has made meanwhile.
    await link(from, to);
    await rm(from);
  } catch (error) {
    const code = codeOf(error);
    if (code === 'EEXIST' || (NO_LINKS.has(code) && existsSync(to))) throw isThere(to);
    if (!NO_LINKS.has(code)) throw error;
    await rename(from, to);
  }
}

/** Says that a file is in the way. */
export function isThere(path: string): BackupError {
  return new BackupError(`there is ${path} already; --force replaces it`);
}
