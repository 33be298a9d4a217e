/** `psyncd export`: writes a node's entries as NDJSON into a file or to standard output, and shows progress. */
import { constants } from 'node:fs';
import { lstat, open, readlink, realpath, rename, rm, stat } from 'node:fs/promises';
import { constants as systemConstants } from 'node:os';
import { dirname, resolve } from 'node:path';
import { Readable, Transform, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Client } from '../../client/full/client.ts';
import { CommandError } from '../command-error.ts';
import { counted } from '../output/info.ts';
import { printable } from '../output/printable.ts';
import { progress } from '../output/progress.ts';

export interface Exported {
  readonly exported: number;
  /** The position of all entries in the file. */
  readonly position: string;
}

const NEWLINE = 0x0a;
/** Number of symbolic links to follow, the same as on Linux. */
const MAX_LINKS = 40;

/** Signals that end an export; what it has written so far is removed. */
const SIGNALS = ['SIGHUP', 'SIGINT', 'SIGTERM'] as const;
/** Shells report a program that a signal has ended by this and the number of the signal. */
const BY_SIGNAL = 128;

/** Mode of the file: only its owner may read the entries. */
const FILE_MODE = 0o600;

/**
 * @param path a file, or `-` for standard output. The file appears when it is complete. A symbolic link stays, and its
 * target is replaced. A device or FIFO is written to directly.
 * @param prefix of the keys; empty: all keys
 * @throws CommandError when the file cannot be written
 */
export async function exportFile(path: string, node: Client, prefix: string): Promise<Exported> {
  const place = path === '-' ? null : await naming(path, () => placeOf(path));
  const { position, lines } = await node.export(prefix);
  const source = Readable.fromWeb(lines as Parameters<typeof Readable.fromWeb>[0]);
  if (place === null)
    return { exported: await copy(source, process.stdout, !process.stdout.isTTY), position };
  const exported = await naming(path, async () => {
    if (place.isFile) return replace(place.path, source);
    // Opening a FIFO waits for a reader.
    const file = await open(place.path, constants.O_WRONLY);
    return copy(source, file.createWriteStream(), true);
  });
  return { exported, position };
}

interface Place {
  /** Path after following all links. */
  readonly path: string;
  /** Whether it is, or will be, a regular file; otherwise the output goes into the existing device or FIFO. */
  readonly isFile: boolean;
}

async function placeOf(path: string): Promise<Place> {
  const target = await targetOf(path);
  const stats = await stat(target).catch(unlessMissing);
  if (stats?.isDirectory()) throw new CommandError(`cannot write ${path}: it is a folder`);
  // A socket counts as not a file; opening it fails with a message.
  return { path: target, isFile: stats?.isFile() ?? true };
}

/**
 * Follows links itself, because the last one may lead to a file that does not exist yet.
 * @throws CommandError after too many links; the error of the system
 */
export async function targetOf(path: string): Promise<string> {
  let target = path;
  for (let hops = 0; hops < MAX_LINKS; hops += 1) {
    const stats = await lstat(target).catch(unlessMissing);
    if (!stats?.isSymbolicLink()) return target;
    // A `..` in a link's target is relative to the link's real folder.
    target = resolve(await realpath(dirname(target)), await readlink(target));
  }
  throw new CommandError(`cannot write ${path}: more than ${MAX_LINKS} links lead on from it`);
}

function unlessMissing(error: NodeJS.ErrnoException): null {
  if (error.code === 'ENOENT') return null;
  throw error;
}

/** Writes a new file, which takes the place of the one at the path when it is complete. A signal ends the process. */
async function replace(path: string, source: Readable): Promise<number> {
  const partial = `${path}.partial-${process.pid}`;
  const interruption = new AbortController();
  let number = 0;
  const interrupt = (signal: NodeJS.Signals): void => {
    number = systemConstants.signals[signal];
    interruption.abort();
  };
  for (const signal of SIGNALS) process.once(signal, interrupt);
  try {
    const file = await open(partial, 'wx', FILE_MODE);
    const exported = await copy(source, file.createWriteStream(), true, interruption.signal);
    await rename(partial, path);
    return exported;
  } catch (error) {
    await rm(partial, { force: true });
    if (number === 0) throw error;
    process.stderr.write(`psyncd: interrupted; ${printable(path)} is as it was\n`);
    return process.exit(BY_SIGNAL + number);
  } finally {
    for (const signal of SIGNALS) process.off(signal, interrupt);
  }
}

/** Turns a system error into one line that names the file. */
async function naming<T>(path: string, write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (error) {
    if (!(error instanceof Error && 'syscall' in error)) throw error;
    throw new CommandError(`cannot write ${path}: ${error.message}`);
  }
}

/** @returns number of lines @throws the signal's reason when it is aborted */
async function copy(
  source: Readable,
  target: Writable,
  isShown: boolean,
  signal?: AbortSignal,
): Promise<number> {
  const shown = isShown ? progress('exporting', null) : null;
  let [entries, bytes] = [0, 0];
  const counting = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      for (let at = chunk.indexOf(NEWLINE); at !== -1; at = chunk.indexOf(NEWLINE, at + 1)) entries += 1;
      shown?.update(
        entries,
        `${counted(entries, 'entry', 'entries')}, ${(bytes / 1024 ** 2).toFixed(1)} MiB`,
      );
      done(null, chunk);
    },
  });
  try {
    await pipeline(source, counting, target, { ...(signal && { signal }) });
  } catch (error) {
    // Undici's message for a broken connection.
    if (!(error instanceof TypeError && error.message === 'terminated')) throw error;
    throw new CommandError(`the node broke off the export after ${counted(entries, 'entry', 'entries')}`);
  } finally {
    shown?.stop();
  }
  return entries;
}
