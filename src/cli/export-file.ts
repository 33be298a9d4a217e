/** `psyncd export`: a node's entries as NDJSON, into a file or to standard output, with progress. */
import { constants, createWriteStream } from 'node:fs';
import { lstat, open, readlink, realpath, rename, rm, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { Readable, Transform, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Client } from '../client/rest.ts';
import { CommandError } from './command-error.ts';
import { counted } from './info.ts';
import { progress } from './progress.ts';

export interface Exported {
  readonly exported: number;
  /** What the entries are of: all of them of this one position. */
  readonly position: string;
}

const NEWLINE = 0x0a;
/** So many links are followed, as Linux does. */
const MAX_LINKS = 40;

/** The entries of a node are nobody else's business. */
const FILE_MODE = 0o600;

/**
 * @param path a file, or `-` for standard output. A file is there when it is complete, and not before; the target of a link is
 *   replaced, and the link stays. A device or FIFO is written into.
 * @param prefix of the keys; empty: all
 * @throws CommandError when it cannot be written
 */
export async function exportFile(path: string, node: string, prefix: string): Promise<Exported> {
  const place = path === '-' ? null : await naming(path, () => placeOf(path));
  const { position, lines } = await new Client(node).export(prefix);
  const source = Readable.fromWeb(lines as Parameters<typeof Readable.fromWeb>[0]);
  if (place === null)
    return { exported: await copy(source, process.stdout, !process.stdout.isTTY), position };
  const exported = await naming(path, async () => {
    if (place.isFile) return replace(place.path, source);
    // Opening a FIFO waits for somebody who reads from it.
    const file = await open(place.path, constants.O_WRONLY);
    return copy(source, file.createWriteStream(), true);
  });
  return { exported, position };
}

interface Place {
  /** Behind all links. */
  readonly path: string;
  /** It is a regular file, or will be one; else what is written goes into what is there. */
  readonly isFile: boolean;
}

async function placeOf(path: string): Promise<Place> {
  const target = await targetOf(path);
  const stats = await stat(target).catch(unlessMissing);
  if (stats?.isDirectory()) throw new CommandError(`cannot write ${path}: it is a folder`);
  // A socket too: opening it fails, and says so.
  return { path: target, isFile: stats?.isFile() ?? true };
}

/** Follows links by hand, because the last one may lead to a file that is not there yet. */
async function targetOf(path: string): Promise<string> {
  let target = path;
  for (let hops = 0; hops < MAX_LINKS; hops += 1) {
    const stats = await lstat(target).catch(unlessMissing);
    if (!stats?.isSymbolicLink()) return target;
    // `..` of a link's target is meant from where the link really is.
    target = resolve(await realpath(dirname(target)), await readlink(target));
  }
  throw new CommandError(`cannot write ${path}: more than ${MAX_LINKS} links lead on from it`);
}

function unlessMissing(error: NodeJS.ErrnoException): null {
  if (error.code === 'ENOENT') return null;
  throw error;
}

async function replace(path: string, source: Readable): Promise<number> {
  const partial = `${path}.partial-${process.pid}`;
  try {
    const exported = await copy(source, createWriteStream(partial, { flags: 'wx', mode: FILE_MODE }), true);
    await rename(partial, path);
    return exported;
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
}

/** What the system says of the file becomes one line that names it. */
async function naming<T>(path: string, write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (error) {
    if (!(error instanceof Error && 'syscall' in error)) throw error;
    throw new CommandError(`cannot write ${path}: ${error.message}`);
  }
}

/** @returns how many lines it was */
async function copy(source: Readable, target: Writable, isShown: boolean): Promise<number> {
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
    await pipeline(source, counting, target);
  } catch (error) {
    // Undici's word for it.
    if (!(error instanceof TypeError && error.message === 'terminated')) throw error;
    throw new CommandError(
      `the node has broken the export off after ${counted(entries, 'entry', 'entries')}`,
    );
  } finally {
    shown?.stop();
  }
  return entries;
}
