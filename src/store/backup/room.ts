/**
 * The room that commands leave on a disk. A running node may have its data there, and refuses writes when the disk is full: so a
 * command that writes large files leaves the reserve of a node free, and ends before there is less.
 */
import { constants } from 'node:fs';
import { copyFile, type FileHandle, open as openFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { DISK_RESERVE_BYTES } from '../../node/head/journal-room.ts';
import { freeBytesIn } from '../../runtime/free-room.ts';
import { BackupError } from './backup-error.ts';

/** Bytes of a file after which the room on the disk is looked at again. */
export const ROOM_BYTES = 16 * 1024 * 1024;
/** Interval between two looks at the room while SQLite writes, in milliseconds. */
const LOOK_MS = 100;
/** Number of bytes that are copied at a time. */
const PART_BYTES = 1024 * 1024;
const OWNER_ONLY_FILE = 0o600;

/**
 * Looks whether a file may grow.
 * @param path of the file, which need not be there
 * @param bytes that it is to get
 * @throws BackupError if less than the reserve of the disk would be free then
 */
export async function checkRoom(path: string, bytes: number): Promise<void> {
  const folder = dirname(path);
  // A disk that does not say how much room it has refuses nothing.
  const free = await freeBytesIn(folder).catch(() => Number.POSITIVE_INFINITY);
  if (free - bytes >= DISK_RESERVE_BYTES) return;
  throw new BackupError(
    `no room in ${folder} for ${bytes} bytes: ${free} are free, and ${DISK_RESERVE_BYTES} have to stay free`,
  );
}

/** Looks at the room again and again while a file grows of which nobody knows how long it becomes. */
export class RoomWatch {
  /** Rejects with BackupError when less than the reserve is free. */
  readonly spent: Promise<never>;
  readonly #path: string;
  readonly #timer: NodeJS.Timeout;

  /** @param path of the file */
  constructor(path: string) {
    const { promise, reject } = Promise.withResolvers<never>();
    promise.catch(() => undefined);
    this.spent = promise;
    this.#path = path;
    this.#timer = setInterval(() => {
      checkRoom(path, 0).catch(reject);
    }, LOOK_MS);
  }

  /** Looks a last time. @throws BackupError */
  async end(): Promise<void> {
    this.close();
    await checkRoom(this.#path, 0);
  }

  close(): void {
    clearInterval(this.#timer);
  }
}

/**
 * Copies a file, or has the copy share its bytes if the file system can do that, which takes no room. After an error a part of the
 * copy may be there.
 * @param to path of the copy, where no file is
 * @throws BackupError if there is no room or no file to copy; Error of the system
 */
export async function copyLeavingRoom(from: string, to: string): Promise<void> {
  // To open a pipe would wait for somebody who writes into it.
  const source = await openFile(from, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  try {
    const found = await source.stat();
    if (!found.isFile()) throw new BackupError(`${from} is no file`);
    if (await shares(from, to)) return;
    await checkRoom(to, found.size);
    const copy = await openFile(to, 'wx', OWNER_ONLY_FILE);
    try {
      await copyInto(copy, source, found.size, to);
    } finally {
      await copy.close();
    }
  } finally {
    await source.close();
  }
}

/** @returns whether there is a copy now */
async function shares(from: string, to: string): Promise<boolean> {
  try {
    await copyFile(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE_FORCE);
    return true;
  } catch {
    // Whatever else is wrong, the copying itself tells.
    return false;
  }
}

/** @param size where the bytes end, also if somebody adds to the source */
async function copyInto(copy: FileHandle, source: FileHandle, size: number, to: string): Promise<void> {
  const part = Buffer.allocUnsafeSlow(PART_BYTES);
  for (let at = 0, unlooked = 0; at < size; ) {
    const { bytesRead } = await source.read(part, 0, Math.min(PART_BYTES, size - at), at);
    if (bytesRead === 0) return;
    // A full disk may take a part of them: only the next write says why.
    for (let done = 0; done < bytesRead; ) {
      done += (await copy.write(part, done, bytesRead - done, at + done)).bytesWritten;
    }
    at += bytesRead;
    unlooked += bytesRead;
    if (unlooked < ROOM_BYTES) continue;
    unlooked = 0;
    await checkRoom(to, size - at);
  }
}
