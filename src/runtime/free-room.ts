/** Asks the system how much room is left on a disk. */
import { statfs } from 'node:fs/promises';

/** @returns bytes that this process may still write into files of the folder @throws Error of the system */
export async function freeBytesIn(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}
