/**
 * A full resync on the replica, from the master's answer to the moment when the snapshot has taken over or nothing is left of it.
 *
 *   receiving ──all bytes have come──► checking ───► adopting ──► adopted
 *       │                                 ├──► refused   ├──► failed
 *       │                                 └──► damaged   │
 *       └───────────────── giveUp ────────┴──────────────┴──► unwanted ──► discarded
 *
 * 1. receiving: `IncomingSnapshot` writes the bytes into a new keyspace file, as fast as the disk takes them.
 * 2. checking: a thread checks the file, and `Adoption` says whether it may replace the data of this node.
 * 3. adopting: `Adoption` opens the file, and makes it the keyspace of this node in one durable step.
 *
 * The node serves its old data until that step. From `checking` on it does not need the connection: the snapshot takes over even
 * if the connection is lost. `giveUp` prevents it until the durable step.
 */
import type { LinkEffect } from '../../replication/link-phases.ts';
import { msSince } from '../elapsed.ts';
import { DamagedSnapshot, messageOf } from '../ports/failures.ts';
import { unattended } from '../unattended.ts';
import { IncomingSnapshot } from './incoming-snapshot.ts';
import type { LinkContext, SyncReport } from './link-context.ts';
import type { MasterConnection } from './master-connection.ts';

/** The end of a full resync. Unless the node has adopted the snapshot, nothing of it is left. */
export type Outcome =
  /** `isWanted`: false if somebody gave the snapshot up too late. */
  | { readonly kind: 'adopted'; readonly isWanted: boolean }
  /** The node keeps its data until a user accepts the snapshot. */
  | { readonly kind: 'refused'; readonly detail: string }
  /** `asSent`: whether the master has sent the file like that. */
  | { readonly kind: 'damaged'; readonly detail: string; readonly asSent: boolean }
  | { readonly kind: 'failed'; readonly detail: string }
  /** Somebody gave the snapshot up, or the connection was lost before the last byte. */
  | { readonly kind: 'discarded' };

type State =
  | { readonly kind: 'receiving' }
  | { readonly kind: 'checking' }
  | { readonly kind: 'adopting' }
  /** The snapshot is discarded as soon as nothing uses its file. */
  | { readonly kind: 'unwanted' }
  | Outcome;

const IS_END: { readonly [K in State['kind']]: boolean } = {
  receiving: false,
  checking: false,
  adopting: false,
  unwanted: false,
  adopted: true,
  refused: true,
  damaged: true,
  failed: true,
  discarded: true,
};

interface SnapshotReceptionParts {
  readonly announced: LinkEffect & { kind: 'snapshot' };
  readonly connection: Pick<MasterConnection, 'peer' | 'pause' | 'resume'>;
  /** Moment of the monotonic clock at which this node dialled. */
  readonly startedAt: number;
  /** Whether a user has allowed this snapshot, whatever it brings. */
  accepted(): boolean;
  /** The disk does not take the bytes. */
  failed(detail: string): void;
}

export class SnapshotReception {
  /** Resolves at the end. It never rejects. */
  readonly settled: Promise<Outcome>;
  readonly #context: LinkContext;
  readonly #parts: SnapshotReceptionParts;
  readonly #incoming: IncomingSnapshot;
  readonly #settle: (outcome: Outcome) => void;
  #state: State = { kind: 'receiving' };
  /** Bytes of the stream that arrived behind the snapshot. */
  #early: Buffer[] = [];

