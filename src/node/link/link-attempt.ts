/**
 * One connection of a replica to its master, from dialling to its end: it carries out the effects of `LinkMachine`.
 *
 * The stream goes to `ReceivedStream`, a snapshot to `SnapshotReception`. A snapshot that has arrived completely does not need the
 * connection any more; the link hears of the end when nothing of the snapshot is left.
 */
import { CloseCode } from '../../replication/close-code.ts';
import { LinkMachine } from '../../replication/link-machine.ts';
import type { LinkEffect } from '../../replication/link-phases.ts';
import { msSince } from '../elapsed.ts';
import type { ToldLag } from '../link-times.ts';
import { StorageError, toldOf } from '../ports/failures.ts';
import type { World } from '../ports/world.ts';
import { logUnexpected, ownedWorld, unattended } from '../unattended.ts';
import type { KeptSnapshot } from './kept-snapshot.ts';
import type { LagClock } from './lag-clock.ts';
import {
  type AttemptEnd,
  type AttemptEvents,
  type Failure,
  failureOf,
  joined,
  kindOfClose,
  type LinkContext,
} from './link-context.ts';
import { MasterConnection } from './master-connection.ts';
import { ReceivedStream } from './received-stream.ts';
import { type Outcome, SnapshotReception } from './snapshot-reception.ts';

/** Characters of a reason that a closing frame states. */
const MAX_REASON_LENGTH = 100;

/** What outlasts the connections of a link. */
interface Lasting {
  readonly kept: KeptSnapshot;
  readonly lagClock: LagClock;
}

export class LinkAttempt {
  readonly #context: LinkContext;
  readonly #world: World;
  readonly #events: AttemptEvents;
  readonly #startedAt: number;
  readonly #machine: LinkMachine;
  readonly #kept: KeptSnapshot;
  readonly #lagClock: LagClock;
  readonly #connection: MasterConnection;
  readonly #stream: ReceivedStream;
  /** The full resync of this connection; null: there is none, or its snapshot has taken over. */
  #reception: SnapshotReception | null = null;
  /** What the master told during the full resync: how much it has after the snapshot; null: nothing. */
  #toldAfterSnapshot: ToldLag | null = null;

