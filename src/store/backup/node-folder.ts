/** Finds the data folder of a node around a path. */
import { existsSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { STATE_FILE } from '../folder-names.ts';

/**
 * @param folder that exists
 * @returns the nearest data folder that is this folder or has it anywhere inside of it, by real paths; null: there is none
 */
export function nodeFolderOf(folder: string): string | null {
  for (let path = realpathSync(folder); ; path = dirname(path)) {
    if (existsSync(join(path, STATE_FILE))) return path;
    if (path === dirname(path)) return null;
  }
}