  constructor(context: LinkContext, parts: SnapshotReceptionParts) {
    const { announced, connection } = parts;
    const { promise, resolve } = Promise.withResolvers<Outcome>();
    this.settled = promise;
    this.#settle = resolve;
    this.#context = context;
    this.#parts = parts;
    context.log.info('full-resync', {
      url: connection.peer,
      reason: announced.reason,
      bytes: announced.length,
    });
    this.#incoming = new IncomingSnapshot({
      sink: context.files.receive(announced.length),
      announced,
      connection,
      failed: (error) => parts.failed(`cannot keep the snapshot: ${error.message}`),
    });
  }

  /** Bytes of the snapshot that have come, and all; null at the end. */
  get progress(): { received: number; total: number } | null {
    return this.#isOver ? null : { received: this.#incoming.received, total: this.#parts.announced.length };
  }

  /** Report of this full resync for users, as of now. */
  get report(): SyncReport {
    const { announced, startedAt } = this.#parts;
    const durationMs = msSince(this.#context.world, startedAt);
    return { kind: 'full', reason: announced.reason, bytes: announced.length, durationMs };
  }

  /** Whether all bytes have come, and the snapshot may still take over. */
  get goesOnAlone(): boolean {
    return this.#state.kind === 'checking' || this.#state.kind === 'adopting';
  }

  /** Takes bytes of the snapshot; the caller must not change them afterwards. */
  write(bytes: Buffer): void {
    this.#incoming.write(bytes);
  }

  /** Keeps bytes of the stream until the snapshot has taken over. */
  keep(bytes: Buffer): void {
    this.#early.push(bytes);
  }

  /** @returns the bytes that `keep` was given */
  takeEarly(): readonly Buffer[] {
    const early = this.#early;
    this.#early = [];
    return early;
  }

  /** All bytes have come: checks the snapshot and lets it take over. @param crc32 checksum of the sent bytes; null: unknown */
  finish(crc32: number | null): void {
    const { connection } = this.#parts;
    this.#state = { kind: 'checking' };
    connection.pause();
    this.#context.log.info('snapshot-received', { url: connection.peer, bytes: this.#incoming.received });
    this.#endWith(this.#takeOver(crc32));
  }

  /** The connection is gone: half a snapshot is of no use. */
  disconnected(): void {
    if (this.#state.kind === 'receiving') this.giveUp();
  }

  /** This node does not want the snapshot any more. */
  giveUp(): void {
    if (this.#isOver || this.#state.kind === 'unwanted') return;
    const isComplete = this.goesOnAlone;
    this.#state = { kind: 'unwanted' };
    // A complete one is discarded where `#takeOver` finds that nobody wants it.
    if (!isComplete) this.#endWith(this.#discard().then(() => ({ kind: 'discarded' })));
  }

  get #isOver(): boolean {
    return IS_END[this.#state.kind];
  }

  get #isWanted(): boolean {
    return this.#state.kind !== 'unwanted';
  }

  #endWith(end: Promise<Outcome>): void {
    const ended = end.then((outcome) => {
      this.#state = outcome;
      this.#settle(outcome);
    });
    // Neither `#takeOver` nor `#discard` rejects.
    unattended(ended, (error) => this.#settle(failureOf(error)));
  }

  async #takeOver(crc32: number | null): Promise<Outcome> {
    const { adoption } = this.#context;
    try {
      const received = await this.#incoming.finish(crc32);
      const mayReplace = !this.#isWanted || this.#parts.accepted();
      const objection = mayReplace ? null : await adoption.objection(received);
      if (!this.#isWanted || objection !== null) {
        await this.#discard();
        return objection === null ? { kind: 'discarded' } : { kind: 'refused', detail: objection };
      }
      this.#state = { kind: 'adopting' };
      await adoption.adopt(received, () => this.#isWanted);
      return { kind: 'adopted', isWanted: this.#isWanted };
    } catch (error) {
      await this.#discard();
      return failureOf(error);
    }
  }

  /**
   * Removes the snapshot's file. If that fails, the log says so, the caller still reports why the snapshot was rejected, and the
   * next start of the node removes the file.
   */
  async #discard(): Promise<void> {
    try {
      await this.#incoming.discard();
    } catch (error) {
      this.#context.log.warn('snapshot-left', { error: messageOf(error) });
    }
  }
}

function failureOf(error: unknown): Outcome {
  const detail = `snapshot: ${messageOf(error)}`;
  return error instanceof DamagedSnapshot
    ? { kind: 'damaged', detail, asSent: error.asSent }
    : { kind: 'failed', detail };
}
