/**
 * The data folder: psyncd.db and the current keyspace-<n>.db are all that a node needs.
 *
 * It may also hold `replaced-….db` files: keyspace files that a full resync on a diverged history replaced. The
 * transaction that replaces such a file notes it in psyncd.db; the node renames the file afterwards, or at the next
 * start. `replaced-…/` folders hold the files that `psyncd restore` has replaced.
 *
 * The folder `snapshots` has copies of keyspace files that clients download. They do not outlast the process.
 *
 * psyncd refuses a folder that has files but no psyncd.db: another program owns it. Keyspace files that are not current
 * are left over from a crash, during a snapshot or a replacement; psyncd removes them at the start.
 */
import { existsSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { messageOf } from '../node/ports/failures.ts';
import type { Keyspace } from '../node/ports/keyspace.ts';
import type { KeyspaceFiles, SnapshotSink } from '../node/ports/keyspace-files.ts';
import type { SnapshotFiles } from '../node/ports/snapshot-files.ts';
import type { KeptFile } from '../node/ports/state-store.ts';
import type { Log } from '../node/ports/world.ts';
import { attempt } from '../node/unattended.ts';
import { EMPTY_HISTORY_HASH } from '../replication/history-hash.ts';
import { type Position, ZERO } from '../replication/position.ts';
import { refuseOtherKinds } from './checks/file-kinds.ts';
import { unify } from './checks/file-tasks.ts';
import { SnapshotFolder } from './copies/snapshot-folder.ts';
import { faultPoint } from './fault-point.ts';
import {
  ASIDE_FOLDER,
  GUARD_FILE,
  KEYSPACE_FILE,
  REPLACED_FILE,
  REPLACED_FOLDER,
  RESTORING_FOLDER,
  SNAPSHOTS_FOLDER,
  STATE_FILE,
  TOKENS_FILE,
} from './folder-names.ts';
import { IncomingFile } from './keyspace/incoming-file.ts';
import { KeyspaceFile } from './keyspace/keyspace-file.ts';
import { schemaVersion } from './migrate.ts';
import { OpenFiles } from './open-files.ts';
import { clearInterrupted, interruptedIn, mendInterrupted } from './restore/interrupted.ts';
import { refuseSharedFile } from './restore/shared-file.ts';
import { finishSettingAside } from './set-aside.ts';
import { DamageError, StartError } from './start-error.ts';
import { StateFile } from './state/state-file.ts';
import type { StateFileSettings } from './state/state-settings.ts';
import { codeOf } from './storage-failure.ts';
import { syncFolder } from './sync-folder.ts';

export interface FolderSettings extends StateFileSettings {
  /**
   * Whether the user has said what role a new node has. If so, the node may start empty beside files that were set
   * aside.
   */
  readonly mayBeginAnew: boolean;
}

/** Bit of a mode that lets everybody write. */
const WRITABLE_BY_ALL = 0o002;

export interface OpenFolder {
  readonly state: StateFile;
  readonly keyspace: Keyspace;
  readonly files: KeyspaceFiles;
  readonly copies: SnapshotFiles;
  /**
   * Finishes what a crash has interrupted: names kept files, finishes or undoes a restore, and removes copies of snapshots and
   * keyspace files that are not current. Called once the files that psyncd.db names have turned out to fit together: a start that
   * fails has removed nothing.
   */
  settle(): Promise<void>;
  /**
   * Closes the folder after a start that failed for another reason. It leaves the files as they are and never rejects.
   */
  close(): Promise<void>;
}

/**
 * Opens the folder, or creates it.
 * @param applierFailed called when the applier's thread has failed for good
 * @throws StartError with a message of one line: the folder is in use, belongs to another program, is not writable or
 * is damaged. Nothing was changed.
 */
export async function openDataFolder(
  path: string,
  log: Log,
  settings: FolderSettings,
  applierFailed: (error: Error) => void,
): Promise<OpenFolder> {
  prepare(path, settings.mayBeginAnew);
  warnOfOpenFolder(path, log);
  refuseSharedFile(join(path, STATE_FILE));
  await mendInterrupted(path);
  const open = new OpenFiles(log);
  // An earlier start may have left psyncd.db without a row, because there was no room for one.
  const begins = (): void => refuseLeftovers(path, readdirSync(path), settings.mayBeginAnew);
  const state = StateFile.open(join(path, STATE_FILE), log, settings, open, begins);
  let keyspace: Keyspace | null = null;
  const close = async (): Promise<void> => {
    // The start failed for an earlier reason, which the caller reports; errors while closing would hide it.
    await keyspace?.close().catch(() => undefined);
    attempt(
      () => state.close(false),
      () => undefined,
    );
    open.close();
  };
  try {
    const number = state.keyspaceNumber;
    const files = new Folder(path, number, open, applierFailed);
    if (state.kept.some(({ keyspaceNumber }) => keyspaceNumber === number)) {
      throw new DamageError(
        `${path} is damaged: psyncd.db says that keyspace-${number}.db was replaced, and is current`,
      );
    }
    const copies = new SnapshotFolder(path);
    const settle = async (): Promise<void> => {
      await copies.clear();
      for (const kept of state.kept) await files.keep(kept);
      await files.removeAllBut(state.keyspaceNumber);
      // A crash came between the removal of the file and the removal of its row.
      const gone = state.kept.findIndex(({ name }) => existsSync(join(path, name)));
      state.forgetKept(gone === -1 ? 0 : state.kept.length - gone);
      await clearInterrupted(path);
    };
    if (number > 0) keyspace = await files.open(number);
    else {
      refuseUnnamedData(path, state);
      keyspace = await files.openAt(1, { runId: state.history.runId, offset: ZERO });
      if (keyspace.opened.offset !== ZERO) throw unnamedData(path, 'keyspace-1.db');
      state.switchKeyspace(1, state.history, null, { offset: ZERO, hash: EMPTY_HISTORY_HASH });
    }
    return { state, files, copies, keyspace, settle, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/**
 * A node whose psyncd.db names no keyspace file has never begun: it has at most an empty keyspace-1.db, and no journal.
 * @throws DamageError
 */
function refuseUnnamedData(path: string, state: StateFile): void {
  const other = readdirSync(path).find((name) => KEYSPACE_FILE.test(name) && !/^keyspace-1\.db/.test(name));
  if (other !== undefined) throw unnamedData(path, other);
  if (state.journalEnd !== null) throw unnamedData(path, 'a journal');
}

function unnamedData(path: string, what: string): DamageError {
  return new DamageError(
    `${path} is damaged: psyncd.db names no keyspace file, but there is ${what}; nothing was changed`,
  );
}

/** A folder that is there already keeps its mode. Who may write into it can exchange its files, the list of tokens too. */
function warnOfOpenFolder(path: string, log: Log): void {
  // Windows has no modes of this kind.
  if (process.getuid === undefined || (statSync(path).mode & WRITABLE_BY_ALL) === 0) return;
  const detail = 'everybody on this machine may write into the data folder, and exchange its list of tokens';
  log.warn('data-folder-is-open', { path, detail, remedy: 'chmod 700' });
}

/** Creates the folder if it is missing, and finishes moving damaged files aside if an earlier start was interrupted. */
function prepare(path: string, mayBeginAnew: boolean): void {
  let names: string[];
  if (basename(resolve(path)) === RESTORING_FOLDER && existsSync(join(path, '..', STATE_FILE))) {
    throw new StartError(
      `a restore makes its files in ${path}, and removes them; start the node in ${dirname(resolve(path))}`,
    );
  }
  try {
    faultPoint('folder-open');
    makeFolder(path);
    finishSettingAside(path);
    names = readdirSync(path);
    refuseOtherKinds(path);
  } catch (error) {
    if (error instanceof StartError) throw error;
    if (codeOf(error) === 'EEXIST' || codeOf(error) === 'ENOTDIR') {
      throw new StartError(`${path} is not a folder; choose another with --data`);
    }
    throw new StartError(`the data folder ${path} cannot be used: ${messageOf(error)}`);
  }
  if (names.includes(STATE_FILE) || names.length === 0) return;
  const interrupted = interruptedIn(path);
  if (interrupted !== null) throw new StartError(interrupted);
  const isOurs = (name: string): boolean =>
    isSetAside(name) || TOKENS_FILE.test(name) || name === GUARD_FILE || name === SNAPSHOTS_FOLDER;
  if (!names.every(isOurs)) {
    throw new StartError(
      `${path} is no data folder of psyncd: it holds other files; choose another with --data`,
    );
  }
  refuseLeftovers(path, names, mayBeginAnew);
}

function isSetAside(name: string): boolean {
  return ASIDE_FOLDER.test(name) || REPLACED_FILE.test(name) || REPLACED_FOLDER.test(name);
}

/**
 * A folder with files that a node has set aside or replaced has had a node, and its role is not known any more.
 * @throws StartError unless the caller has said what the node is to be
 */
function refuseLeftovers(path: string, names: readonly string[], mayBeginAnew: boolean): void {
  if (!names.some(isSetAside) || mayBeginAnew) return;
  throw new StartError(
    `${path} holds only files that were set aside or replaced, which do not say what role this node had; choose one: ` +
      '--replica-of ws://HOST:PORT, or --replica-of no-one for a new, empty master',
  );
}

/**
 * Creates a folder and its parents. mkdir's own `recursive` never returns when the parent exists but accepts no folders
 * (as in /proc).
 */
function makeFolder(path: string): void {
  try {
    mkdirSync(path);
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return;
    if (codeOf(error) !== 'ENOENT' || existsSync(dirname(path))) throw error;
    makeFolder(dirname(path));
    mkdirSync(path);
  }
}

class Folder implements KeyspaceFiles {
  readonly schema = schemaVersion('keyspace');
  readonly #path: string;
  readonly #open: OpenFiles;
  readonly #applierFailed: (error: Error) => void;
  #lastNumber: number;

  constructor(path: string, current: number, open: OpenFiles, applierFailed: (error: Error) => void) {
    this.#path = path;
    // Never reuses the numbers of kept files, which are all below the current number.
    this.#lastNumber = Math.max(1, current);
    this.#open = open;
    this.#applierFailed = applierFailed;
  }

  open(number: number): Promise<Keyspace> {
    return this.openAt(number, null);
  }

  async openAt(number: number, createAt: Position | null): Promise<Keyspace> {
    refuseSharedFile(this.#file(number));
    return KeyspaceFile.open(this.#file(number), createAt, this.#open, this.#applierFailed);
  }

  async receive(length: number): Promise<SnapshotSink> {
    this.#lastNumber += 1;
    const number = this.#lastNumber;
    return IncomingFile.create(this.#file(number), number, length);
  }

  async remove(number: number): Promise<void> {
    faultPoint('file-remove');
    for (const suffix of ['-wal', '-shm', '']) await rm(this.#file(number) + suffix, { force: true });
  }

  async keep({ keyspaceNumber, name }: KeptFile): Promise<void> {
    const from = this.#file(keyspaceNumber);
    const to = join(this.#path, name);
    // What has the name already is never overwritten.
    if (!existsSync(from) || existsSync(to)) return;
    // After a crash, some of the file's pages may still be in its WAL.
    if (existsSync(`${from}-wal`)) await unify(from);
    faultPoint('file-keep');
    await rename(from, to);
    faultPoint('file-kept');
    for (const suffix of ['-wal', '-shm']) await rm(from + suffix, { force: true });
    await syncFolder(this.#path);
  }

  async removeKept({ name }: KeptFile): Promise<void> {
    await rm(join(this.#path, name), { force: true });
  }

  async removeAllBut(number: number): Promise<void> {
    const numbers = readdirSync(this.#path).flatMap((name) => KEYSPACE_FILE.exec(name)?.[1] ?? []);
    for (const other of new Set(numbers.map(Number))) {
      if (other !== number) await this.remove(other);
    }
  }

  #file(number: number): string {
    return join(this.#path, `keyspace-${number}.db`);
  }
}
