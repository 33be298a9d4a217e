/**
 * Snapshots for full resyncs: the keyspace file, frozen at one position, read by as many sessions as need it.
 *
 * Owns: the frozen files, four at most, the number of sessions that read each, and the time for which a file that nobody reads
 * waits for a replica whose connection broke.
 * A session joins a frozen file if the bytes written since it was frozen fit into the backlog, under the same run ID; otherwise
 * this class freezes the file again, beside the first one. A replica that comes back for the rest of a snapshot joins that one,
 * however much was written since. If replicas kept coming, some file would always be frozen, and the WAL would grow for ever. So
 * with four frozen files, or when more than `outputLimitBytes` were written since the first of an unbroken row of them, a session
 * that comes waits until a file is released; meanwhile hold.ts ends the sessions of slow readers. A file that waits for its replica
 * makes room at once, and hold.ts limits what it holds as it does for a reader.
 */

import type { Offset, Position } from '../../replication/position.ts';
import { type PartialSnapshot, resumesFrom } from '../../replication/snapshot-terms.ts';
import type { StreamHead } from '../head/stream-head.ts';
import { Hold, type HoldParts } from '../hold.ts';
import type { FrozenFile } from '../ports/keyspace.ts';
import type { World } from '../ports/world.ts';
import type { OutputLimits } from './session-context.ts';
import { SharedFile, type SnapshotSums } from './shared-file.ts';

/** The largest number of frozen files at the same time. */
const MAX_FROZEN = 4;
/** Milliseconds for which a frozen file waits for a replica whose connection broke. */
export const RETURN_MS = 120_000;

/** One session's share in a frozen file. */
export interface Snapshot {
  readonly file: FrozenFile;
  /** Number of the first bytes of the file that the replica has. */
  readonly from: number;
  readonly sums: SnapshotSums;
  /** Gives the share back: the replica does not come back for it. The session calls this or `leave`, exactly once. */
  release(): void;
  /**
   * Gives the share back, and the replica may come back for the rest of the file: its connection broke, or the last bytes are still
   * on their way.
   * @param given bytes of the file that were sent
   */
  leave(given: number): LeftSnapshot;
}

/** A frozen file that a replica may come back for. */
export interface LeftSnapshot {
  /** The replica has all of the file, and does not come back for it. */
  arrived(): void;
  /** The replica has found the file damaged: no other replica gets it. */
  damaged(): void;
}

interface SnapshotsParts {
  readonly world: World;
  readonly head: StreamHead;
  readonly settings: OutputLimits;
}

export class Snapshots {
  readonly #parts: SnapshotsParts;
  /** The frozen files that sessions read or may come back for, oldest first. */
  #frozen: SharedFile[] = [];
  /** The head's offset when the present unbroken row of frozen files began: since then at least one file was frozen. */
  #heldFrom: Offset;
  /** Resumes the sessions that wait until a frozen file is released. */
  #thawed: (() => void)[] = [];

  constructor(parts: SnapshotsParts) {
    const { head } = parts;
    this.#parts = parts;
    this.#heldFrom = head.offset;
    // A session continues from the journal when it has sent the snapshot, so the journal after it must still be there.
    head.pin(() => this.#frozen[0]?.at.offset ?? null);
  }

  /** Whether a session waits until a frozen file is released. */
  get awaited(): boolean {
    return this.#thawed.length > 0;
  }

  /**
   * Joins the frozen file of which the replica has a part, or one that is fresh, or freezes the keyspace file; may wait until other
   * sessions release theirs.
   * @param partial the part of a snapshot that the replica has; null: none
   * @returns a share in a snapshot. Unless the replica has a part of it, the stream has left it behind by at most the size of the
   *   backlog
   * @throws StorageError when the keyspace file cannot be frozen
   */
  async acquire(partial: PartialSnapshot | null = null): Promise<Snapshot> {
    const resumed = partial === null ? null : this.#resumed(partial);
    if (resumed !== null) return resumed;
    const frozen = await this.#join();
    try {
      const file = await frozen.file;
      // The run ID may have changed while the file was being frozen.
      if (file.position.runId !== this.#head.position.runId) {
        this.#release(frozen);
        return await this.acquire();
      }
      return this.#share(frozen, file, 0);
    } catch (error) {
      this.#release(frozen);
      throw error;
    }
  }

  /**
   * Begins to limit the bytes that stay on the disk because of a file.
   * @param reader the replica that takes the file, or has taken a part of it
   * @returns the watch, which the caller stops
   */
  limitHold(file: FrozenFile, reader: Pick<HoldParts, 'taken' | 'othersWait' | 'end'>): Hold {
    const { head, settings, world } = this.#parts;
    const neverBelowBacklog = (bytes: number): number => Math.max(bytes, head.backlog.size);
    return new Hold({
      ...reader,
      world,
      held: () => head.offset - file.position.offset + file.heldBytes(),
      limits: {
        hard: () => neverBelowBacklog(settings.outputLimitBytes),
        soft: () => ({ bytes: neverBelowBacklog(settings.outputSoftBytes), ms: settings.outputSoftMs }),
      },
    });
  }

  /** Whether a replica that has this part of a snapshot would get the rest of it now. Nothing changes. */
  wouldResume(partial: PartialSnapshot): boolean {
    return this.#frozenOf(partial) !== null;
  }

  /** @returns a share in the file that the replica has a part of; null: there is none any more */
  #resumed(partial: PartialSnapshot): Snapshot | null {
    const found = this.#frozenOf(partial);
    if (found === null) return null;
    const { frozen, file } = found;
    frozen.enter();
    frozen.returned();
    return this.#share(frozen, file, partial.bytes);
  }

