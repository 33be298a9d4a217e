/**
 * The folder `snapshots` in the data folder: copies of frozen keyspace files, for downloads. A copy has a temporary name until it
 * is complete; backups on their way into a target have names of their own. The process that made a copy removes it: a start and an orderly stop remove all of them, so copies need not
 * outlast a power cut. Files with other names are not the node's, and stay.
 */
import { type FileHandle, mkdir, open, readdir, rename, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { StorageError } from '../../node/ports/failures.ts';
import type { FrozenFile } from '../../node/ports/keyspace.ts';
import type { Copying, SnapshotCopy, SnapshotFiles } from '../../node/ports/snapshot-files.ts';
import type { Position } from '../../replication/position.ts';
import { freeBytesIn } from '../../runtime/free-room.ts';
import { faultPoint, waitingFaultPoint } from '../fault-point.ts';
import { SNAPSHOTS_FOLDER } from '../folder-names.ts';
import { codeOf, storageFailure } from '../storage-failure.ts';
import { COPY_FILE, copyPath } from './copy-names.ts';

/** Codes when there is no such folder, or when it holds what is not the node's. */
const NOT_OURS = new Set(['ENOENT', 'ENOTDIR', 'ENOTEMPTY', 'EEXIST']);

export class SnapshotFolder implements SnapshotFiles {
  readonly #parent: string;
  readonly #path: string;

  /** @param parent path of the data folder */
  constructor(parent: string) {
    this.#parent = parent;
    this.#path = join(parent, SNAPSHOTS_FOLDER);
  }

  async freeBytes(): Promise<number> {
    try {
      faultPoint('copy-room');
      return await freeBytesIn(this.#parent);
    } catch (error) {
      throw storageFailure(error);
    }
  }

  copy(file: FrozenFile, hash: bigint | null): Copying {
    const path = copyPath(this.#parent, file.position);
    const part = `${path}.part`;
    let stop = (): void => undefined;
    let copiedBytes = (): number => 0;
    let isStopped = false;
    const made = async (): Promise<SnapshotCopy | null> => {
      try {
        await mkdir(this.#path, { recursive: true, mode: 0o700 });
        await waitingFaultPoint('copy-create');
        if (isStopped) return null;
        const copying = file.copyTo(part);
        ({ stop, copiedBytes } = copying);
        const sha256 = await copying.done;
        if (sha256 === null) {
          await rm(part, { force: true });
          return null;
        }
        return await finished(part, path, { position: file.position, length: file.length, sha256, hash });
      } catch (error) {
        await rm(part, { force: true }).catch(() => undefined);
        throw storageFailure(error);
      }
    };
    return {
      done: made(),
      copiedBytes: () => copiedBytes(),
      stop: () => {
        isStopped = true;
        stop();
      },
    };
  }

  async clear(): Promise<void> {
    try {
      for (const name of await readdir(this.#path)) {
        if (COPY_FILE.test(name)) await rm(join(this.#path, name), { force: true });
      }
      await rmdir(this.#path);
    } catch (error) {
      if (!NOT_OURS.has(codeOf(error))) throw error;
    }
  }
}

/** Gives a complete copy its name, and opens it. */
async function finished(
  part: string,
  path: string,
  told: { position: Position; length: number; sha256: string; hash: bigint | null },
): Promise<SnapshotCopy> {
  faultPoint('copy-rename');
  await rename(part, path);
  let file: FileHandle;
  try {
    file = await open(path, 'r');
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  }
  return {
    ...told,
    read: async (at, into) => {
      try {
        faultPoint('copy-read');
        const { bytesRead } = await file.read(into, 0, into.length, at);
        if (bytesRead === 0)
          throw new StorageError(
            'the copy is shorter than it was',
            false,
            undefined,
            `${path} is shorter than it was`,
          );
        return into.subarray(0, bytesRead);
      } catch (error) {
        throw error instanceof StorageError ? error : storageFailure(error);
      }
    },
    remove: () => rm(path, { force: true }),
    close: () => file.close(),
  };
}
