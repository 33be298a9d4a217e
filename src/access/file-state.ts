/** Tells whether a file has changed. `fs.watch` misses files that a rename or a symbolic link exchanges. */
import { stat } from 'node:fs/promises';

/** How often files with tokens and keys are looked at, in milliseconds: open streams end within a second. */
export const LOOK_MS = 400;

/**
 * @returns what tells one state of the file from another; empty: there is no such file
 * @throws Error of the system if the file cannot be looked at
 */
export async function fileState(path: string): Promise<string> {
  try {
    const { ino, size, mtimeMs, ctimeMs } = await stat(path);
    return `${ino}:${size}:${mtimeMs}:${ctimeMs}`;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}
