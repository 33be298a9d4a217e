/** Files and folders on a disk, for targets. */
import { type FileHandle, open as openFile, realpath } from 'node:fs/promises';
import { sep } from 'node:path';

/** Number of bytes that are copied at a time. */
export const PART_BYTES = 1024 * 1024;
/** Number of bytes after which the disk takes what was written: otherwise the next fsync of others would wait for all of it. */
const SYNC_BYTES = 32 * PART_BYTES;

/** Looks whether the rest of a file has room. @param written bytes of it so far @throws what RoomCheck throws */
export type Look = (written: number) => Promise<void>;

/** Writes the parts one after the other, and makes the file durable. */
export async function copyInto(
  into: FileHandle,
  parts: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  signal: AbortSignal | undefined,
  look: Look,
): Promise<void> {
  let [unsynced, written] = [0, 0];
  for await (const part of parts) {
    for (let at = 0; at < part.length; ) {
      signal?.throwIfAborted();
      const { bytesWritten } = await into.write(part, at, Math.min(PART_BYTES, part.length - at));
      at += bytesWritten;
      written += bytesWritten;
      unsynced += bytesWritten;
      if (unsynced < SYNC_BYTES) continue;
      await into.datasync();
      await look(written);
      unsynced = 0;
    }
  }
  await into.sync();
}

/** Makes the file names in a folder durable. Windows offers no such call. */
export async function syncFolder(path: string): Promise<void> {
  if (process.platform === 'win32') return;
  const folder = await openFile(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** @returns what was asked for; null: it is not there */
export async function unlessGone<T>(asked: Promise<T>): Promise<T | null> {
  try {
    return await asked;
  } catch (error) {
    if (isGone(error)) return null;
    throw error;
  }
}

export function isGone(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR');
}

/** Whether a folder is the other one, or in it. @param path its real path @param folder the real path of the other one */
export function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder.endsWith(sep) ? folder : folder + sep);
}

/** Whether one of two folders is the other one, or in it. @param one its real path @param other the real path of the other one */
export function overlap(one: string, other: string): boolean {
  return isWithin(one, other) || isWithin(other, one);
}

/** @returns the path without links; null: nothing is there, or a link leads to itself */
export async function realPathOf(path: string): Promise<string | null> {
  try {
    return await unlessGone(realpath(path));
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ELOOP') return null;
    throw error;
  }
}
