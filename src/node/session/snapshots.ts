/**
 * Snapshots for full resyncs: the keyspace file, frozen at one position, read by as many sessions as need it.
 *
 * Owns: the frozen files, four at most, and the number of sessions that read each.
 * A session joins a frozen file if the bytes written since it was frozen fit into the backlog, under the same run ID; otherwise
 * this class freezes the file again, beside the first one. If replicas kept coming, some file would always be frozen, and the
 * WAL would grow for ever. So with four frozen files, or when more than `maxHeldBytes` were written since the first of an
 * unbroken row of them, a session that comes waits until a file is released; meanwhile hold.ts ends the sessions of slow readers.
 */
import type { Offset, Position } from '../../replication/position.ts';
import type { StreamHead } from '../head/stream-head.ts';
import type { FrozenFile } from '../ports/keyspace.ts';

/** The largest number of frozen files at the same time. */
const MAX_FROZEN = 4;

/** One session's share in a frozen file. */
export interface Snapshot {
  readonly file: FrozenFile;
  /** Gives the share back. The session calls it exactly once. */
  release(): void;
}

interface Frozen {
  /** The head's position when this class asked for the freeze; the position of the file is this one or a later one. */
  readonly at: Position;
  readonly file: Promise<FrozenFile>;
  readers: number;
}

export class Snapshots {
  readonly #head: StreamHead;
  readonly #maxHeldBytes: () => number;
  /** The frozen files that sessions read, oldest first. */
  #frozen: Frozen[] = [];
  /** The head's offset when the present unbroken row of frozen files began: since then at least one file was frozen. */
  #heldFrom: Offset;
  /** Resumes the sessions that wait until a frozen file is released. */
  #thawed: (() => void)[] = [];

  /** @param maxHeldBytes bytes of the stream, written since an unbroken row of frozen files began, that prevent a further freeze */
  constructor(head: StreamHead, maxHeldBytes: () => number) {
    this.#head = head;
    this.#maxHeldBytes = maxHeldBytes;
    this.#heldFrom = head.offset;
    // A session continues from the journal when it has sent the snapshot, so the journal after it must still be there.
    head.pin(() => this.#frozen[0]?.at.offset ?? null);
  }

  /** Whether a session waits until a frozen file is released. */
  get awaited(): boolean {
    return this.#thawed.length > 0;
  }

  /**
   * Joins a frozen file that is fresh, or freezes the keyspace file; may wait until other sessions release theirs.
   * @returns a share in a snapshot that the stream has left behind by at most the size of the backlog
   * @throws StorageError when the keyspace file cannot be frozen
   */
  async acquire(): Promise<Snapshot> {
    const frozen = await this.#join();
    try {
      const file = await frozen.file;
      // The run ID may have changed while the file was being frozen.
      if (file.position.runId !== this.#head.position.runId) {
        this.#release(frozen, file);
        return await this.acquire();
      }
      return { file, release: () => this.#release(frozen, file) };
    } catch (error) {
      this.#release(frozen, null);
      throw error;
    }
  }

  /** @returns a fresh frozen file, with the caller counted as one of its readers */
  async #join(): Promise<Frozen> {
    for (;;) {
      const fresh = this.#frozen.find(({ at }) => !this.#isStale(at));
      if (fresh !== undefined) {
        fresh.readers += 1;
        return fresh;
      }
      if (this.#mayFreeze()) break;
      await new Promise<void>((resolve) => this.#thawed.push(resolve));
    }
    const frozen = { at: this.#head.position, file: this.#head.freeze(), readers: 1 };
    if (this.#frozen.length === 0) this.#heldFrom = frozen.at.offset;
    this.#frozen.push(frozen);
    return frozen;
  }

  #mayFreeze(): boolean {
    const count = this.#frozen.length;
    const held = this.#head.offset - this.#heldFrom;
    return count === 0 || (count < MAX_FROZEN && held <= this.#maxHeldBytes());
  }

  #isStale({ runId, offset }: Position): boolean {
    const { position, backlog } = this.#head;
    return runId !== position.runId || position.offset - offset > backlog.size;
  }

  /** Forgets the frozen files, because a full resync is about to replace the keyspace file. Present readers may finish. */
  forget(): void {
    this.#frozen = [];
    this.#wake();
  }

  #release(frozen: Frozen, file: FrozenFile | null): void {
    frozen.readers -= 1;
    if (frozen.readers > 0) return;
    file?.release();
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
