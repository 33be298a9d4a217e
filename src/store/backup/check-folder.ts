/**
 * Checks the data folder of a node that does not run: that the files fit together, every row of the journal, every page and entry
 * of the keyspace file. It opens the files as a start does, and writes nothing into them; SQLite moves what is in their WALs into
 * the files, as at every start.
 */
import { closeSync, existsSync, openSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { xxh64 } from '../../node/head/history/xxh64.ts';
import { planRecovery, REPLAY_BYTES } from '../../node/head/recovery.ts';
import { messageOf, StorageError } from '../../node/ports/failures.ts';
import type { Keyspace, Sum } from '../../node/ports/keyspace.ts';
import type { StateStore } from '../../node/ports/state-store.ts';
import type { Log } from '../../node/ports/world.ts';
import { chained } from '../../replication/history-hash.ts';
import { type Offset, offset, type Position, ZERO } from '../../replication/position.ts';
import { systemWorld } from '../../runtime/system-world.ts';
import { StreamDecoder } from '../../stream/decoder.ts';
import { refuseOtherKinds } from '../checks/file-kinds.ts';
import { openDataFolder } from '../data-folder.ts';
import { STATE_FILE } from '../folder-names.ts';
import { damage } from '../keyspace/entry-checksum.ts';
import { type FileKind, schemaVersion } from '../migrate.ts';
import { interruptedIn } from '../restore/interrupted.ts';
import { InUseError, StartError } from '../start-error.ts';
import { lockState } from '../state/state-opening.ts';
import { codeOf, isDamaged } from '../storage-failure.ts';
import { CheckError } from './backup-error.ts';

/** What a whole data folder holds. */
export interface FolderContents extends Sum {
  readonly position: Position;
}

const USER_VERSION = 60;
const SILENT: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};
/** Settings of a head; the check does not fill a backlog. */
const HEAD = {
  backlogBytes: 1,
  overlayBytes: 1,
  applyIntervalMs: 60_000,
  journalKeepBytes: 0,
  journalKeepMs: 0,
};

/** @throws CheckError */
export async function checkFolder(path: string): Promise<FolderContents> {
  try {
    const state = join(path, STATE_FILE);
    const found = statSync(state, { throwIfNoEntry: false });
    if (found === undefined)
      throw new CheckError(
        'unknown',
        interruptedIn(path) ??
          `${path} is no data folder of psyncd: it has no ${STATE_FILE}; for a target of backups, add --newest`,
      );
    refuseOtherKinds(path);
    // The start would make a new node of it.
    if (found.size === 0) throw new CheckError('damaged', `${state} is damaged: it is empty`);
    const lock = lockState(state);
    const number = lock.prepare('SELECT keyspace FROM node').pluck().get();
    lock.close();
    // To open such a folder would make its first keyspace file.
    if (number === 0)
      throw new CheckError('unknown', `${path} has no entries yet: its node has never started`);
    refuseOlder(state, 'state');
    refuseOlder(join(path, `keyspace-${number}.db`), 'keyspace');
    return await checkOpened(path);
  } catch (error) {
    throw finding(path, error);
  }
}

/** A start brings the files to the newest schema; a check must not. */
function refuseOlder(path: string, kind: FileKind): void {
  if (!existsSync(path)) return;
  const header = Buffer.alloc(USER_VERSION + 4);
  const file = openSync(path, 'r');
  try {
    readSync(file, header, 0, header.length, 0);
  } finally {
    closeSync(file);
  }
  const version = header.readUInt32BE(USER_VERSION);
  if (version === 0 || version >= schemaVersion(kind)) return;
  throw new CheckError(
    'unknown',
    `${path} was written by an older psyncd (schema ${version}, this one has ${schemaVersion(kind)}); check it with that one`,
  );
}

async function checkOpened(path: string): Promise<FolderContents> {
  let broken: Error | null = null;
  const settings = { fsync: 'no', bootId: null, newRunId: systemWorld.newRunId, upstream: null } as const;
  const failed = (error: Error): void => {
    broken ??= error;
  };
  const folder = await openDataFolder(path, SILENT, { ...settings, mayBeginAnew: false }, failed);
  try {
    const { state, keyspace } = folder;
    const plan = planRecovery({ state, keyspace, settings: HEAD, log: SILENT });
    const end = checkJournal(state) ?? plan.held;
    await keyspace.scrub();
    const sum = await digestAt(state, keyspace, plan.end ?? plan.held);
    if (broken !== null) throw broken;
    return { ...sum, position: { runId: state.history.runId, offset: offset(Math.max(end, plan.held)) } };
  } finally {
    await folder.close();
  }
}

/**
 * Reads the whole journal: the checksum of each row, the commands, and the history hashes of the last chain.
 * @returns its end; null: it is empty
 */
function checkJournal(state: StateStore): Offset | null {
  const { chainStart, journalEnd: end, journalStart: start } = state;
  if (start === null || end === null) return null;
  const decoder = new StreamDecoder();
  let hash: bigint | null = null;
  for (let at = start; at < end; ) {
    const row = state.rowWith(at);
    if (row?.start !== at) throw damage(`the journal has a gap after byte ${at}`);
    if (at > (chainStart ?? ZERO) && hash !== null && row.hash !== hash) {
      throw damage(`the history hash at byte ${at} of the journal is not that of the bytes before`);
    }
    const bytes = state.read(at, 1);
    const run = decoder.push(bytes);
    if (run === null || decoder.heldBytes > 0)
      throw damage(`the journal ends inside a command at byte ${at}`);
    hash = row.hash === null ? null : chained(row.hash, bytes, run.boundaries, xxh64);
    at = offset(at + bytes.length);
  }
  return end;
}

/** @returns the digest at an offset that the keyspace file may not have reached */
async function digestAt(state: StateStore, keyspace: Keyspace, end: Offset): Promise<Sum> {
  const digest = await keyspace.openDigest();
  try {
    const parts: Buffer[] = [];
    for (let at = keyspace.opened.offset; at < end; ) {
      const bytes = state.read(at, REPLAY_BYTES);
      parts.push(bytes);
      at = offset(at + bytes.length);
    }
    return await digest.at(parts);
  } finally {
    digest.close();
  }
}

function finding(path: string, error: unknown): unknown {
  if (error instanceof CheckError) return error;
  const text = messageOf(error);
  const named = text.includes(path) ? text : `${path} is damaged: ${text}`;
  if (isDamaged(error)) return new CheckError('damaged', named);
  if (error instanceof InUseError) {
    const advice = 'stop its node, or back that up and verify the backup';
    return new CheckError('unknown', `${path} is in use by another process; ${advice}`);
  }
  if (error instanceof StartError) return new CheckError('unknown', text);
  if (error instanceof StorageError || /^(?:SQLITE_|E[A-Z]+$)/.test(codeOf(error))) {
    return new CheckError('unknown', `${path} cannot be checked: ${text}`);
  }
  return error;
}
