/**
 * Snapshots for downloads: copies of the keyspace file, each of one position, whose bytes never change.
 *
 * Owns: the copies, their number and their room on the disk, and the number of downloads. A copy is made from a frozen file, which
 * is released as soon as the copy is complete, so a slow download does not hold the WAL. One copy is made at a time, and all who
 * ask meanwhile get it. A copy goes when nobody has read it for `snapshotKeepMs`, or earlier when a new one needs its room.
 */
import { formatPosition, type Position } from '../../../replication/position.ts';
import type { StreamHead } from '../../head/stream-head.ts';
import { Hold } from '../../hold.ts';
import { inLogOf } from '../../ports/failures.ts';
import type { FrozenFile } from '../../ports/keyspace.ts';
import type { Copying, SnapshotCopy, SnapshotFiles } from '../../ports/snapshot-files.ts';
import type { Log, World } from '../../ports/world.ts';
import { Problem } from '../../problem.ts';
import { CopyShelf, type ShelfNumbers, type ShelfSettings, type SnapshotDownload } from './copy-shelf.ts';

/** Longest wait of a request for a copy, in milliseconds; the copy goes on without it. */
const MAX_WAIT_MS = 30_000;

export interface SnapshotSettings extends ShelfSettings {
  /** Bytes by which the WAL may grow while a copy is made, beyond the credit of what was copied (hold.ts). */
  readonly outputLimitBytes: number;
}

interface CopiesParts {
  readonly world: World;
  readonly log: Log;
  readonly head: StreamHead;
  readonly files: SnapshotFiles;
  readonly settings: SnapshotSettings;
}

export interface SnapshotNumbers extends ShelfNumbers {
  readonly made: number;
  readonly failed: number;
  /** Bytes of the copy that is being made now that were copied; null: none is being made. */
  readonly copiedBytes: number | null;
}

/** A copy that is being made. */
interface Making {
  readonly work: Work;
  readonly done: Promise<SnapshotCopy>;
}

/** What the thread does; nothing before the file is frozen. */
interface Work {
  copying: Copying | null;
}

export class SnapshotCopies {
  readonly #parts: CopiesParts;
  readonly #shelf: CopyShelf;
  #making: Making | null = null;
  #made = 0;
  #failed = 0;
  #closed = false;
  /** Number of times that a full resync has replaced the keyspace file. */
  #replacements = 0;

  constructor(parts: CopiesParts) {
    this.#parts = parts;
    this.#shelf = new CopyShelf(parts);
  }

  get numbers(): SnapshotNumbers {
    return {
      ...this.#shelf.numbers,
      made: this.#made,
      failed: this.#failed,
      copiedBytes: this.#making === null ? null : copiedBytes(this.#making),
    };
  }

