/**
 * Where Node keeps compiled code for the next start, which makes half of the time of a start.
 *
 * Node runs what it finds there, and compares it with nothing but a sum of the source. So the folder must be one in which nobody
 * else may write: not the system's folder for temporary files, which is Node's own choice.
 */
import { mkdirSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';

/** Bits of a mode that let the group or others write. */
const WRITABLE_BY_OTHERS = 0o022;
/** Bit of a mode with which nobody may move what belongs to others, as in the folder for temporary files. */
const STICKY = 0o1000;

/** @returns the folder, which is there now; null: there is none that belongs to this user alone, and code is compiled anew */
export function compileCacheFolder(): string | null {
  try {
    const { XDG_CACHE_HOME: given = '' } = process.env;
    const folder = join(isAbsolute(given) ? given : join(homedir(), '.cache'), 'psyncd', 'compiled');
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    if (!isSafe(folder, 0)) return null;
    for (let path = dirname(folder); path !== dirname(path); path = dirname(path)) {
      if (!isSafe(path, STICKY)) return null;
    }
    return folder;
  } catch {
    return null;
  }
}

/**
 * Whether only this user and the administrator can change what the folder holds.
 * @param enough bits of a mode that also make it safe
 */
function isSafe(folder: string, enough: number): boolean {
  // Windows has neither users nor modes of this kind; a home there is the user's own.
  const user = process.getuid?.();
  if (user === undefined) return true;
  const { uid, mode } = statSync(folder);
  return (uid === user || uid === 0) && ((mode & WRITABLE_BY_OTHERS) === 0 || (mode & enough) !== 0);
}
