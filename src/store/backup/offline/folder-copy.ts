/** Backs up the data folder of a node that does not run. The folder stays as it is. */
import { statSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { StreamHead } from '../../../node/head/stream-head.ts';
import { FilesDamaged, messageOf } from '../../../node/ports/failures.ts';
import type { Log } from '../../../node/ports/world.ts';
import { systemWorld } from '../../../runtime/system-world.ts';
import { refuseOtherKinds } from '../../checks/file-kinds.ts';
import { openDataFolder } from '../../data-folder.ts';
import { STATE_FILE } from '../../folder-names.ts';
import { isGuarded } from '../../guard-file.ts';
import { numberOf } from '../../keyspace/keyspace-schema.ts';
import { interruptedIn } from '../../restore/interrupted.ts';
import { InUseError, StartError } from '../../start-error.ts';
import { lockState } from '../../state/state-opening.ts';
import { BackupError, withoutDisk } from '../backup-error.ts';
import type { Manifest } from '../manifest.ts';
import { checkRoom, copyLeavingRoom, RoomWatch } from '../room.ts';
import type { Report } from '../seal.ts';
import { type Origin, sealFile } from '../seal-file.ts';

/** Settings of a head that only reads its journal. */
const HEAD = {
  backlogBytes: 1024 * 1024,
  overlayBytes: 64 * 1024 * 1024,
  applyIntervalMs: 60_000,
  journalKeepBytes: 0,
  journalKeepMs: 0,
};
const SILENT: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

/**
 * Copies the folder's files into a new folder beside the backup, and has the copy do what a start does: apply the part of the
 * journal that the keyspace file lacks.
 * @param folder of the node
 * @param into path of the backup, where no file is
 * @param version of this psyncd
 * @throws BackupError or StartError, one line
 */
export async function backUpFolder(
  folder: string,
  into: string,
  version: string,
  report?: Report,
): Promise<Manifest> {
  const copy = `${into}.folder`;
  await mkdir(copy, { mode: 0o700 });
  try {
    const guarded = isGuarded(folder);
    const { number, commitTime } = await copyFiles(folder, copy);
    const origin = await recovered(copy);
    const file = join(copy, `keyspace-${number}.db`);
    const manifest = await sealFile(file, { ...origin, version, commitTime, guarded }, report);
    await rename(file, into);
    return manifest;
  } catch (error) {
    throw inFolder(error, folder, copy);
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
}

/** @returns the number of the keyspace file, and when one of the files was written last */
async function copyFiles(from: string, to: string): Promise<{ number: number; commitTime: number }> {
  const state = join(from, STATE_FILE);
  if (statSync(state, { throwIfNoEntry: false }) === undefined) {
    throw new BackupError(
      interruptedIn(from) ?? `${from} is no data folder of psyncd: it has no ${STATE_FILE}`,
    );
  }
  refuseOtherKinds(from);
  const written = [STATE_FILE, `${STATE_FILE}-wal`].map((name) => writtenAt(join(from, name)));
  // psyncd.db is copied by its connection: to close any other descriptor of it would drop the lock.
  const lock = locked(from, state);
  try {
    const number = lock.prepare('SELECT keyspace FROM node').pluck().get() as number;
    const pages = numberOf(lock, 'page_count') - numberOf(lock, 'freelist_count');
    await checkRoom(join(to, STATE_FILE), pages * numberOf(lock, 'page_size'));
    lock.prepare('VACUUM INTO ?').run(join(to, STATE_FILE));
    for (const suffix of ['', '-wal']) {
      const name = `keyspace-${number}.db${suffix}`;
      written.push(writtenAt(join(from, name)));
      if (written.at(-1) === null) continue;
      await copyLeavingRoom(join(from, name), join(to, name));
    }
    // The clock may have been wrong when a file was written, and a backup is of no time to come.
    const commitTime = Math.min(Math.max(0, ...written.map(Number)), systemWorld.now());
    return { number: Math.max(1, number), commitTime: Math.floor(commitTime) };
  } finally {
    lock.close();
  }
}

/** @throws BackupError if a node uses the folder; StartError */
function locked(folder: string, state: string): ReturnType<typeof lockState> {
  try {
    return lockState(state);
  } catch (error) {
    if (!(error instanceof InUseError)) throw error;
    throw new BackupError(
      `${folder} is in use by another process; stop that one, or back up the running node with --node URL in place of --data`,
    );
  }
}

/** @returns milliseconds since 1970; null: there is no such file */
function writtenAt(path: string): number | null {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? null;
}

/** Brings the keyspace file of the copy to the end of its journal. */
async function recovered(copy: string): Promise<Pick<Origin, 'position' | 'lineage' | 'hash'>> {
  let broken: Error | null = null;
  const failed = (error: Error): void => {
    broken ??= error;
  };
  const settings = { fsync: 'no', bootId: null, newRunId: systemWorld.newRunId } as const;
  const watch = new RoomWatch(join(copy, STATE_FILE));
  try {
    const folder = await openDataFolder(
      copy,
      SILENT,
      { ...settings, upstream: null, mayBeginAnew: false },
      failed,
    );
    try {
      const { state, keyspace } = folder;
      const head = StreamHead.recover({
        world: systemWorld,
        log: SILENT,
        settings: HEAD,
        state,
        keyspace,
        freeBytes: () => Promise.resolve(Number.POSITIVE_INFINITY),
        failed,
      });
      const { position, hash } = head;
      const { lineage } = state.history;
      await checkRoom(join(copy, STATE_FILE), position.offset - keyspace.opened.offset);
      await Promise.race([head.flush(), watch.spent]);
      await head.close();
      if (broken !== null) throw broken;
      await watch.end();
      return { position, lineage, hash };
    } finally {
      await folder.close();
    }
  } finally {
    watch.close();
  }
}

/** Names the folder in the place of its copy. */
function inFolder(error: unknown, folder: string, copy: string): unknown {
  if (error instanceof BackupError) return error;
  const known = withoutDisk(`cannot back ${folder} up`, error);
  const isOfFolder = error instanceof StartError || error instanceof FilesDamaged;
  if (!isOfFolder && !(known instanceof BackupError)) return error;
  return new BackupError(messageOf(isOfFolder ? error : known).replaceAll(copy, folder), { cause: error });
}
