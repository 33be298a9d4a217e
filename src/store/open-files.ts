/**
 * Notices that a database file which this process has open is not in its place any more: removed, renamed, or replaced by
 * another one, alone or with its folder. SQLite would not: it goes on with the file that it has open, and whatever it
 * writes there is gone when the process ends.
 */
import { type BigIntStats, statSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { type Log, StorageError } from '../node/ports.ts';
import { logUnexpected, unattended } from '../node/unattended.ts';
import { codeOf } from './storage-failure.ts';

/** How often the files are looked for, in milliseconds. What is written between a loss and the next look is lost with it. */
const LOOK_MS = 1_000;
/** What SQLite keeps beside a database file as long as it is open. */
const SUFFIXES = ['', '-wal', '-shm'] as const;

/** Which file it is: the inode and its device; null: it has not been there yet. */
type Identity = string | null;

export interface WatchedFile {
  /** @throws StorageError if another file has its place, or none, now */
  check(): void;
  /** To be called before the file is closed: SQLite removes what it keeps beside it then. */
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

  /** What is not in its place any more, and what to do, in one line for people; null: everything is. */
  get lost(): string | null {
    return this.#lost;
  }

  /** @param path of a database file that SQLite has just opened */
  watch(path: string): WatchedFile {
    const paths = SUFFIXES.map((suffix) => path + suffix);
    for (const each of paths) this.#files.set(each, identityNow(each));
    if (this.#timer === undefined) this.#lookLater();
    return {
      check: () => {
        const known = this.#files.get(path) ?? null;
        if (known !== identityNow(path)) throw new StorageError(lossOf(path), false);
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
      // It was closed meanwhile; or the system does not tell.
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
    `${path} is not the file any more that this node has open: it was removed, renamed or replaced. If that file comes ` +
    'back, the node goes on; else stop the node and restore the folder from a copy, or let a replica take over'
  );
}

/** @returns null if there is no file; undefined if that cannot be said */
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
