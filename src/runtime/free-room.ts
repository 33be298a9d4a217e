/** Asks the system how much room is left on a disk. */
import { statfs } from 'node:fs/promises';

/**
 * @returns bytes that this process may still write into files of the folder; infinity: its file system does not count its blocks, as one in
 *   memory or behind FUSE may not
 * @throws Error of the system
 */
export async function freeBytesIn(folder: string): Promise<number> {
  const { bavail, blocks, bsize } = await statfs(folder);
  return blocks === 0 ? Number.POSITIVE_INFINITY : bavail * bsize;
}
