/** A snapshot on its way in: written to its file while it arrives, with back-pressure. */
import type { FullResyncReason } from '../replication/decide.ts';
import type { AnsweredLineage, LinkEffect } from '../replication/link-machine.ts';
import type { Position } from '../replication/position.ts';
import type { SnapshotSink } from './ports.ts';

/** What a snapshot is that has been received and checked, and could take over. */
export interface ReceivedSnapshot {
  readonly keyspaceNumber: number;
  readonly position: Position;
  readonly lineage: AnsweredLineage;
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
  #unwrittenBytes = 0;
  #last: Promise<void>;
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
    this.#last = parts.sink.then(
      () => undefined,
      (error: unknown) => this.#hasFailed(error),
    );
  }

  write(bytes: Buffer): void {
    this.received += bytes.length;
    this.#unwrittenBytes += bytes.length;
    if (this.#unwrittenBytes > MAX_UNWRITTEN_BYTES) this.#pause();
    this.#last = this.#last
      .then(async () => {
        if (this.#error === null) await (await this.#sink).write(bytes);
      })
      .then(
        () => {
          this.#unwrittenBytes -= bytes.length;
          if (!this.#complete && this.#unwrittenBytes <= MAX_UNWRITTEN_BYTES / 2) this.#resume();
        },
        (error: unknown) => this.#hasFailed(error),
      );
  }

  /**
   * @param crc32 of what the master has sent, if it has told
   * @returns what came, which was checked
   */
  async finish(crc32: number | null): Promise<ReceivedSnapshot> {
    this.#complete = true;
    await this.#last;
    if (this.#error !== null) throw this.#error;
    const sink = await this.#sink;
    const { position, lineage, reason } = this.announced;
    const { empty } = await sink.finish(position, crc32);
    return { keyspaceNumber: sink.keyspaceNumber, position, lineage, reason, empty };
  }

  async discard(): Promise<void> {
    await this.#last;
    // If there is no sink, there is nothing to discard, and its error was told already.
    const sink = await this.#sink.catch(() => null);
    await sink?.discard();
  }

  #hasFailed(error: unknown): void {
    if (this.#error !== null) return;
    this.#error = error instanceof Error ? error : new Error(String(error));
    this.#failed(this.#error);
  }
}
