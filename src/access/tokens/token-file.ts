/**
 * `tokens.json` on the disk. The command line and a running node may both change it: each change first makes the file
 * `tokens.json.new`, which only one of them can do, and then renames it into place.
 */
import {
  closeSync,
  fchownSync,
  fstatSync,
  fsync,
  lstatSync,
  mkdirSync,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  write,
} from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { atOnce, type Steps } from '../../keyspace/json/json.ts';
import { readSmallFile } from '../../runtime/small-file.ts';
import {
  formatSteps,
  TokenFileError,
  TokenListError,
  type TokenRecord,
  tokenListSteps,
} from './token-list.ts';

/** Largest list, in bytes: some 40,000 tokens. */
export const MAX_TOKENS_BYTES = 16 * 1024 * 1024;
/** How often a change asks again for the file that another process is changing, and how long it waits between. */
const ATTEMPTS = 50;
const RETRY_MS = 20;
const CHANGED_MEANWHILE = 'another process changes the list; try again';
/** A change takes milliseconds: what is older was left by a process that was killed. */
const ABANDONED_MS = 10_000;

/**
 * Runs work on so many bytes to its end. A running node has others to serve meanwhile: reading or writing the largest list takes longer
 * than one turn of its event loop may.
 */
export type Taking = <T>(bytes: number, steps: Steps<T>) => T | Promise<T>;

/** Takes all steps at once, in a process that serves nobody. */
export const TAKE_AT_ONCE: Taking = (_bytes, steps) => atOnce(steps);

/**
 * @returns the tokens of the file; null: there is no such file
 * @throws TokenListError if the list cannot be used, Error if the file cannot be read
 */
export function readTokens(path: string): readonly TokenRecord[] | null {
  const bytes = readTokenBytes(path);
  return bytes === null ? null : atOnce(tokenListSteps(bytes));
}

/** As `readTokens`. @param take runs the work @throws TokenFileError if the list cannot be used, Error if the file cannot be read */
export async function takeTokens(path: string, take: Taking): Promise<readonly TokenRecord[] | null> {
  try {
    const bytes = readTokenBytes(path);
    return bytes === null ? null : await take(bytes.length, tokenListSteps(bytes));
  } catch (error) {
    throw error instanceof TokenListError ? new TokenFileError(error.message) : error;
  }
}

/** @returns the bytes of the file; null: there is no such file */
export function readTokenBytes(path: string): Buffer | null {
  try {
    return readSmallFile(path, MAX_TOKENS_BYTES);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    if (error instanceof Error && !('code' in error)) throw new TokenListError(error.message);
    throw error;
  }
}

/**
 * Why there is no file with tokens, if that is no wish of the operator: a link that leads nowhere is a file that is not mounted yet, or a
 * mistake. To be called when the file is not there.
 * @returns null: nothing is at this path
 */
export function missingTarget(path: string): string | null {
  return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true
    ? 'it is a symbolic link to a file that is not there'
    : null;
}

interface Changing<T> {
  /** Gets the present tokens, also of a file that is not there; it may throw. */
  readonly change: (tokens: readonly TokenRecord[]) => T;
  /** Called right before the new list takes the place of the old one; it may throw. */
  readonly decide?: () => void;
  /** Absent: all at once. */
  readonly take?: Taking;
}

/**
 * Replaces the list by a changed one, so that a reader sees the old one or the new one, and so does the next start.
 * @returns what `change` returned
 * @throws TokenListError if the present list cannot be used or the new one is too large, Error if the disk fails
 */
export async function changeTokens<T extends { readonly tokens: readonly TokenRecord[] }>(
  path: string,
  changing: Changing<T>,
): Promise<T> {
  // The data folder, before the first start.
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  return changeFile(realPath(path), changing);
}

/** @returns the file behind a symbolic link, so that the link stays; the path itself if there is no file */
function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return path;
    throw error;
  }
}

async function changeFile<T extends { readonly tokens: readonly TokenRecord[] }>(
  path: string,
  { change, decide = () => undefined, take = TAKE_AT_ONCE }: Changing<T>,
): Promise<T> {
  const temporary = `${path}.new`;
  const file = await openAlone(temporary);
  try {
    keepOwner(path, file);
    const changed = change((await takeTokens(path, take)) ?? []);
    const pieces = await take(MAX_TOKENS_BYTES, formatSteps(changed.tokens));
    const bytes = Buffer.from(pieces.join(''), 'utf8');
    if (bytes.length > MAX_TOKENS_BYTES) {
      throw new TokenListError(`the list would have more than ${MAX_TOKENS_BYTES} bytes`);
    }
    // What is written can be read at the next start.
    await take(bytes.length, tokenListSteps(bytes));
    for (let at = 0; at < bytes.length; ) at += (await promisify(write)(file, bytes, at)).bytesWritten;
    await promisify(fsync)(file);
    // Another process may have taken the file for abandoned.
    if (statSync(temporary).ino !== fstatSync(file).ino) throw new TokenListError(CHANGED_MEANWHILE);
    decide();
    renameSync(temporary, path);
    return changed;
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  } finally {
    closeSync(file);
  }
}

/**
 * Gives the new file the owner of the present one, or of its folder: the node that reads it may run as another user.
 * @throws Error EPERM if that is not possible
 */
function keepOwner(path: string, file: number): void {
  const { uid, gid } = statSync(path, { throwIfNoEntry: false }) ?? statSync(dirname(path));
  if (process.getuid?.() !== uid) fchownSync(file, uid, gid);
}

/** Makes the file; waits while another process has it. */
async function openAlone(path: string): Promise<number> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return openSync(path, 'wx', 0o600);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || attempt === ATTEMPTS) throw error;
    }
    if (isAbandoned(path)) rmSync(path, { force: true });
    else await pause(RETRY_MS);
  }
}

function isAbandoned(path: string): boolean {
  const { mtimeMs } = statSync(path, { throwIfNoEntry: false }) ?? {};
  return mtimeMs !== undefined && Date.now() - mtimeMs > ABANDONED_MS;
}
