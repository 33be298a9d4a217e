/** A snapshot on its way in: written to its file while it arrives, with back-pressure. */
import type { FullResyncReason } from '../../replication/decide.ts';
import type { AnsweredLineage, LinkEffect } from '../../replication/link-phases.ts';
import type { Position } from '../../replication/position.ts';
import type { SnapshotSink } from '../ports.ts';

/** What a snapshot is that has been received and checked, and could take over. */
export interface ReceivedSnapshot {
  readonly keyspaceNumber: number;
  readonly position: Position;
  readonly lineage: AnsweredLineage;
  /** The master's history hash at `position`; null: unknown. */
  readonly hash: bigint | null;
  readonly reason: FullResyncReason | null;
  /** There is no entry in it. */
  readonly empty: boolean;
}

/** While so much of a snapshot waits to be written, no more is read from the socket. */
const MAX_UNWRITTEN_BYTES = 8 * 1024 * 1024;

export class IncomingSnapshot {
  readonly announced: LinkEffect & { kind: 'snapshot' };
  received = 0;
  readonly #sink: Promise<SnapshotSink>;
  readonly #pause: () => void;
  readonly #resume: () => void;
  readonly #failed: (error: Error) => void;
  /** All has come: the socket stays paused until the snapshot has taken over. */
  #complete = false;
  /** What has come and is not being written yet. */
  #waiting: Buffer[] = [];
  #unwrittenBytes = 0;
  /** Resolves when there is nothing left to write. */
  #writing: Promise<void> | null;
  #error: Error | null = null;

  constructor(parts: {
    sink: Promise<SnapshotSink>;
    announced: LinkEffect & { kind: 'snapshot' };
    pause: () => void;
    resume: () => void;
    failed: (error: Error) => void;
  }) {
    this.announced = parts.announced;
    this.#sink = parts.sink;
    this.#pause = parts.pause;
    this.#resume = parts.resume;
    this.#failed = parts.failed;
    this.#writing = this.#write();
  }

  write(bytes: Buffer): void {
    this.received += bytes.length;
    this.#unwrittenBytes += bytes.length;
    this.#waiting.push(bytes);
    if (this.#unwrittenBytes > MAX_UNWRITTEN_BYTES) this.#pause();
    this.#writing ??= this.#write();
  }

  /**
   * @param crc32 of what the master has sent, if it has told
   * @returns what came, which was checked
   */
  async finish(crc32: number | null): Promise<ReceivedSnapshot> {
    this.#complete = true;
    await this.#writing;
    if (this.#error !== null) throw this.#error;
    const sink = await this.#sink;
    const { position, lineage, hash, reason } = this.announced;
    const { empty } = await sink.finish(position, crc32);
    return { keyspaceNumber: sink.keyspaceNumber, position, lineage, hash, reason, empty };
  }

  async discard(): Promise<void> {
    await this.#writing;
    // If there is no sink, there is nothing to discard, and its error was told already.
    const sink = await this.#sink.catch(() => null);
    await sink?.discard();
  }

  /** Writes what has come, all of it at once: a busy event loop would make each write by itself wait for long. */
  async #write(): Promise<void> {
    try {
      const sink = await this.#sink;
      while (this.#waiting.length > 0) {
        const parts = this.#waiting;
        this.#waiting = [];
        await sink.write(parts);
        for (const { length } of parts) this.#unwrittenBytes -= length;
        if (!this.#complete && this.#unwrittenBytes <= MAX_UNWRITTEN_BYTES / 2) this.#resume();
      }
      this.#writing = null;
    } catch (error) {
      // Nothing more is written: #writing stays.
      this.#error = error instanceof Error ? error : new Error(String(error));
      this.#failed(this.#error);
    }
  }
}