  /**
   * @param wanted a position that this node has reached, and that the copy must cover; null: whoever asks while a copy is being made gets that
   * @param gone aborts when the caller waits no longer
   * @returns the copy of the present position, or one that is made now
   * @throws Problem LOADING if it takes longer than `MAX_WAIT_MS`; DISK_FULL; TOO_MANY_REQUESTS if the WAL grew beyond its limit
   * meanwhile; SHUTTING_DOWN. StorageError when the disk fails.
   */
  async newest(wanted: Position | null, gone: AbortSignal): Promise<SnapshotCopy> {
    const until = this.#parts.world.monotonic() + MAX_WAIT_MS;
    if (wanted !== null && this.#making !== null) {
      const shared = await this.#awaited(this.#making, until, gone);
      if (covers(shared, wanted)) return shared;
    }
    if (this.#closed) throw closing();
    const kept = this.#shelf.at(this.#parts.head.position);
    if (kept !== null) return kept;
    this.#making ??= this.#begin();
    return this.#awaited(this.#making, until, gone);
  }

  /** Sees that the disk has the room for a backup of this length. @see CopyShelf.freeRoom */
  roomForBackup(bytes: number): Promise<void> {
    return this.#shelf.freeRoom(bytes, 'backup');
  }

  /** @see CopyShelf.look */
  look(position: Position, sha256: string | null): SnapshotCopy {
    return this.#shelf.look(position, sha256);
  }

  /** @see CopyShelf.open */
  open(position: Position, sha256: string | null): SnapshotDownload {
    return this.#shelf.open(position, sha256);
  }

  /**
   * A full resync has replaced the keyspace file, maybe because this node had wrong data: a copy of a position that the node has
   * now, or comes to again, would have those.
   */
  replaced(): void {
    this.#replacements += 1;
    this.#making?.work.copying?.stop();
    this.#shelf.forget(this.#parts.head.position);
  }

  /** Makes no more copies. */
  stop(): void {
    this.#closed = true;
    this.#making?.work.copying?.stop();
    this.#shelf.stop();
  }

  /** Removes all copies. To be called after `stop`, when the keyspace file is closed. */
  clear(): Promise<void> {
    return this.#shelf.clear();
  }

  #awaited(making: Making, until: number, gone: AbortSignal): Promise<SnapshotCopy> {
    const { world } = this.#parts;
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        cancel();
        gone.removeEventListener('abort', left);
      };
      const fail = (error: unknown): void => {
        leave();
        reject(error);
      };
      const left = (): void => fail(new Problem('LOADING', 'nobody waits for the snapshot any more'));
      const cancel = world.after(Math.max(0, until - world.monotonic()), () =>
        fail(
          new Problem(
            'LOADING',
            `the snapshot is being made, ${copiedBytes(making)} bytes so far; ask again`,
          ),
        ),
      );
      gone.addEventListener('abort', left);
      if (gone.aborted) left();
      making.done.then((copy) => {
        leave();
        resolve(copy);
      }, fail);
    });
  }

  #begin(): Making {
    const work: Work = { copying: null };
    const done = this.#make(work)
      .catch((error: unknown) => {
        this.#failed += 1;
        this.#parts.log.warn('snapshot-failed', { error: inLogOf(error) });
        throw error;
      })
      .finally(() => {
        this.#making = null;
      });
    // Nobody may wait for it when it fails.
    done.catch(() => undefined);
    return { work, done };
  }

  async #make(work: Work): Promise<SnapshotCopy> {
    const { head, log } = this.#parts;
    const before = this.#replacements;
    // Before the flush: on a full disk there is nothing to begin.
    await this.#shelf.makeRoom(head.snapshotBytes());
    const file = await head.freeze();
    try {
      const kept = this.#shelf.at(file.position);
      if (kept !== null) return kept;
      await this.#shelf.makeRoom(file.length);
      if (this.#closed) throw closing();
      const copy = await this.#copied(file, work);
      if (this.#replacements !== before) {
        await this.#shelf.discard(copy);
        throw replacedMeanwhile();
      }
      this.#made += 1;
      log.info('snapshot-made', { position: formatPosition(copy.position), bytes: copy.length });
      return this.#shelf.add(copy);
    } finally {
      file.release();
    }
  }

  async #copied(file: FrozenFile, work: Work): Promise<SnapshotCopy> {
    const { files, head, settings, world } = this.#parts;
    // The present hash is of a later position when somebody has written since the file was frozen.
    const copying = files.copy(file, head.hashAt(file.position.offset));
    work.copying = copying;
    let tooMuch: string | null = null;
    const hold = new Hold({
      world,
      held: () => file.heldBytes(),
      taken: () => copying.copiedBytes(),
      limits: { hard: () => Math.max(settings.outputLimitBytes, head.backlog.size) },
      othersWait: () => false,
      end: (_, detail) => {
        tooMuch = detail;
        copying.stop();
      },
    });
    try {
      const copy = await copying.done;
      if (copy !== null) return copy;
    } finally {
      hold.stop();
    }
    if (tooMuch !== null) {
      throw new Problem(
        'TOO_MANY_REQUESTS',
        `the snapshot was given up, because writes came too fast: ${tooMuch}`,
      );
    }
    if (this.#closed) throw closing();
    throw replacedMeanwhile();
  }
}

/** Whether the copy is of the position or a later one of the same history, as far as its run ID tells. */
function covers({ position }: SnapshotCopy, wanted: Position): boolean {
  return position.runId === wanted.runId && position.offset >= wanted.offset;
}

function copiedBytes({ work }: Making): number {
  return work.copying?.copiedBytes() ?? 0;
}

function replacedMeanwhile(): Problem {
  return new Problem('LOADING', 'a full resync replaced the keyspace file that was being copied; ask again');
}

function closing(): Problem {
  return new Problem('SHUTTING_DOWN', 'the node is shutting down');
}
