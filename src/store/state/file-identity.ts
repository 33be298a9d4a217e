/**
 * Identifies a file, to tell a copy from the original.
 *
 * Inode and birth time survive a rename, a move within the file system, writes, chmod, and restarts of the process and
 * the machine; a copy has different ones. Device numbers, host names and boot IDs change by themselves, so they do not
 * count.
 */
import { type BigIntStats, chmodSync, statSync } from 'node:fs';

export interface FileIdentity {
  readonly inode: string;
  /** Birth time of the file in nanoseconds since 1970; null: the file system does not record it. */
  readonly bornNs: string | null;
}

/**
 * Reads the identity by path, without opening the file, so that SQLite's locks stay.
 * @throws Error with the system's code if there is no such file
 */
export function identityOf(path: string): FileIdentity {
  const found = statSync(path, { bigint: true });
  return { inode: String(found.ino), bornNs: bornNs(path, found) };
}

/**
 * Whether both are the same file, as far as both birth times are known. The inode alone is not enough: a new file may
 * get the inode of a removed one.
 */
export function isSameFile(one: FileIdentity, other: FileIdentity): boolean {
  if (one.inode !== other.inode) return false;
  return one.bornNs === null || other.bornNs === null || one.bornNs === other.bornNs;
}

/**
 * Reads the birth time. Where the system records none, Node returns 0 or the time of the last change
 * (https://nodejs.org/api/fs.html#statsbirthtime). The two times are also equal in a file that was just created. So
 * this function sets the file's mode to the same value, which changes the time of the last change but not a true birth
 * time.
 */
function bornNs(path: string, { birthtimeNs, ctimeNs, mode }: BigIntStats): string | null {
  if (birthtimeNs === 0n) return null;
  if (birthtimeNs !== ctimeNs) return String(birthtimeNs);
  try {
    chmodSync(path, Number(mode & 0o7777n));
  } catch {
    // Another user owns the file, so psyncd may not change its mode.
    return null;
  }
  const changed = statSync(path, { bigint: true });
  return changed.birthtimeNs === birthtimeNs && changed.ctimeNs !== ctimeNs ? String(birthtimeNs) : null;
}
