/**
 * Snapshots for full resyncs: the keyspace file, frozen at one position, read by as many sessions as need it.
 *
 * Owns: the frozen files, a few at most, and how many sessions read each.
 * A session joins a frozen file if what has been written since fits into the backlog, under the same run ID; otherwise the file
 * is frozen anew beside it. That has to end, also under a steady stream of replicas, or the WAL would grow for ever: when
 * there are too many frozen files, or much has been written since the first of them, who comes waits until they are let go.
 * Those who read them slowly are sent away then (hold.ts).
 */
import type { Offset, Position } from '../../replication/position.ts';
import type { StreamHead } from '../head/stream-head.ts';
import type { FrozenFile } from '../ports.ts';

/** So many frozen files at the same time. */
const MAX_FROZEN = 4;

export interface Snapshot {
  readonly file: FrozenFile;
  /** To be called exactly once. */
  release(): void;
}

interface Frozen {
  /** Where the head stood when the freeze was asked for. */
  readonly at: Position;
  readonly file: Promise<FrozenFile>;
  readers: number;
}

export class Snapshots {
  readonly #head: StreamHead;
  readonly #maxHeldBytes: () => number;
  /** The oldest first. */
  #frozen: Frozen[] = [];
  /** Where the head stood when the first was frozen of those between which no moment was without one. */
  #heldFrom: Offset;
  #thawed: (() => void)[] = [];

  /** @param maxHeldBytes no further file is frozen when so many bytes were written since the first one was */
  constructor(head: StreamHead, maxHeldBytes: () => number) {
    this.#head = head;
    this.#maxHeldBytes = maxHeldBytes;
    this.#heldFrom = head.offset;
    // What follows a snapshot must still be there when the snapshot has been sent.
    head.pin(() => this.#frozen[0]?.at.offset ?? null);
  }

  /** Somebody waits until frozen files are let go. */
  get awaited(): boolean {
    return this.#thawed.length > 0;
  }

  /** @returns a snapshot that is at most a backlog old */
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

  /** @returns a frozen file that is fresh, among whose readers the caller is counted */
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

  /** The keyspace file is about to be replaced: whoever comes now gets a snapshot of the new one. */
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
