/**
 * A folder as a target, such as a mounted disk of another machine.
 *
 * A file is made under a name that begins with `.psyncd-partial-`, and gets its own name with a rename when it is durable. The
 * folder itself has to exist: a disk that is not mounted would otherwise be replaced by a folder on the disk of the node.
 */
import { randomBytes } from 'node:crypto';
import type { Stats } from 'node:fs';
import { type FileHandle, mkdir, open as openFile, realpath, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import {
  type BackupTarget,
  type GetCall,
  type RoomCheck,
  type TargetCall,
  type TargetCode,
  TargetError,
  type TargetObject,
  type TargetSource,
} from '../node/ports/backup-target.ts';
import { messageOf } from '../node/ports/failures.ts';
import { copyInto, isGone, type Look, overlap, PART_BYTES, syncFolder, unlessGone } from './folder-files.ts';
import { FolderWalk } from './folder-walk.ts';
import { checkFolder, checkLength, checkName, isTargetName } from './names.ts';

const PARTIAL = '.psyncd-partial-';
const OWNER_ONLY_FILE = 0o600;
const OWNER_ONLY_FOLDER = 0o700;

const CODES: Readonly<Record<string, TargetCode>> = {
  EACCES: 'NO_ACCESS',
  EPERM: 'NO_ACCESS',
  EROFS: 'NO_ACCESS',
  ENOSPC: 'TARGET_FULL',
  EDQUOT: 'TARGET_FULL',
  EFBIG: 'TARGET_FULL',
};

export class FolderTarget implements BackupTarget {
  readonly shown: string;
  readonly #folder: string;
  readonly #room: RoomCheck | null;

  /** @param folder absolute path of a folder, which need not exist yet @param room is asked before and while a file is written, here or in the folder */
  constructor(folder: string, room: RoomCheck | null = null) {
    this.#folder = folder;
    this.#room = room;
    this.shown = folder;
  }

  async put(name: string, source: TargetSource, { signal }: TargetCall = {}): Promise<void> {
    checkName(name);
    const to = this.#path(name);
    const partial = join(dirname(to), `${PARTIAL}${randomBytes(8).toString('hex')}`);
    await this.#asked(`cannot write ${to}`, signal, async () => {
      await this.#makeFolder(dirname(name));
      try {
        await this.#writeNew(partial, source, signal);
        signal?.throwIfAborted();
        await rename(partial, to);
      } catch (error) {
        await rm(partial, { force: true }).catch(() => undefined);
        throw error;
      }
      await syncFolder(dirname(to));
    });
  }

  async get(name: string, path: string, { most, signal }: GetCall = {}): Promise<void> {
    checkName(name);
    const from = this.#path(name);
    const source = await this.#asked(`cannot read ${from}`, signal, () => openFile(from, 'r'));
    try {
      const { size } = await this.#asked(`cannot read ${from}`, signal, () => source.stat());
      checkLength(from, size, most);
      await this.#room?.(path, size);
      const into = await openFile(path, 'wx', OWNER_ONLY_FILE);
      try {
        await copyInto(into, this.#parts(source, from, size, signal), signal, this.#roomFor(path, size));
      } catch (error) {
        await rm(path, { force: true }).catch(() => undefined);
        throw error;
      } finally {
        await into.close();
      }
    } finally {
      await source.close();
    }
  }

  async begin(name: string, length: number, { signal }: TargetCall = {}): Promise<Uint8Array> {
    checkName(name);
    const from = this.#path(name);
    return this.#asked(`cannot read ${from}`, signal, async () => {
      const file = await openFile(from, 'r');
      try {
        const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, 0);
        return buffer.subarray(0, bytesRead);
      } finally {
        await file.close();
      }
    });
  }

  async *list(folder: string, { signal }: TargetCall = {}): AsyncGenerator<TargetObject> {
    checkFolder(folder);
    await this.#asked('cannot list', signal, () => this.#exists());
    for await (const name of this.#files(folder, signal)) {
      if (!isTargetName(name)) continue;
      const found = await this.#listed(name, signal);
      if (found !== null) yield found;
    }
  }

  async find(name: string, { signal }: TargetCall = {}): Promise<TargetObject | null> {
    checkName(name);
    await this.#asked('cannot list', signal, () => this.#exists());
    return await this.#listed(name, signal);
  }

  async delete(name: string, { signal }: TargetCall = {}): Promise<void> {
    checkName(name);
    const path = this.#path(name);
    await this.#asked(`cannot delete ${path}`, signal, async () => {
      await this.#exists();
      await rm(path, { force: true });
    });
  }

  async clean(before: number, _isOurs: unknown, { signal }: TargetCall = {}): Promise<number> {
    // The names of parts are psyncd's own.
    let removed = 0;
    await this.#asked('cannot list', signal, () => this.#exists());
    for await (const name of this.#files('', signal)) {
      if (!name.slice(name.lastIndexOf('/') + 1).startsWith(PARTIAL)) continue;
      const found = await this.#found(name, signal);
      // The time of the last write counts: a put that is at work writes.
      if (!found?.isFile() || found.mtimeMs >= before) continue;
      const path = this.#path(name);
      await this.#asked(`cannot delete ${path}`, signal, () => rm(path, { force: true }));
      removed += 1;
    }
    return removed;
  }

  async #writeNew(path: string, source: TargetSource, signal?: AbortSignal): Promise<void> {
    const from = 'path' in source ? await openFile(source.path, 'r') : null;
    try {
      const size = 'bytes' in source ? source.bytes.length : ((await from?.stat())?.size ?? 0);
      await this.#room?.(path, size);
      const into = await openFile(path, 'wx', OWNER_ONLY_FILE);
      try {
        const parts =
          'bytes' in source
            ? [source.bytes]
            : (from?.createReadStream({ highWaterMark: PART_BYTES, autoClose: false }) ?? []);
        await copyInto(into, parts, signal, this.#roomFor(path, size));
      } finally {
        await into.close();
      }
    } finally {
      await from?.close();
    }
  }

  /** @returns what looks whether there is room for the rest of a file */
  #roomFor(path: string, size: number): Look {
    return async (written) => {
      await this.#room?.(path, Math.max(0, size - written));
    };
  }

  #path(name: string): string {
    return join(this.#folder, ...name.split('/'));
  }

  /** @returns the names of all files below a folder, also of those that are no names of objects */
  #files(folder: string, signal?: AbortSignal): AsyncGenerator<string> {
    return new FolderWalk(this.#folder, (what, work) => this.#asked(what, signal, work)).files(folder);
  }

  async #listed(name: string, signal: AbortSignal | undefined): Promise<TargetObject | null> {
    const found = await this.#found(name, signal);
    return found?.isFile() ? { name, size: found.size, modified: Math.floor(found.mtimeMs) } : null;
  }

  #found(name: string, signal: AbortSignal | undefined): Promise<Stats | null> {
    const path = this.#path(name);
    return this.#asked(`cannot read ${path}`, signal, () => unlessGone(stat(path)));
  }

  /** @param size where the bytes end, also if somebody adds to the file */
  async *#parts(file: FileHandle, path: string, size: number, signal?: AbortSignal): AsyncGenerator<Buffer> {
    const part = Buffer.allocUnsafeSlow(PART_BYTES);
    for (let at = 0; at < size; ) {
      const wanted = Math.min(PART_BYTES, size - at);
      const read = await this.#asked(`cannot read ${path}`, signal, () => file.read(part, 0, wanted, at));
      if (read.bytesRead === 0) return;
      at += read.bytesRead;
      yield part.subarray(0, read.bytesRead);
    }
  }

  /** Makes the folders below the target that a name has. */
  async #makeFolder(folder: string): Promise<void> {
    await this.#exists();
    if (folder === '.') return;
    const root = await realpath(this.#folder);
    let [path, real] = [this.#folder, root];
    // One after the other: a call that makes them all asks for ever where the system says that an existing folder is not there.
    for (const segment of folder.split('/')) {
      path = join(path, segment);
      if (await makesFolder(path)) await syncFolder(dirname(path));
      const expected = join(real, segment);
      real = await realpath(path);
      if (real === expected || !overlap(root, real)) continue;
      throw new TargetError(
        'BAD_TARGET',
        `${path} is a link to ${real}: a link in a target has to lead out of it, and not to a folder that it is in`,
      );
    }
  }

  async #exists(): Promise<void> {
    const found = await unlessGone(stat(this.#folder));
    if (found?.isDirectory()) return;
    throw new TargetError('NO_SUCH_BUCKET', `${this.#folder}: there is no such folder; is its disk mounted?`);
  }

  /** Turns an error of the file system into one for people. */
  async #asked<T>(what: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    signal?.throwIfAborted();
    try {
      return await work();
    } catch (error) {
      if (signal?.aborted || error instanceof TargetError || !(error instanceof Error && 'code' in error)) {
        throw error;
      }
      const code = String(error.code);
      if (isGone(error)) throw new TargetError('NOT_FOUND', `${what}: there is no such file`, error);
      throw new TargetError(CODES[code] ?? 'TARGET_FAILED', `${what}: ${messageOf(error)}`, error);
    }
  }
}

/** @returns whether the folder was made; false: it was there @throws TargetError if something else is */
async function makesFolder(path: string): Promise<boolean> {
  try {
    await mkdir(path, { mode: OWNER_ONLY_FOLDER });
    return true;
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
  }
  if ((await unlessGone(stat(path)))?.isDirectory()) return false;
  throw noFolder(path);
}

function noFolder(path: string): TargetError {
  return new TargetError('TARGET_FAILED', `${path} is no folder`);
}