  /**
   * Dials.
   * @param url the master, `ws://HOST:PORT`
   * @param lasting `kept` has the part of a snapshot that the attempts before have brought, and keeps it for the next one; `lagClock`
   *   notes when this node has everything
   */
  constructor(context: LinkContext, url: string, events: AttemptEvents, lasting: Lasting) {
    const { kept, lagClock } = lasting;
    const mistaken = (error: unknown): void => this.#mistaken(error);
    const world = ownedWorld(context.world, mistaken);
    this.#context = context;
    this.#world = world;
    this.#events = events;
    this.#startedAt = world.monotonic();
    this.#kept = kept;
    this.#lagClock = lagClock;
    this.#machine = new LinkMachine({ ...context.request(), partial: kept.partial });
    const connection = new MasterConnection({
      world,
      dial: context.dial,
      url,
      times: context.settings,
      opened: () => {
        events.state('handshake');
        this.#run(this.#machine.start());
      },
      received: (bytes) => this.#run(this.#machine.receive(bytes)),
      ackWanted: () => this.#stream.acknowledgeSoon(),
      durabilityWanted: () => this.#stream.acknowledgeOnDisk(),
      lagTold: (lag) => this.#lagTold(lag),
      closed: (code, reason) =>
        this.#end({
          kind: kindOfClose(code),
          detail: reason === '' ? `closed with ${code}` : reason,
        }),
      silent: (silentMs) =>
        this.#abort(CloseCode.timedOut, { detail: `the master was silent for ${silentMs} ms` }),
      mistaken,
    });
    this.#connection = connection;
    this.#stream = new ReceivedStream({
      world,
      head: context.head,
      journal: context.journal,
      connection,
      lagClock,
      stable: () => events.stable(),
      failed: (code, why) => this.#abort(code, why),
    });
  }

  /** Bytes of the snapshot that have come, and all, while this node receives and checks it. */
  get progress(): { received: number; total: number } | null {
    return this.#reception?.progress ?? null;
  }

  /** Milliseconds since this node last heard of the master. */
  get silentMs(): number {
    return this.#connection.silentMs;
  }

  /** Whether this node does not read the stream now. */
  get isPaused(): boolean {
    return this.#connection.isPaused;
  }

  /** Ends the connection: this node must not follow that master. */
  refuse(detail: string): void {
    this.#reception?.giveUp();
    this.#close(CloseCode.goingAway, 'the chain of masters is refused', {
      kind: 'refused',
      detail,
      byThisNode: true,
    });
  }

  /** Ends the connection, and resolves when nothing of its snapshot is left. `ended` does not follow. */
  async stop(): Promise<void> {
    this.#reception?.giveUp();
    if (!this.#connection.isOver) {
      this.#stream.commit();
      this.#disconnect();
      this.#connection.close(CloseCode.goingAway, 'going away');
    }
    await this.#reception?.settled;
  }

  #run(effects: readonly LinkEffect[]): void {
    try {
      for (const effect of effects) {
        if (this.#connection.isOver) return;
        this.#carryOut(effect);
      }
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      this.#abort(CloseCode.goingAway, failureOf('cannot go on', error));
    }
  }

  #carryOut(effect: LinkEffect): void {
    switch (effect.kind) {
      case 'send':
        this.#connection.send(effect.words);
        break;
      case 'continue':
        this.#continue(effect);
        break;
      case 'snapshot':
        this.#beginSnapshot(effect);
        break;
      case 'snapshot-bytes':
        this.#reception?.write(effect.bytes);
        break;
      case 'snapshot-end':
        this.#finishSnapshot(this.#reception as SnapshotReception, effect.crc32);
        break;
      case 'stream':
        if (this.#reception === null) this.#stream.take(effect.bytes);
        else this.#reception.keep(effect.bytes);
        break;
      case 'not-served':
        this.#close(CloseCode.goingAway, 'not served', { kind: effect.why, detail: effect.detail });
        break;
      case 'protocol-error':
        this.#abort(CloseCode.protocolError, effect);
        break;
    }
  }

  #continue({ runId, lacking, lineage, announcedUrl, hash }: LinkEffect & { kind: 'continue' }): void {
    this.#kept.dropSoon();
    this.#events.announced(this.#connection.urlOf(announcedUrl));
    this.#context.continued(runId, lineage, hash);
    this.#context.log.info('partial-resync', { url: this.#connection.peer, runId, bytes: lacking });
    const durationMs = msSince(this.#world, this.#startedAt);
    this.#events.synced({ kind: 'partial', reason: null, bytes: lacking, durationMs });
    this.#lagClock.connected(this.#context.head.offset, lacking ?? 0);
    this.#goStreaming();
  }

  #beginSnapshot(announced: LinkEffect & { kind: 'snapshot' }): void {
    this.#events.announced(this.#connection.urlOf(announced.announcedUrl));
    this.#events.state('snapshot');
    this.#reception = new SnapshotReception(this.#context, {
      announced,
      startedAt: this.#startedAt,
      connection: this.#connection,
      kept: this.#kept,
      accepted: () => this.#events.accepted(),
      failed: (why) => this.#abort(CloseCode.goingAway, why),
    });
  }

  #finishSnapshot(reception: SnapshotReception, crc32: number | null): void {
    reception.finish(crc32);
    const settled = reception.settled.then((outcome) => {
      // Without the connection, `#tell` goes on from here.
      if (!this.#connection.isOver) this.#settled(reception, outcome);
    });
    unattended(settled, (error) => this.#abort(CloseCode.goingAway, failureOf('snapshot', error)));
  }

  /** Goes on after a full resync, while the connection is open. */
  #settled(reception: SnapshotReception, outcome: Outcome): void {
    this.#reception = null;
    switch (outcome.kind) {
      case 'adopted':
        this.#events.synced(reception.report);
        this.#beginLag(reception);
        this.#goStreaming();
        this.#connection.resume();
        for (const bytes of reception.takeEarly()) if (!this.#connection.isOver) this.#stream.take(bytes);
        break;
      case 'refused':
        this.#close(CloseCode.goingAway, 'this node keeps its data', endAfter(outcome));
        break;
      case 'damaged': {
        const code = outcome.asSent ? CloseCode.damagedSnapshot : CloseCode.goingAway;
        this.#close(code, outcome.detail, endAfter(outcome));
        break;
      }
      case 'failed':
        this.#abort(CloseCode.goingAway, outcome);
        break;
      case 'kept':
      case 'discarded':
        // Only a connection that is over gives its snapshot up.
        throw new Error('the snapshot ended while its connection was open');
    }
  }

  #lagTold(lag: ToldLag): void {
    if (this.#reception !== null)
      this.#toldAfterSnapshot = { ...lag, bytes: this.#reception.earlyBytes + lag.bytes };
    else this.#lagClock.told(this.#context.head.offset + this.#stream.unappliedBytes, lag);
  }

  /** Notes how old the snapshot is that has taken over. */
  #beginLag({ isResumed }: SnapshotReception): void {
    // A snapshot that earlier connections began may be of any age.
    this.#lagClock.adopted(isResumed ? null : this.#startedAt);
    if (this.#toldAfterSnapshot !== null)
      this.#lagClock.told(this.#context.head.offset, this.#toldAfterSnapshot);
    this.#toldAfterSnapshot = null;
  }

  #goStreaming(): void {
    this.#events.state('streaming');
    this.#stream.start();
  }

  #abort(code: CloseCode, why: Failure): void {
    this.#close(code, why.detail.slice(0, MAX_REASON_LENGTH), { ...why, kind: 'lost' });
  }

  /** Closes the connection, and ends the attempt. */
  #close(code: CloseCode, reason: string, end: AttemptEnd): void {
    if (this.#connection.isOver) return;
    this.#connection.close(code, reason);
    this.#end(end);
  }

  /** An error that nobody expects ends this connection, and nothing else; the link dials again. */
  #mistaken(error: unknown): void {
    logUnexpected(this.#context.log, `link to ${this.#connection.peer}`, error);
    this.#reception?.giveUp();
    if (this.#connection.isOver) return;
    // One of the runs may be the reason for the error.
    this.#stream.drop();
    this.#connection.terminate();
    this.#end({ kind: 'lost', detail: `psyncd made a mistake: ${toldOf(error)}` });
  }

  /** @param told how it ended, maybe in words of the master */
  #end(told: AttemptEnd): void {
    if (this.#connection.isOver) return;
    const end = this.#connection.shown(told);
    const failure = this.#stream.commit();
    this.#disconnect();
    if (this.#reception?.goesOnAlone === true) this.#events.lost(end.detail);
    unattended(this.#tell(end, failure), (error) =>
      logUnexpected(this.#context.log, `link to ${this.#connection.peer}`, error),
    );
  }

  #disconnect(): void {
    this.#connection.end();
    this.#reception?.disconnected();
    this.#stream.stop();
  }

  /**
   * Tells the link of the end when the full resync has ended too: before, the next attempt would ask for data that the snapshot is
   * about to replace.
   */
  async #tell(end: AttemptEnd, failure: StorageError | null): Promise<void> {
    const outcome = await this.#reception?.settled;
    if (outcome?.kind === 'refused' || outcome?.kind === 'damaged') {
      this.#events.ended(endAfter(outcome));
      return;
    }
    if (outcome?.kind === 'kept' && outcome.isMore) this.#events.stable();
    const late = outcome?.kind === 'failed' ? outcome : this.#keepEarly(outcome);
    const lost = failure && { detail: failure.message, inLog: failure.inLog };
    this.#events.ended({ ...end, ...joined([end, lost, late, this.#keptDetail]) });
  }

  /** How much of a snapshot the next connection need not bring; null: nothing is kept. */
  get #keptDetail(): Failure | null {
    const { partial } = this.#kept;
    if (partial === null) return null;
    return { detail: `${partial.bytes} of ${partial.length} bytes of the snapshot are kept` };
  }

  /** Commits the stream behind a snapshot that took over without the connection. @returns a problem with that, or null */
  #keepEarly(outcome: Outcome | undefined): Failure | null {
    const reception = this.#reception;
    if (reception === null || outcome?.kind !== 'adopted') return null;
    try {
      this.#events.synced(reception.report);
      if (!outcome.isWanted) return null;
      // The next connection goes on from the snapshot and these bytes.
      this.#events.stable();
      for (const bytes of reception.takeEarly()) this.#stream.take(bytes);
      const failure = this.#stream.commit();
      return failure === null ? null : failureOf('cannot keep the stream', failure);
    } catch (error) {
      return failureOf('snapshot', error);
    }
  }
}

/** @returns the end of an attempt whose snapshot must not take over */
function endAfter(outcome: Outcome & { kind: 'refused' | 'damaged' }): AttemptEnd {
  return { kind: outcome.kind === 'refused' ? 'guarded' : 'damaged', detail: outcome.detail };
}
