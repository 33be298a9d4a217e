/**
 * Notices that another folder has a file of the node too, under a second name of the same file, as after `cp --link`. Two nodes
 * would write into one file; SQLite does not notice, because each of them has a WAL of its own.
 */
import { readdirSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { REPLACED_FOLDER, RESTORING_FOLDER } from '../folder-names.ts';
import { StartError } from '../start-error.ts';

/**
 * Looks before SQLite opens the file.
 * @param path of a file in a data folder; nothing is done if it is missing
 * @throws StartError if another folder has the file
 */
export function refuseSharedFile(path: string): void {
  const names = statSync(path, { throwIfNoEntry: false })?.nlink ?? 1;
  if (names <= 1) return;
  // What an interrupted restore has left goes with the next start or restore.
  const own =
    1 + staged(dirname(path)).filter((folder) => isSameFile(path, join(folder, basename(path)))).length;
  if (names <= own) return;
  throw new StartError(
    `${path} has ${names} names: another folder has the same file, and two nodes would write into it; ` +
      'find it with find -samefile, and remove it there, or replace one of them by a copy',
  );
}

/** @returns the folders in which a restore of this data folder has files */
function staged(folder: string): readonly string[] {
  const path = join(folder, RESTORING_FOLDER);
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() !== true) return [];
  const asides = readdirSync(path).filter((name) => REPLACED_FOLDER.test(name));
  return [path, ...asides.map((name) => join(path, name))];
}

/** Whether both paths name one file. */
export function isSameFile(one: string, other: string): boolean {
  const [a, b] = [one, other].map((path) => statSync(path, { bigint: true, throwIfNoEntry: false }));
  return a !== undefined && b !== undefined && a.ino === b.ino && a.dev === b.dev;
}
