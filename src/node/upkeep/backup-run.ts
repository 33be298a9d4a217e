/**
 * One backup by the schedule: a snapshot of the shared shelf, sealed on a thread, and put into the target. Writes go on meanwhile as
 * they do for a download.
 */
import { ancestorsAt } from '../../replication/history.ts';
import type { Position } from '../../replication/position.ts';
import type { StreamHead } from '../head/stream-head.ts';
import type { BackupTarget } from '../ports/backup-target.ts';
import type { BackupFile, BackupFiles, SnapshotCopy } from '../ports/snapshot-files.ts';
import type { World } from '../ports/world.ts';
import { Problem } from '../problem.ts';
import { scheduledName } from './backup-names.ts';
import type { SnapshotCopies } from './copies/snapshot-copies.ts';

/** Times that the node asks for a snapshot that is still being made, each for as long as a request may wait for it. */
const MAX_WAITS = 120;

/** Calls to a target that may hang: an abort ends the wait for them, and what still hangs is counted. */
export class Calls {
  #abandoned = 0;

  /** Number of calls whose wait was ended and that have not ended themselves. */
  get abandoned(): number {
    return this.#abandoned;
  }

  /** @throws the signal's reason as soon as it aborts, else what the work throws */
  wait<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
    return new Promise((resolve, reject) => {
      let isOver = false;
      const aborted = (): void => {
        if (isOver) return;
        this.#abandoned += 1;
        const ended = (): void => {
          this.#abandoned -= 1;
        };
        work.then(ended, ended);
        reject(signal.reason);
      };
      const over = (): void => {
        isOver = true;
        signal.removeEventListener('abort', aborted);
      };
      work.then(
        (result) => {
          over();
          resolve(result);
        },
        (error: unknown) => {
          over();
          reject(error);
        },
      );
      signal.addEventListener('abort', aborted, { once: true });
      if (signal.aborted) aborted();
    });
  }
}

export interface BackupParts {
  readonly world: World;
  readonly head: StreamHead;
  readonly copies: SnapshotCopies;
  readonly files: BackupFiles;
  readonly target: BackupTarget;
  /** Through which the target is called. */
  readonly calls: Calls;
  /** The name in `--cluster`; null: there is none. */
  readonly cluster: string | null;
}

/** A backup that was put into the target. */
export interface MadeBackup {
  readonly name: string;
  readonly position: Position;
  /** When the entries were so, in milliseconds since 1970. */
  readonly time: number;
  /** Length in bytes. */
  readonly length: number;
  readonly keys: number;
}

/**
 * @param signal ends the work; what was begun here is gone soon after, and the call does not wait for the target
 * @throws Problem, StorageError, TargetError, or the signal's reason
 */
export async function makeBackup(parts: BackupParts, signal: AbortSignal): Promise<MadeBackup> {
  const { copies, world } = parts;
  const copy = await newestCopy(copies, signal);
  const time = world.now();
  const file = await fileOf(copy, time, parts, signal);
  try {
    const name = scheduledName(parts.cluster, copy.position, time);
    await parts.calls.wait(parts.target.put(name, { path: file.path }, { signal }), signal);
    return { name, position: copy.position, time, length: file.length, keys: file.keys };
  } finally {
    await file.remove();
  }
}

/** @returns a backup of the snapshot, in a file of the node */
async function fileOf(
  copy: SnapshotCopy,
  commitTime: number,
  { copies, files, head }: BackupParts,
  signal: AbortSignal,
): Promise<BackupFile> {
  const lineage = ancestorsAt(head.history, copy.position);
  if (lineage === null) throw new Problem('LOADING', 'the node has got another history during the backup');
  // As long as somebody reads the snapshot, its room is not given to others.
  const reading = copies.open(copy.position, copy.sha256);
  try {
    await copies.roomForBackup(copy.length);
    return await files.make(copy, { lineage, commitTime }, signal);
  } finally {
    reading.close();
  }
}

/** Waits for the snapshot as long as it is being made. */
async function newestCopy(copies: SnapshotCopies, signal: AbortSignal): Promise<SnapshotCopy> {
  for (let waits = 1; ; waits += 1) {
    signal.throwIfAborted();
    const before = copies.numbers.copiedBytes;
    try {
      return await copies.newest(null, signal);
    } catch (error) {
      signal.throwIfAborted();
      const isBeingMade =
        error instanceof Problem && error.code === 'LOADING' && copies.numbers.copiedBytes !== null;
      if (!isBeingMade || waits >= MAX_WAITS || before === copies.numbers.copiedBytes) throw error;
    }
  }
}
