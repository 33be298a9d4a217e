/**
 * A full resync on the replica, from the master's answer to the moment when the snapshot has taken over or nothing is left of it.
 *
 *   receiving ──all bytes have come──► checking ───► adopting ──► adopted
 *       │ │                               ├──► refused   ├──► failed
 *       │ └──disconnected──► suspending ──│──────────────│──► kept
 *       │                        │        └──► damaged   │
 *       └───────────── giveUp ───┴────────┴──────────────┴──► unwanted ──► discarded
 *
 * 1. receiving: `IncomingSnapshot` writes the bytes into a new keyspace file, as fast as the disk takes them.
 * 2. checking: a thread checks the file, and `Adoption` says whether it may replace the data of this node.
 * 3. adopting: `Adoption` opens the file, and makes it the keyspace of this node in one durable step.
 * If the connection is lost while the bytes come, `KeptSnapshot` keeps those that have come for the next connection.
 *
 * The node serves its old data until that step. From `checking` on it does not need the connection: the snapshot takes over even
 * if the connection is lost. `giveUp` prevents it until the durable step.
 */
import type { LinkEffect } from '../../replication/link-phases.ts';
import { msSince } from '../elapsed.ts';
import { DamagedSnapshot, inLogOf } from '../ports/failures.ts';
import { unattended } from '../unattended.ts';
import { IncomingSnapshot } from './incoming-snapshot.ts';
import { discard, type KeptSnapshot } from './kept-snapshot.ts';
import { type Failure, failureOf, type LinkContext, type SyncReport } from './link-context.ts';
import type { MasterConnection } from './master-connection.ts';

/** The end of a full resync. Unless the node has adopted the snapshot or keeps a part of it, nothing of it is left. */
export type Outcome =
  /** `isWanted`: false if somebody gave the snapshot up too late. */
  | { readonly kind: 'adopted'; readonly isWanted: boolean }
  /** The node keeps its data until a user accepts the snapshot. */
  | { readonly kind: 'refused'; readonly detail: string }
  /** `asSent`: whether the master has sent the file like that. */
  | { readonly kind: 'damaged'; readonly detail: string; readonly asSent: boolean }
  | ({ readonly kind: 'failed' } & Failure)
  /** The connection was lost; the next one goes on after `bytes`. `isMore`: whether this connection has brought some of them. */
  | { readonly kind: 'kept'; readonly bytes: number; readonly isMore: boolean }
  /** Somebody gave the snapshot up, or the connection was lost before anything could be kept. */
  | { readonly kind: 'discarded' };

type State =
  | { readonly kind: 'receiving' }
  | { readonly kind: 'checking' }
  | { readonly kind: 'adopting' }
  /** The connection is lost: the disk takes the bytes that have come. */
  | { readonly kind: 'suspending' }
  /** The snapshot is discarded as soon as nothing uses its file. */
  | { readonly kind: 'unwanted' }
  | Outcome;

const IS_END: { readonly [K in State['kind']]: boolean } = {
  receiving: false,
  checking: false,
  adopting: false,
  suspending: false,
  unwanted: false,
  adopted: true,
  refused: true,
  damaged: true,
  failed: true,
  kept: true,
  discarded: true,
};

interface SnapshotReceptionParts {
  readonly announced: LinkEffect & { kind: 'snapshot' };
  readonly connection: Pick<MasterConnection, 'peer' | 'pause' | 'resume'>;
  /** Has the part of the snapshot that an earlier connection has brought, and gets the one of this connection if that breaks. */
  readonly kept: KeptSnapshot;
  /** Moment of the monotonic clock at which this node dialled. */
  readonly startedAt: number;
  /** Whether a user has allowed this snapshot, whatever it brings. */
  accepted(): boolean;
  /** The disk does not take the bytes. */
  failed(why: Failure): void;
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
    const { announced, connection, kept } = parts;
    const from = announced.from ?? 0;
    const { promise, resolve } = Promise.withResolvers<Outcome>();
    this.settled = promise;
    this.#settle = resolve;
    this.#context = context;
    this.#parts = parts;
    context.log.info('full-resync', {
      url: connection.peer,
      reason: announced.reason,
      bytes: announced.length,
      ...(from === 0 ? {} : { resumedBytes: from }),
    });
    this.#incoming = new IncomingSnapshot({
      sink: kept.fileFor(announced, context.files),
      announced,
      connection,
      failed: (error) => parts.failed(failureOf('cannot keep the snapshot', error)),
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
    const { from, length: bytes, reason } = announced;
    return { kind: 'full', reason, bytes, durationMs, ...(from ? { resumedBytes: from } : {}) };
  }

  /** Whether all bytes have come, and the snapshot may still take over. */
  get goesOnAlone(): boolean {
    return this.#state.kind === 'checking' || this.#state.kind === 'adopting';
  }

  /** Takes bytes of the snapshot with their memory: the caller must not use them afterwards. */
  write(bytes: Buffer): void {
    this.#incoming.write(bytes);
  }

  /** Keeps bytes of the stream until the snapshot has taken over. */
  keep(bytes: Buffer): void {
    this.#early.push(bytes);
  }

  /** Whether earlier connections have brought a part of the snapshot. */
  get isResumed(): boolean {
    return (this.#parts.announced.from ?? 0) > 0;
  }

  /** Number of the bytes that `keep` was given. */
  get earlyBytes(): number {
    return this.#early.reduce((sum, { length }) => sum + length, 0);
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

  /** The connection is gone: the next one goes on with the snapshot, if the master can send the rest of one. */
  disconnected(): void {
    if (this.#state.kind !== 'receiving') return;
    if (this.#parts.announced.from === null) {
      this.giveUp();
      return;
    }
    this.#state = { kind: 'suspending' };
    this.#endWith(this.#suspend());
  }

  /** This node does not want the snapshot any more. */
  giveUp(): void {
    if (this.#isOver || this.#state.kind === 'unwanted') return;
    const isBusy = this.#state.kind !== 'receiving';
    this.#state = { kind: 'unwanted' };
    // `#takeOver` and `#suspend` discard it when they find that nobody wants it.
    if (!isBusy) this.#endWith(this.#discard().then(() => ({ kind: 'discarded' })));
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
    // Neither `#takeOver` nor `#suspend` nor `#discard` rejects.
    unattended(ended, (error) => this.#settle(rejection(error)));
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
      return rejection(error);
    }
  }

  async #suspend(): Promise<Outcome> {
    const { announced, kept } = this.#parts;
    try {
      const unfinished = await this.#incoming.suspend();
      const { bytes } = unfinished.partial;
      if (this.#isWanted && bytes > 0) {
        kept.keep(unfinished);
        return { kind: 'kept', bytes, isMore: bytes > (announced.from ?? 0) };
      }
    } catch (error) {
      this.#context.log.warn('snapshot-not-kept', { error: inLogOf(error) });
    }
    await this.#discard();
    return { kind: 'discarded' };
  }

  /** Removes the snapshot's file. The caller still reports why the snapshot was rejected if that fails. */
  #discard(): Promise<void> {
    return discard(this.#incoming, this.#context.log);
  }
}

function rejection(error: unknown): Outcome {
  const why = failureOf('snapshot', error);
  return error instanceof DamagedSnapshot
    ? { kind: 'damaged', detail: why.detail, asSent: error.asSent }
    : { kind: 'failed', ...why };
}
