/**
 * Snapshots for full resyncs: the keyspace file, frozen at one position, read by as many sessions as need it.
 *
 * Owns: at most one frozen file at a time, and how many sessions read it.
 * A session joins a frozen file if what has been written since fits into the backlog, under the same run ID; otherwise
 * it waits until the readers are done and the file can be frozen anew. So a freeze always ends, also under a steady stream of
 * replicas.
 */
import type { Position } from '../replication/position.ts';
import type { FrozenFile } from './ports.ts';
import type { StreamHead } from './stream-head.ts';

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
  #frozen: Frozen | null = null;
  #thawed: (() => void)[] = [];

  constructor(head: StreamHead) {
    this.#head = head;
    // What follows the snapshot must still be there when the snapshot has been sent.
    head.pin(() => this.#frozen?.at.offset ?? null);
  }

  /** @returns a snapshot that is at most a backlog old */
  async acquire(): Promise<Snapshot> {
    while (this.#frozen !== null && this.#isStale(this.#frozen.at)) {
      await new Promise<void>((resolve) => this.#thawed.push(resolve));
    }
    this.#frozen ??= { at: this.#head.position, file: this.#head.freeze(), readers: 0 };
    const frozen = this.#frozen;
    frozen.readers += 1;
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

  #isStale({ runId, offset }: Position): boolean {
    const { position, backlog } = this.#head;
    return runId !== position.runId || position.offset - offset > backlog.size;
  }

  /** The keyspace file is about to be replaced: whoever comes now gets a snapshot of the new one. */
  forget(): void {
    this.#frozen = null;
    this.#wake();
  }

  #release(frozen: Frozen, file: FrozenFile | null): void {
    frozen.readers -= 1;
    if (frozen.readers > 0) return;
    file?.release();
    if (this.#frozen === frozen) {
      this.#frozen = null;
      this.#wake();
    }
  }

  #wake(): void {
    const thawed = this.#thawed;
    this.#thawed = [];
    for (const resolve of thawed) resolve();
  }
}
