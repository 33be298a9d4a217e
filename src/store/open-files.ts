/**
 * Notices that an open database file is no longer in its place: removed, renamed or replaced, alone or with its folder.
 * SQLite does not notice: it keeps writing to the file that it has open, and that data is gone when the process ends.
 */
import { type BigIntStats, statSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { LOST_FILE, StorageError } from '../node/ports/failures.ts';
import type { Log } from '../node/ports/world.ts';
import { logUnexpected, unattended } from '../node/unattended.ts';
import { codeOf } from './storage-failure.ts';

/** Interval between two looks, in milliseconds. Writes between a loss and the next look are lost. */
const LOOK_MS = 1_000;
/** Suffixes of the files that SQLite keeps while a database is open. */
const SUFFIXES = ['', '-wal', '-shm'] as const;

/** Device and inode of a file; null: the file has not been seen yet. */
type Identity = string | null;

export interface WatchedFile {
  /** @throws StorageError if the file is gone or replaced now */
  check(): void;
  /** Stops watching. To be called before the file is closed, because closing removes SQLite's companion files. */
  release(): void;
}

export class OpenFiles {
  readonly #log: Log;
  readonly #files = new Map<string, Identity>();
  #lost: string | null = null;
  #timer: NodeJS.Timeout | undefined;

  constructor(log: Log) {
    this.#log = log;
  }

  /** One line for people that names the missing file and says what to do; null: all files are in their places. */
  get lost(): string | null {
    return this.#lost;
  }

  /** @param path a database file that SQLite has just opened */
  watch(path: string): WatchedFile {
    const paths = SUFFIXES.map((suffix) => path + suffix);
    for (const each of paths) this.#files.set(each, identityNow(each));
    if (this.#timer === undefined) this.#lookLater();
    return {
      check: () => {
        const known = this.#files.get(path) ?? null;
        if (known !== identityNow(path)) throw new StorageError(LOST_FILE, false, undefined, lossOf(path));
      },
      release: () => {
        for (const each of paths) this.#files.delete(each);
      },
    };
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#files.clear();
  }

  #lookLater(): void {
    const look = (): void =>
      unattended(this.#look(), (error) => {
        logUnexpected(this.#log, 'open-files', error);
        this.#lookLater();
      });
    this.#timer = setTimeout(look, LOOK_MS).unref();
  }

  async #look(): Promise<void> {
    let lost: string | null = null;
    for (const path of this.#files.keys()) {
      const found = await identity(path);
      const known = this.#files.get(path);
      // The file was closed during the look, or the system gave no answer.
      if (known === undefined || found === undefined) continue;
      if (known === null) this.#files.set(path, found);
      else if (found !== known) lost ??= lossOf(path);
    }
    if (lost !== null && this.#lost === null) this.#log.error('files-lost', { error: lost });
    if (lost === null && this.#lost !== null) this.#log.warn('files-back');
    this.#lost = lost;
    if (this.#files.size > 0) this.#lookLater();
    else this.#timer = undefined;
  }
}

function lossOf(path: string): string {
  return (
    `${path} is no longer the file that this node has open: it was removed, renamed or replaced. If you put that file ` +
    'back, the node continues; otherwise stop the node and restore the folder from a copy, or promote a replica'
  );
}

/** @returns null if there is no file; undefined if the system gives no answer */
async function identity(path: string): Promise<Identity | undefined> {
  try {
    return named(await stat(path, { bigint: true }));
  } catch (error) {
    return isMissing(error) ? null : undefined;
  }
}

function identityNow(path: string): Identity {
  const found = statSync(path, { bigint: true, throwIfNoEntry: false });
  return found === undefined ? null : named(found);
}

function named({ dev, ino }: BigIntStats): string {
  return `${dev}:${ino}`;
}

function isMissing(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR'].includes(codeOf(error));
}
