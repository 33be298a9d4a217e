/** The folders of files that earlier restores have replaced. psyncd removes none of them. */
import { readdirSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { REPLACED_FOLDER } from '../folder-names.ts';

export interface Earlier {
  /** Number of folders. */
  readonly folders: number;
  /** Length of all their files. */
  readonly bytes: number;
}

/**
 * @param folder data folder that is there
 * @param own path of the folder of this restore, which does not count; null: it has none
 */
export function earlierIn(folder: string, own: string | null): Earlier {
  const isEarlier = (name: string): boolean =>
    REPLACED_FOLDER.test(name) && (own === null || name !== basename(own));
  const found = readdirSync(folder, { withFileTypes: true });
  const folders = found.filter((entry) => entry.isDirectory() && isEarlier(entry.name));
  const lengths = folders.map(({ name }) => lengthOf(join(folder, name)));
  return { folders: folders.length, bytes: lengths.reduce((sum, each) => sum + each, 0) };
}

/** @returns the length of all files in the folder; 0: it cannot be read */
function lengthOf(folder: string): number {
  try {
    const lengths = readdirSync(folder).map((name) => statSync(join(folder, name)).size);
    return lengths.reduce((sum, each) => sum + each, 0);
  } catch {
    return 0;
  }
}
