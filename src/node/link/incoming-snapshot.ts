/** Writes a snapshot into its file while it arrives, with back-pressure. */
import type { FullResyncReason } from '../../replication/decide.ts';
import type { AnsweredLineage, LinkEffect } from '../../replication/link-phases.ts';
import type { Position } from '../../replication/position.ts';
import type { SnapshotSink } from '../ports/keyspace-files.ts';
import type { Unfinished } from './kept-snapshot.ts';
import type { MasterConnection } from './master-connection.ts';

/** A snapshot that has arrived, was checked, and could take over. */
export interface ReceivedSnapshot {
  readonly keyspaceNumber: number;
  readonly position: Position;
  readonly lineage: AnsweredLineage;
  /** The master's history hash at `position`; null: unknown. */
  readonly hash: bigint | null;
  readonly reason: FullResyncReason | null;
  /** Whether it has no entry. */
  readonly empty: boolean;
}

/** Bytes that wait for the disk at which this node stops reading from the socket; it reads on at half of them. */
const MAX_UNWRITTEN_BYTES = 8 * 1024 * 1024;

export class IncomingSnapshot {
  readonly announced: LinkEffect & { kind: 'snapshot' };
  /** Bytes that have come, on this connection and the ones before. */
  received: number;
  readonly #sink: Promise<SnapshotSink>;
  readonly #connection: Pick<MasterConnection, 'pause' | 'resume'>;
  readonly #failed: (error: Error) => void;
  /** Whether no more bytes come: the socket stays as it is then. */
  #complete = false;
  /** Bytes that have come and that the disk has not been given. */
  #waiting: Buffer[] = [];
  #unwrittenBytes = 0;
  /** Resolves when nothing is left to write; null: nothing is. */
  #writing: Promise<void> | null;
  #error: Error | null = null;

  constructor(parts: {
    sink: Promise<SnapshotSink>;
    announced: LinkEffect & { kind: 'snapshot' };
    connection: Pick<MasterConnection, 'pause' | 'resume'>;
    failed: (error: Error) => void;
  }) {
    this.announced = parts.announced;
    this.received = parts.announced.from ?? 0;
    this.#sink = parts.sink;
    this.#connection = parts.connection;
    this.#failed = parts.failed;
    this.#writing = this.#write();
  }

  /** Takes bytes with their memory: the caller must not use them afterwards. */
  write(bytes: Buffer): void {
    this.received += bytes.length;
    this.#unwrittenBytes += bytes.length;
    this.#waiting.push(bytes);
    if (this.#unwrittenBytes > MAX_UNWRITTEN_BYTES) this.#connection.pause();
    this.#writing ??= this.#write();
  }

  /**
   * Waits for the disk, and checks the snapshot.
   * @param crc32 checksum of the bytes as the master has sent them; null: unknown
   * @throws DamagedSnapshot, or an error of the disk
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

  /**
   * Stops receiving, and waits for the disk.
   * @returns the part that the next connection can go on from, maybe of no bytes
   * @throws Error of the disk
   */
  async suspend(): Promise<Unfinished> {
    this.#complete = true;
    await this.#writing;
    if (this.#error !== null) throw this.#error;
    const sink = await this.#sink;
    const { position, length } = this.announced;
    return { partial: { position, length, ...(await sink.rewind()) }, sink };
  }

  /** Removes the file. */
  async discard(): Promise<void> {
    await this.#writing;
    // Without a sink there is nothing to discard, and `failed` has reported its error.
    const sink = await this.#sink.catch(() => null);
    await sink?.discard();
  }

  /** Writes all bytes that have come at once: on a busy event loop each single write would wait for long. */
  async #write(): Promise<void> {
    try {
      const sink = await this.#sink;
      while (this.#waiting.length > 0) {
        const parts = this.#waiting;
        this.#waiting = [];
        // The sink takes the memory of the bytes: afterwards their lengths are 0.
        const bytes = parts.reduce((sum, { length }) => sum + length, 0);
        await sink.write(parts);
        this.#unwrittenBytes -= bytes;
        if (!this.#complete && this.#unwrittenBytes <= MAX_UNWRITTEN_BYTES / 2) this.#connection.resume();
      }
      this.#writing = null;
    } catch (error) {
      // `#writing` stays, so that nothing writes any more.
      this.#error = error instanceof Error ? error : new Error(String(error));
      this.#failed(this.#error);
    }
  }
}
