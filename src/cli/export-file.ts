/** `psyncd export`: a node's entries as NDJSON, into a file or to standard output, with progress. */
import { createWriteStream } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
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

/**
 * @param path a file, or `-` for standard output; a file is there when it is complete, and not before
 * @param prefix of the keys; empty: all
 */
export async function exportFile(path: string, node: string, prefix: string): Promise<Exported> {
  const { position, lines } = await new Client(node).export(prefix);
  const source = Readable.fromWeb(lines as Parameters<typeof Readable.fromWeb>[0]);
  if (path === '-') return { exported: await copy(source, process.stdout, !process.stdout.isTTY), position };
  const partial = `${path}.partial-${process.pid}`;
  try {
    const exported = await copy(source, createWriteStream(partial, { flags: 'wx' }), true);
    await rename(partial, path);
    return { exported, position };
  } catch (error) {
    await rm(partial, { force: true });
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
