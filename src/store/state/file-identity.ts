/**
 * Which file a path names, so that a copy of it is told from the file itself.
 *
 * The inode and the birth time stay with a file when it is renamed, moved on its file system, written or chmodded, and over
 * restarts of the process and of the machine. A copy has others. Device numbers, host names and boot IDs change by themselves,
 * and are not looked at.
 */
import { type BigIntStats, chmodSync, statSync } from 'node:fs';

export interface FileIdentity {
  readonly inode: string;
  /** When the file was made, in nanoseconds since 1970; null: the file system does not tell. */
  readonly bornNs: string | null;
}

/**
 * Looks at the file by its path: it opens nothing, so SQLite's locks stay.
 * @throws Error with the system's code when there is no such file
 */
export function identityOf(path: string): FileIdentity {
  const found = statSync(path, { bigint: true });
  return { inode: String(found.ino), bornNs: bornNs(path, found) };
}

/** Whether both are the same file, as far as both birth times are known. A new file may have the inode of one that was removed. */
export function isSameFile(one: FileIdentity, other: FileIdentity): boolean {
  if (one.inode !== other.inode) return false;
  return one.bornNs === null || other.bornNs === null || one.bornNs === other.bornNs;
}

/**
 * Where the system tells no birth time, Node shows 0 or the time of the last change in its place
 * (https://nodejs.org/api/fs.html#statsbirthtime). A file that was written at once after it was made has both times too: so
 * the file is changed once more, by giving it the mode that it has, and a true birth time stays what it was.
 */
function bornNs(path: string, { birthtimeNs, ctimeNs, mode }: BigIntStats): string | null {
  if (birthtimeNs === 0n) return null;
  if (birthtimeNs !== ctimeNs) return String(birthtimeNs);
  try {
    chmodSync(path, Number(mode & 0o7777n));
  } catch {
    // It belongs to somebody else.
    return null;
  }
  const changed = statSync(path, { bigint: true });
  return changed.birthtimeNs === birthtimeNs && changed.ctimeNs !== ctimeNs ? String(birthtimeNs) : null;
}
