/** What a path that a user has given leads to. */
import { statSync } from 'node:fs';

/** @returns null: to nothing, or it cannot be looked at; whoever opens it says why in one line */
export function kindOf(path: string): 'file' | 'folder' | null {
  try {
    const found = statSync(path, { throwIfNoEntry: false });
    return found?.isDirectory() ? 'folder' : found?.isFile() ? 'file' : null;
  } catch {
    return null;
  }
}