  /** @returns the frozen file of which this is a part, as far as this node can tell; null: there is none */
  #frozenOf(partial: PartialSnapshot): { readonly frozen: SharedFile; readonly file: FrozenFile } | null {
    if (partial.position.runId !== this.#head.position.runId) return null;
    for (const frozen of this.#frozen) {
      const { isDamaged, sums, ready: file } = frozen;
      if (isDamaged || file === null || sums === null) continue;
      if (resumesFrom(partial, file, (bytes) => sums.at(bytes)) > 0) return { frozen, file };
    }
    return null;
  }

  #share(frozen: SharedFile, file: FrozenFile, from: number): Snapshot {
    return {
      file,
      from,
      sums: frozen.sumsOf(file),
      release: () => this.#release(frozen),
      leave: (given) => {
        const { world } = this.#parts;
        // A connection that brought nothing gives no more time: a replica could hold the file for ever otherwise.
        const isMore = given - from >= file.partBytes;
        frozen.left(given, isMore ? world.monotonic() + RETURN_MS : null);
        this.#release(frozen);
        return { arrived: () => this.#arrived(frozen), damaged: () => this.#damaged(frozen) };
      },
    };
  }

  /** @returns a fresh frozen file, with the caller counted as one of its readers */
  async #join(): Promise<SharedFile> {
    for (;;) {
      const fresh = this.#frozen.find(({ at, isDamaged }) => !isDamaged && !this.#isStale(at));
      if (fresh !== undefined) {
        fresh.enter();
        return fresh;
      }
      if (this.#mayFreeze()) break;
      if (this.#makeRoom()) continue;
      await new Promise<void>((resolve) => this.#thawed.push(resolve));
    }
    const frozen = new SharedFile(this.#head.position, this.#head.freeze());
    if (this.#frozen.length === 0) this.#heldFrom = frozen.at.offset;
    this.#frozen.push(frozen);
    return frozen;
  }

  get #head(): StreamHead {
    return this.#parts.head;
  }

  #mayFreeze(): boolean {
    const count = this.#frozen.length;
    const held = this.#head.offset - this.#heldFrom;
    return count === 0 || (count < MAX_FROZEN && held <= this.#parts.settings.outputLimitBytes);
  }

  /** Releases the oldest file that waits for a replica. @returns false if there is none */
  #makeRoom(): boolean {
    const kept = this.#frozen.find(({ readers }) => readers === 0);
    if (kept === undefined) return false;
    this.#thaw(kept);
    return true;
  }

  #isStale({ runId, offset }: Position): boolean {
    const { position, backlog } = this.#head;
    return runId !== position.runId || position.offset - offset > backlog.size;
  }

  /** Releases the files that wait for replicas: the history has another run ID, or the node closes. */
  releaseKept(): void {
    for (const frozen of [...this.#frozen]) if (frozen.readers === 0) this.#thaw(frozen);
  }

  /** Forgets the frozen files, because a full resync is about to replace the keyspace file. Present readers may finish. */
  forget(): void {
    this.releaseKept();
    this.#frozen = [];
    this.#wake();
  }

  #release(frozen: SharedFile): void {
    frozen.exit();
    if (frozen.readers > 0) return;
    if (this.#frozen.includes(frozen) && this.#mayKeep(frozen)) this.#keep(frozen);
    else this.#thaw(frozen);
  }

  /** One replica less may come back for the file. */
  #arrived(frozen: SharedFile): void {
    frozen.returned();
    this.#thawUnwanted(frozen);
  }

  #damaged(frozen: SharedFile): void {
    frozen.isDamaged = true;
    this.#thawUnwanted(frozen);
  }

  #thawUnwanted(frozen: SharedFile): void {
    const isIdle = frozen.readers === 0 && this.#frozen.includes(frozen);
    if (isIdle && !this.#mayKeep(frozen)) this.#thaw(frozen);
  }

  #mayKeep({ at, isDamaged, keptUntil }: SharedFile): boolean {
    const isPresent = at.runId === this.#head.position.runId;
    return isPresent && !isDamaged && !this.awaited && this.#parts.world.monotonic() < keptUntil;
  }

  /** Lets a file that nobody reads wait for a replica. */
  #keep(frozen: SharedFile): void {
    const { ready, given, keptUntil } = frozen;
    if (ready === null) return;
    const { world } = this.#parts;
    const end = (): void => this.#thaw(frozen);
    const hold = this.limitHold(ready, { taken: () => given, othersWait: () => this.awaited, end });
    const cancel = world.after(keptUntil - world.monotonic(), end);
    frozen.keep(() => {
      hold.stop();
      cancel();
    });
  }

  #thaw(frozen: SharedFile): void {
    frozen.thaw();
    if (!this.#frozen.includes(frozen)) return;
    this.#frozen = this.#frozen.filter((each) => each !== frozen);
    this.#wake();
  }

  #wake(): void {
    const thawed = this.#thawed;
    this.#thawed = [];
    for (const resolve of thawed) resolve();
  }
}
