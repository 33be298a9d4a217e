/** Makes backups of the node's own copies of its keyspace file, in the folder of these copies. */
import { rm } from 'node:fs/promises';
import { Worker } from 'node:worker_threads';
import type { BackupFile, BackupFiles, BackupOrigin, SnapshotCopy } from '../../node/ports/snapshot-files.ts';
import { lengthInHeader } from '../backup/backup-header.ts';
import { isOfSystem, storageFailure } from '../storage-failure.ts';
import { workerUrl } from '../worker-url.ts';
import { type BackupKind, backupPath, copyPath } from './copy-names.ts';
import type { SealAnswer, SealTask } from './seal-thread.ts';

export class BackupMaker implements BackupFiles {
  readonly lengthIn = lengthInHeader;
  readonly #folder: string;
  readonly #version: string;
  readonly #needsTokens: () => boolean;
  readonly #kind: BackupKind;

  /**
   * @param folder the data folder
   * @param version of this psyncd
   * @param needsTokens whether a node with a backup must not start without tokens
   * @param kind each kind has files of its own
   */
  constructor(folder: string, version: string, needsTokens: () => boolean, kind: BackupKind = 'backup') {
    this.#folder = folder;
    this.#version = version;
    this.#needsTokens = needsTokens;
    this.#kind = kind;
  }

  async make(copy: SnapshotCopy, origin: BackupOrigin, signal: AbortSignal): Promise<BackupFile> {
    const { position, sha256, hash } = copy;
    const path = backupPath(this.#folder, position, this.#kind);
    const remove = async (): Promise<void> => {
      // SQLite may have left its journal when the thread ended.
      for (const suffix of ['', '-journal']) await rm(path + suffix, { force: true });
    };
    try {
      await remove();
      const { bytes, keys } = await sealed(
        {
          from: copyPath(this.#folder, position),
          sha256,
          to: path,
          origin: { version: this.#version, position, hash, guarded: this.#needsTokens(), ...origin },
        },
        signal,
      );
      return { path, length: bytes, keys, remove };
    } catch (error) {
      await remove().catch(() => undefined);
      signal.throwIfAborted();
      throw isOfSystem(error) ? storageFailure(error) : error;
    }
  }
}

/** Runs the thread; when the signal ends it, the call waits until it has ended. */
async function sealed(task: SealTask, signal: AbortSignal): Promise<SealAnswer> {
  signal.throwIfAborted();
  const thread = new Worker(workerUrl(import.meta.url, 'seal-thread'), { workerData: task });
  const { promise, resolve, reject } = Promise.withResolvers<SealAnswer>();
  thread.once('message', resolve);
  thread.once('error', reject);
  thread.once('exit', () => reject(new Error(`the backup ${task.to} was not finished`)));
  const end = (): void => {
    thread.terminate().then(() => reject(signal.reason), reject);
  };
  signal.addEventListener('abort', end, { once: true });
  try {
    return await promise;
  } finally {
    signal.removeEventListener('abort', end);
  }
}
