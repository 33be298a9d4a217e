/**
 * Restores a backup into a data folder, for a node with a history of its own.
 *
 * The node gets a new run ID; that of the backup becomes an ancestor, shared up to the backup's position, reason `restored`. So a
 * replica or follower that stands at or before that position continues as far as the node has the bytes, and every other gets a
 * full resync or a reset: nobody takes a byte that is written after the restore for the one that the old history had there.
 * A backup without a history hash shares nothing: a replica could stand at its position with other bytes, and nobody would notice.
 *
 * Everything is checked before the folder is touched, and the copy is checked again.
 */
import { realpathSync, statSync } from 'node:fs';
import { mkdir, readdir, rmdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import Database, { type Database as Connection } from 'better-sqlite3';
import { xxh64 } from '../../node/head/history/xxh64.ts';
import type { Log } from '../../node/ports/world.ts';
import { type History, restoredHistory } from '../../replication/history.ts';
import { chained } from '../../replication/history-hash.ts';
import { offset, type Position, type RunId } from '../../replication/position.ts';
import { Encoder } from '../../stream/encoder.ts';
import { BackupError } from '../backup/backup-error.ts';
import { checkBackup } from '../backup/check-backup.ts';
import { copyEntries } from '../backup/copy-entries.ts';
import type { Manifest } from '../backup/manifest.ts';
import { nodeFolderOf } from '../backup/node-folder.ts';
import type { Report } from '../backup/seal.ts';
import { faultPoint } from '../fault-point.ts';
import { GUARD_FILE, NODE_FILE, RESTORING_FOLDER, STATE_FILE, TOKENS_FILE } from '../folder-names.ts';
import { noteGuarded } from '../guard-file.ts';
import { OpenFiles } from '../open-files.ts';
import { DamageError, InUseError } from '../start-error.ts';
import { StateFile } from '../state/state-file.ts';
import { lockWhole } from '../state/state-opening.ts';
import { type Earlier, earlierIn } from './earlier.ts';
import { clearInterrupted, mendInterrupted } from './interrupted.ts';
import { isSameFile } from './shared-file.ts';
import { linkFailure, presentFiles, Staging } from './staging.ts';

/** Most keys in one DEL for entries that have expired. */
const KEYS_AT_ONCE = 1_000;
const SILENT: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

export interface RestoreOptions {
  /** Of this psyncd, for messages. */
  readonly version: string;
  /** Whether the files of a folder that has a node are moved aside. */
  readonly isForced: boolean;
  /** Whether entries that have expired are deleted, instead of by the node after its start. */
  readonly dropsExpired: boolean;
  /** Whether only checks are made. */
  readonly isDry: boolean;
  /** Whether the node needs tokens, whatever the backup says; default: the backup says it. */
  readonly isGuarded?: boolean;
  /** The new run ID of the node. */
  readonly runId: RunId;
  /** Milliseconds since 1970. */
  readonly now: number;
  readonly report?: Report;
}

export interface Restored {
  readonly manifest: Manifest;
  /** Where the node is now. */
  readonly position: Position;
  /** Number of entries that had expired and were deleted; null: they were not counted. */
  readonly dropped: number | null;
  /** The folder with the replaced files; null: there were none. */
  readonly aside: string | null;
  /** The list of tokens among the replaced files; null: there was none. */
  readonly tokens: string | null;
  /** Whether the node of which the backup is, or the archive, needed tokens. */
  readonly guarded: boolean;
  /** Whether the node refuses to start without a list of tokens. */
  readonly needsTokens: boolean;
  /** What earlier restores have replaced. */
  readonly earlier: Earlier;
}

/**
 * @param source the backup
 * @param folder data folder: missing, empty, or with `isForced` one of a node that does not run
 * @throws CheckError, BackupError or StartError, one line; then the folder is what it was
 */
export async function restore(source: string, folder: string, options: RestoreOptions): Promise<Restored> {
  const manifest = await checkBackup(source, options.version, options.report);
  const guarded = manifest.guarded || options.isGuarded === true;
  const isFilled = await refuseFolder(folder, source, options.isForced);
  await mendInterrupted(folder);
  const lock = isFilled ? lockedFolder(folder) : null;
  try {
    const files = isFilled ? presentFiles(folder) : [];
    // Tokens that were made before the first start stay for the restored node.
    const present = files.some((name) => NODE_FILE.test(name)) ? files : [];
    const aside = present.length === 0 ? null : `replaced-${options.now}`;
    const tokens = present.find((name) => TOKENS_FILE.test(name)) ?? null;
    const plan = {
      manifest,
      aside: aside === null ? null : join(folder, aside),
      tokens: aside === null || tokens === null ? null : join(folder, aside, tokens),
      guarded,
      needsTokens: files.includes(GUARD_FILE) || guarded,
    };
    const { position } = manifest;
    if (options.isDry) {
      const earlier = isFilled ? earlierIn(folder, null) : { folders: 0, bytes: 0 };
      return { ...plan, earlier, dropped: null, position: { runId: options.runId, offset: position.offset } };
    }
    const done = await restoreInto(source, folder, aside, manifest, options, lock);
    return {
      ...plan,
      ...done,
      tokens: done.aside === null || tokens === null ? null : join(done.aside, tokens),
      earlier: earlierIn(folder, done.aside),
    };
  } finally {
    lock?.close();
  }
}

/**
 * Looks whether the folder may get the files.
 * @returns whether it has files
 * @throws BackupError
 */
export async function refuseFolder(folder: string, source: string, isForced: boolean): Promise<boolean> {
  const found = statSync(folder, { throwIfNoEntry: false });
  // By its real path: the parent of the folder to which a link leads counts.
  const parent = dirname(found === undefined ? folder : realpathSync(folder));
  const isParent = statSync(parent, { throwIfNoEntry: false })?.isDirectory() === true;
  const node = isParent ? nodeFolderOf(parent) : null;
  if (node !== null) {
    throw new BackupError(`${folder} is in ${node}, the data folder of a node; choose another folder`);
  }
  if (found === undefined) {
    if (isParent) return false;
    throw new BackupError(`cannot make ${folder}: there is no folder ${dirname(folder)}`);
  }
  if (!found.isDirectory()) throw new BackupError(`${folder} is not a folder`);
  const names = (await readdir(folder)).filter((name) => name !== RESTORING_FOLDER);
  if (dirname(source) === folder && NODE_FILE.test(basename(source))) {
    throw new BackupError(`${source} is a file of the data folder ${folder}; move it out of there first`);
  }
  if (names.length === 0 || holdsOnlyStaged(folder, names)) return false;
  if (names.every((name) => TOKENS_FILE.test(name) || name === GUARD_FILE)) return true;
  if (!names.some((name) => NODE_FILE.test(name))) {
    throw new BackupError(
      `${folder} holds other files than psyncd's, such as ${names[0]}; choose an empty folder`,
    );
  }
  if (!isForced) {
    throw new BackupError(
      `${folder} is not empty; choose an empty folder, or move what is in it aside with --force`,
    );
  }
  return true;
}

/** Whether all files are those that an interrupted restore has put there: it has the same ones in its own folder. */
function holdsOnlyStaged(folder: string, names: readonly string[]): boolean {
  if (names.includes(STATE_FILE)) return false;
  for (const name of names) {
    if (!isSameFile(join(folder, name), join(folder, RESTORING_FOLDER, name))) return false;
  }
  return true;
}

/** @returns the lock of the folder; null: it has no psyncd.db, or a damaged one @throws StartError if a node uses it */
function lockedFolder(folder: string): Connection | null {
  const path = join(folder, STATE_FILE);
  if (statSync(path, { throwIfNoEntry: false }) === undefined) return null;
  try {
    return lockWhole(path);
  } catch (error) {
    if (error instanceof InUseError) {
      throw new BackupError(`${folder} is in use by another process; stop that one first`);
    }
    if (error instanceof DamageError) return null;
    throw error;
  }
}

async function restoreInto(
  source: string,
  folder: string,
  aside: string | null,
  manifest: Manifest,
  options: RestoreOptions,
  lock: Connection | null,
): Promise<Pick<Restored, 'position' | 'dropped' | 'aside'>> {
  faultPoint('restore-begin');
  const isNew = statSync(folder, { throwIfNoEntry: false }) === undefined;
  if (isNew) await mkdir(folder, { mode: 0o700 });
  await clearInterrupted(folder);
  const staging = await Staging.begin(folder);
  try {
    const done = await stage(source, staging, manifest, options);
    if (manifest.guarded || options.isGuarded === true) await noteGuarded(staging.path);
    staging.lock(options.runId);
    return { ...done, aside: await staging.finish(aside, lock) };
  } catch (error) {
    // The first error says more than those that may follow.
    await staging.discard().catch(() => undefined);
    if (isNew) await rmdir(folder).catch(() => undefined);
    throw linkFailure(error, folder);
  } finally {
    // First the lock of the old psyncd.db: SQLite must not remove companion files that a node has made since.
    lock?.close();
    staging.release();
  }
}

/** Makes the files of the node. */
async function stage(
  source: string,
  staging: Staging,
  manifest: Manifest,
  options: RestoreOptions,
): Promise<{ position: Position; dropped: number | null }> {
  const { now, runId, dropsExpired } = options;
  const { position, hash } = manifest;
  const open = new OpenFiles(SILENT);
  const settings = { fsync: 'no', bootId: null, newRunId: () => runId, upstream: null } as const;
  faultPoint('restore-state');
  // Made first: psyncd.db is never made beside a keyspace file.
  const state = StateFile.open(join(staging.path, STATE_FILE), SILENT, settings, open, () => undefined);
  try {
    await copyEntries(source, staging.keyspace, position, hash === null ? runId : position.runId);
    const before: History = { runId: position.runId, lineage: manifest.lineage };
    const history = restoredHistory(before, { runId, validTo: position.offset, hash, at: now });
    state.switchKeyspace(staging.number, history, null, { offset: position.offset, hash });
    // The node then takes these files for its own, not for a copy.
    state.save({ copySettled: true });
    const expired = dropsExpired ? expiredKeys(staging.keyspace, now) : null;
    const end = expired === null ? position.offset : deleteAll(state, position, hash, expired);
    return { position: { runId, offset: offset(end) }, dropped: expired?.length ?? null };
  } finally {
    state.close(true);
    open.close();
  }
}

function expiredKeys(path: string, now: number): readonly string[] {
  const db = new Database(path, { readonly: true, fileMustExist: true });
  try {
    const due =
      'SELECT key FROM entries INDEXED BY entries_by_expiry WHERE expires_at <= ? ORDER BY expires_at, key';
    return db.prepare(due).pluck().all(now) as string[];
  } finally {
    db.close();
  }
}

/**
 * Deletes entries as a master does: by commands of the stream. So the entries at the position of the backup stay what they were
 * there, for every node that shares it.
 * @returns the offset after the commands
 */
function deleteAll(
  state: StateFile,
  { offset: from }: Position,
  hash: bigint | null,
  keys: readonly string[],
): number {
  let [end, before] = [from, hash];
  for (let at = 0; at < keys.length; at += KEYS_AT_ONCE) {
    const encoder = new Encoder();
    encoder.add({ kind: 'del', keys: keys.slice(at, at + KEYS_AT_ONCE) });
    const { bytes, boundaries } = encoder.finish();
    end = offset(end + bytes.length);
    state.append(end, bytes, before, at === 0, null);
    before = before === null ? null : chained(before, bytes, boundaries, xxh64);
  }
  return end;
}
