/** The progress of one replica, as its session knows it: the last sync, and the offset that the replica has acknowledged. */
import type { Offset } from '../../replication/position.ts';
import { msSince } from '../elapsed.ts';
import type { StreamHead } from '../head/stream-head.ts';
import type { World } from '../ports/world.ts';
import type { SessionStatus, SyncSummary } from './session-context.ts';

interface ProgressParts {
  readonly world: Pick<World, 'monotonic'>;
  readonly head: Pick<StreamHead, 'offset' | 'lagMs'>;
}

export class ReplicaProgress {
  readonly #parts: ProgressParts;
  #acknowledged = 0;
  #acknowledgedAt: number | null = null;
  #durable: number | null = null;
  #sync: SyncSummary | null = null;

  constructor({ world, head }: ProgressParts) {
    this.#parts = { world, head };
  }

  /** Notes how the session brings the replica up to date. */
  synced(sync: SyncSummary): void {
    this.#sync = sync;
  }

  /** Notes that the replica gets the stream after this offset, and so has everything up to it. */
  wentOnline(after: Offset): void {
    this.#acknowledged = after;
  }

  /**
   * Notes an acknowledgement. Offsets below earlier ones change only the time.
   * @param durable offset up to which the stream is on the replica's disk; null: the replica does not say
   */
  acknowledge(offset: Offset, durable: Offset | null): void {
    this.#acknowledged = Math.max(this.#acknowledged, offset);
    if (durable !== null) this.#durable = Math.max(this.#durable ?? 0, durable);
    this.#acknowledgedAt = this.#parts.world.monotonic();
  }

  /** The way in which the session brought the replica up to date; null: it has not begun. */
  get sync(): SyncSummary | null {
    return this.#sync;
  }

  /** Offset up to which the replica says that its journal holds the stream; online, at least the offset at which it went online. */
  get acknowledgedOffset(): number {
    return this.#acknowledged;
  }

  /** Offset up to which the replica says that its disk holds the stream; null: it has not said so. */
  get durableOffset(): number | null {
    return this.#durable;
  }

  /** Moment of the monotonic clock at which the replica last acknowledged something; null: it has not. */
  get acknowledgedAt(): number | null {
    return this.#acknowledgedAt;
  }

  /** Whether the replica has acknowledged everything up to `offset`. */
  hasAcknowledged(offset: Offset): boolean {
    return this.#acknowledgedAt !== null && this.#acknowledged >= offset;
  }

  /** Bytes of the stream that the replica has not acknowledged. */
  get lagBytes(): number {
    return Math.max(0, this.#parts.head.offset - this.#acknowledged);
  }

  /**
   * Whether the replica has the whole stream. After a full resync it must acknowledge something first, because it may still be
   * checking the snapshot.
   */
  get hasEverything(): boolean {
    return (this.#acknowledgedAt !== null || this.#sync?.kind === 'partial') && this.lagBytes === 0;
  }

  /** The members of the session's status that show the progress. */
  get status(): Pick<
    SessionStatus,
    'offset' | 'durableOffset' | 'lagBytes' | 'lagSeconds' | 'ackAgeMs' | 'sync'
  > {
    const { head, world } = this.#parts;
    return {
      offset: this.#acknowledged,
      ...(this.#durable === null ? {} : { durableOffset: this.#durable }),
      lagBytes: this.lagBytes,
      lagSeconds: head.lagMs(this.#acknowledged as Offset) / 1000,
      ...(this.#acknowledgedAt === null ? {} : { ackAgeMs: msSince(world, this.#acknowledgedAt) }),
      ...(this.#sync === null ? {} : { sync: this.#sync }),
    };
  }
}
