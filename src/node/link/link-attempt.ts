/**
 * One connection of a replica to its master, from dialling to its end: `LinkMachine`'s effects carried out.
 *
 * What is received goes through the same `StreamHead.commit` as a master's own writes: it is acknowledged when it is in
 * this node's journal. The old data is served until a snapshot has arrived completely and was checked. A snapshot that has
 * arrived completely does not need the connection any more: it takes over also if that is lost meanwhile.
 */
import { CloseCode } from '../../replication/close-code.ts';
import type { FullResyncReason } from '../../replication/decide.ts';
import { LinkMachine } from '../../replication/link-machine.ts';
import type { AnsweredLineage, LinkEffect } from '../../replication/link-phases.ts';
import type { Position, RunId } from '../../replication/position.ts';
import type { Run } from '../../stream/command.ts';
import { concatenation } from '../../stream/concatenation.ts';
import { StreamDecoder } from '../../stream/decoder.ts';
import { array } from '../../stream/encoder.ts';
import { ProtocolError } from '../../stream/protocol-error.ts';
import { msSince } from '../elapsed.ts';
import type { StreamHead } from '../head/stream-head.ts';
import { GETACK, type LinkTimes } from '../link-times.ts';
import { Liveness } from '../liveness.ts';
import {
  DamagedSnapshot,
  type Dial,
  type Log,
  type SnapshotSink,
  type SocketEvents,
  StorageError,
  type StreamSocket,
  type World,
} from '../ports.ts';
import { SharedTurn } from '../turns.ts';
import { attempt, logUnexpected, owned, ownedSocketEvents, ownedWorld, unattended } from '../unattended.ts';
import type { ChainProblem } from './chain.ts';
import { IncomingSnapshot, type ReceivedSnapshot } from './incoming-snapshot.ts';

export type LinkState = 'connecting' | 'handshake' | 'snapshot' | 'streaming' | 'waiting' | 'refused';

export interface SyncReport {
  readonly kind: 'full' | 'partial';
  readonly reason: FullResyncReason | null;
  /** The snapshot's size, or how many bytes of the stream were lacking; null: the master did not tell. */
  readonly bytes: number | null;
  readonly durationMs: number;
}

export interface LinkContext {
  readonly world: World;
  readonly log: Log;
  readonly head: StreamHead;
  readonly dial: Dial;
  readonly settings: LinkTimes;
  readonly nodeId: string;
  /** Of this node's keyspace files. */
  readonly keyspaceSchema: number;
  /** Where this node can be reached itself. */
  listeningUrl(): string | null;
  /**
   * What to continue from, or null to ask for a snapshot; the history hash there; whether a snapshot is asked for because the
   * data differs; and whether the asked node is to become the master.
   */
  request(): {
    readonly position: Position | null;
    readonly hash: bigint | null;
    readonly different: boolean;
    readonly failover: boolean;
  };
  /** The master lets this node continue; its history may have another run ID, or a longer lineage, and has this hash. */
  continued(runId: RunId, lineage: AnsweredLineage, hash: bigint | null): void;
  receiveSnapshot(length: number): Promise<SnapshotSink>;
  /** Why the snapshot must not replace what this node has, unless somebody has accepted that; or null. */
  objection(snapshot: ReceivedSnapshot): Promise<string | null>;
  /** It takes over, if `wanted` still says so when it is open. */
  adoptSnapshot(snapshot: ReceivedSnapshot, wanted: () => boolean): Promise<void>;
  /** From now on what the master writes arrives. */
  streaming(): void;
  /** The master has answered that it will not serve this node. */
  refused(detail: string): void;
  /** What is wrong with the chain of masters above, such as that it comes back to this node; null: nothing. */
  chainProblem(url: string): Promise<ChainProblem | null>;
}

/** How often a replica tells its master how far it is (docs/design/redis-rules.md, R9). */
const ACK_INTERVAL_MS = 1_000;
export interface AttemptEvents {
  state(state: LinkState): void;
  synced(report: SyncReport): void;
  /** The master has answered; it announces this URL to clients, or null: none. */
  announced(url: string | null): void;
  /** It has brought something, or has been streaming for a while: the next connection may be tried at once. */
  stable(): void;
  /** Whether a snapshot takes over whatever it brings. */
  accepted(): boolean;
  /** The connection is gone, and the snapshot that came completely is still being checked; `failed` or `objected` follows. */
  lost(detail: string): void;
  /** The snapshot must not take over; the connection is gone. Called once; nothing follows. */
  objected(detail: string): void;
  /** The snapshot is damaged; the connection is gone. Called once; nothing follows. */
  damaged(detail: string): void;
  /** The connection is gone. Called once; nothing follows. */
  failed(state: 'waiting' | 'refused', detail: string): void;
}

export class LinkAttempt {
  readonly #context: LinkContext;
  readonly #world: World;
  readonly #events: AttemptEvents;
  readonly #socket: StreamSocket;
  readonly #machine: LinkMachine;
  readonly #decoder = new StreamDecoder();
  readonly #startedAt: number;
  readonly #liveness: Liveness;
  /** The connection is gone, or given up. */
  #over = false;
  /** What this connection has brought and is not adopted yet is not to be: this node follows somebody else, or stops. */
  #unwanted = false;
  /** Why the snapshot must not take over, found when the connection was lost already. */
  #objection: string | null = null;
  /** What of the snapshot is damaged, found when the connection was lost already: then the master is not told. */
  #damage: string | null = null;
  /** What else was wrong with the snapshot, found when the connection was lost already. */
  #lateFailure: string | null = null;
  #cancelAck: (() => void) | null = null;
  #received: Run[] = [];
  #turnDue = false;
  #snapshot: IncomingSnapshot | null = null;
  /** Resolves when nothing of a snapshot is in the way of the next attempt. */
  #snapshotGone: Promise<unknown> = Promise.resolve();
  /** A snapshot has come completely: it is checked and takes over, with the connection or without. */
  #adopting = false;
  /** Bytes of the stream that arrived while the snapshot was being checked. */
  #early: Buffer[] | null = null;
  /** While this side does not read, it cannot hear the master either. */
  #paused = false;
  /** The master wants to be told at once what has arrived. */
  #ackWanted = false;
  /** Of what arrives together. */
  readonly #receiveTurn: SharedTurn;

  constructor(context: LinkContext, url: string, events: AttemptEvents) {
    this.#context = context;
    this.#world = ownedWorld(context.world, (error) => this.#mistaken(error));
    this.#events = events;
    this.#startedAt = context.world.monotonic();
    this.#receiveTurn = new SharedTurn(context.world);
    this.#machine = new LinkMachine({
      ...context.request(),
      listeningUrl: context.listeningUrl(),
      nodeId: context.nodeId,
      keyspaceSchema: context.keyspaceSchema,
    });
    const mistaken = (error: unknown): void => this.#mistaken(error);
    const heard: SocketEvents = {
      message: (bytes) => {
        if (this.#over) return;
        this.alive();
        this.#run(this.#machine.receive(bytes));
      },
      alive: () => this.alive(),
      pinged: (text) => {
        this.alive();
        if (text === GETACK && !this.#over) this.#acknowledgeSoon();
      },
      closed: (code, reason) => this.#fail('waiting', reason === '' ? `closed with ${code}` : reason),
    };
    this.#socket = context.dial(url, {
      ...ownedSocketEvents(heard, mistaken),
      opened: owned(() => {
        if (this.#over) return;
        this.alive();
        this.#events.state('handshake');
        this.#run(this.#machine.start());
      }, mistaken),
    });
    this.#liveness = new Liveness({
      world: this.#world,
      times: context.settings,
      socket: this.#socket,
      isDeaf: () => this.#paused,
      silent: (silentMs) => {
        this.#socket.terminate();
        this.#abort(CloseCode.timedOut, `the master was silent for ${silentMs} ms`);
      },
    });
  }

  get progress(): { received: number; total: number } | null {
    return this.#snapshot === null
      ? null
      : { received: this.#snapshot.received, total: this.#snapshot.announced.length };
  }

  get silentMs(): number {
    return this.#liveness.silentMs;
  }

  /** Notes that something has just come from the master. */
  alive(): void {
    this.#liveness.heard();
  }

  /** Ends the connection: this node must not follow that master. */
  refuse(detail: string): void {
    this.#unwanted = true;
    if (this.#over) return;
    this.#socket.close(CloseCode.goingAway, 'the chain of masters is refused');
    this.#fail('refused', detail);
  }

  async stop(): Promise<void> {
    this.#unwanted = true;
    if (!this.#over) {
      this.#commitReceived();
      this.#end();
      this.#socket.close(CloseCode.goingAway, 'going away');
    }
    await this.#snapshotGone;
  }

  #run(effects: readonly LinkEffect[]): void {
    try {
      this.#carryOut(effects);
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      this.#abort(CloseCode.goingAway, `cannot go on: ${error.message}`);
    }
  }

  #carryOut(effects: readonly LinkEffect[]): void {
    for (const effect of effects) {
      if (this.#over) return;
      switch (effect.kind) {
        case 'send':
          this.#send(effect.words);
          break;
        case 'continue':
          this.#continue(effect);
          break;
        case 'snapshot':
          this.#beginSnapshot(effect);
          break;
        case 'snapshot-bytes':
          this.#snapshot?.write(effect.bytes);
          break;
        case 'snapshot-end':
          this.#endSnapshot(effect.crc32);
          break;
        case 'stream':
          if (this.#early === null) this.#stream(effect.bytes);
          else this.#early.push(effect.bytes);
          break;
        case 'not-served': {
          const isRefused = effect.why === 'refused' || effect.why === 'other-schema';
          this.#fail(isRefused ? 'refused' : 'waiting', effect.detail);
          break;
        }
        case 'protocol-error':
          this.#abort(CloseCode.protocolError, effect.detail);
          break;
      }
    }
  }

  #continue({ runId, lacking, lineage, announcedUrl, hash }: LinkEffect & { kind: 'continue' }): void {
    const { world, log } = this.#context;
    this.#events.announced(announcedUrl);
    this.#context.continued(runId, lineage, hash);
    log.info('partial-resync', { url: this.#socket.peer, runId, bytes: lacking });
    this.#events.synced({
      kind: 'partial',
      reason: null,
      bytes: lacking,
      durationMs: msSince(world, this.#startedAt),
    });
    this.#goStreaming();
  }

  #beginSnapshot(announced: LinkEffect & { kind: 'snapshot' }): void {
    const { reason, length, announcedUrl } = announced;
    this.#events.announced(announcedUrl);
    this.#context.log.info('full-resync', { url: this.#socket.peer, reason, bytes: length });
    this.#events.state('snapshot');
    this.#snapshot = new IncomingSnapshot({
      sink: this.#context.receiveSnapshot(length),
      announced,
      pause: () => this.#pause(),
      resume: () => this.#resume(),
      failed: (error) => this.#abort(CloseCode.goingAway, `cannot keep the snapshot: ${error.message}`),
    });
  }

  #endSnapshot(crc32: number | null): void {
    this.#early = [];
    this.#adopting = true;
    this.#pause();
    const snapshot = this.#snapshot as IncomingSnapshot;
    this.#context.log.info('snapshot-received', { url: this.#socket.peer, bytes: snapshot.received });
    // Whoever ends this attempt waits until the adoption has come to its own end.
    this.#snapshotGone = this.#adopt(snapshot, crc32)
      .then((done) => {
        if (done) this.#adopted(snapshot);
      })
      .catch((error: unknown) => {
        const detail = `snapshot: ${messageOf(error)}`;
        if (error instanceof DamagedSnapshot) this.#refuseSnapshot(error);
        else if (this.#over) this.#lateFailure = detail;
        else this.#abort(CloseCode.goingAway, detail);
      });
  }

  /** @returns whether the snapshot has taken over; if not, nothing is left of it */
  async #adopt(snapshot: IncomingSnapshot, crc32: number | null): Promise<boolean> {
    try {
      const received = await snapshot.finish(crc32);
      const mayAdopt = this.#unwanted || this.#events.accepted();
      const objection = mayAdopt ? null : await this.#context.objection(received);
      if (this.#unwanted || objection !== null) {
        await this.#discard(snapshot);
        if (objection !== null) this.#object(objection);
        return false;
      }
      await this.#context.adoptSnapshot(received, () => !this.#unwanted);
      return true;
    } catch (error) {
      await this.#discard(snapshot);
      throw error;
    } finally {
      this.#snapshot = null;
      this.#adopting = false;
    }
  }

  /** What cannot be removed now is removed at the next start: it must not hide why it was to be. */
  async #discard(snapshot: IncomingSnapshot): Promise<void> {
    try {
      await snapshot.discard();
    } catch (error) {
      this.#context.log.warn('snapshot-left', { error: messageOf(error) });
    }
  }

  #adopted(snapshot: IncomingSnapshot): void {
    this.#events.synced({
      kind: 'full',
      reason: snapshot.announced.reason,
      bytes: snapshot.announced.length,
      durationMs: msSince(this.#world, this.#startedAt),
    });
    const early = this.#early ?? [];
    this.#early = null;
    if (this.#unwanted) return;
    if (!this.#over) {
      this.#goStreaming();
      this.#resume();
      for (const bytes of early) if (!this.#over) this.#stream(bytes);
      return;
    }
    // The next connection may be tried at once: it goes on from what the snapshot has, and what came behind it.
    this.#events.stable();
    for (const bytes of early) this.#stream(bytes);
    const failure = this.#commitReceived();
    if (failure !== null) this.#lateFailure = `cannot keep the stream: ${failure.message}`;
  }

  #goStreaming(): void {
    this.#events.state('streaming');
    this.#acknowledge();
  }

  #acknowledge(): void {
    this.#cancelAck?.();
    this.#send(['REPLCONF', 'ACK', String(this.#context.head.offset)]);
    this.#cancelAck = this.#world.after(ACK_INTERVAL_MS, () => {
      this.#events.stable();
      this.#acknowledge();
    });
  }

  #stream(bytes: Buffer): void {
    try {
      const run = this.#decoder.push(bytes);
      if (run === null) return;
      this.#received.push(run);
      // Decoding takes time, and so will committing; the socket may have more at once than a turn should bring.
      if (this.#receiveTurn.isOver) this.#socket.pause();
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#abort(CloseCode.protocolError, error.message);
      return;
    }
    this.#scheduleTurn();
  }

  /** What arrived before this is asked for goes into the journal first. */
  #acknowledgeSoon(): void {
    this.#ackWanted = true;
    this.#scheduleTurn();
  }

  /** All that arrives in one tick becomes one journal row, like a master's write turn. */
  #scheduleTurn(): void {
    if (this.#turnDue) return;
    this.#turnDue = true;
    this.#world.soon(() => {
      this.#turnDue = false;
      this.#takeTurn();
    });
  }

  #takeTurn(): void {
    if (this.#over) return;
    const failure = this.#commitReceived();
    if (failure !== null) {
      this.#abort(CloseCode.goingAway, `cannot keep the stream: ${failure.message}`);
      return;
    }
    if (this.#ackWanted && this.#machine.phase === 'stream' && this.#early === null) {
      this.#send(['REPLCONF', 'ACK', String(this.#context.head.offset)]);
    }
    this.#ackWanted = false;
    const { head } = this.#context;
    if (!head.full) {
      if (!this.#paused) this.#socket.resume();
      return;
    }
    this.#pause();
    head.whenRoom(() => {
      if (!this.#over) this.#resume();
    });
  }

  #pause(): void {
    this.#paused = true;
    this.#socket.pause();
  }

  #resume(): void {
    this.#paused = false;
    this.alive();
    this.#socket.resume();
  }

  /** @returns why the journal did not take what was received, which then is given up; or null */
  #commitReceived(): StorageError | null {
    const received = this.#received;
    this.#received = [];
    if (received.length === 0) return null;
    try {
      this.#context.head.commit(concatenation(received));
      this.#events.stable();
      return null;
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      return error;
    }
  }

  #send(words: readonly string[]): void {
    this.#socket.send(Buffer.from(array(words), 'utf8'));
  }

  #abort(code: number, detail: string): void {
    if (this.#over) return;
    this.#socket.close(code, detail.slice(0, 100));
    this.#fail('waiting', detail);
  }

  /** Ends the attempt because its snapshot is damaged, and tells the master if the damage is there. */
  #refuseSnapshot({ message, asSent }: DamagedSnapshot): void {
    this.#damage = `snapshot: ${message}`;
    if (this.#over) return;
    this.#end();
    this.#socket.close(asSent ? CloseCode.damagedSnapshot : CloseCode.goingAway, this.#damage);
    this.#events.damaged(this.#damage);
  }

  /** Ends the attempt because its snapshot must not take over. */
  #object(detail: string): void {
    this.#objection = detail;
    if (this.#over) return;
    this.#end();
    this.#socket.close(CloseCode.goingAway, 'this node keeps its data');
    this.#events.objected(detail);
  }

  #fail(state: 'waiting' | 'refused', detail: string): void {
    if (this.#over) return;
    const failure = this.#commitReceived();
    this.#end();
    if (state === 'refused') this.#socket.close(CloseCode.goingAway, 'refused');
    if (this.#adopting && !this.#unwanted) this.#events.lost(detail);
    // The next attempt begins when nothing is left of this one: before, it would ask for what is about to be replaced.
    const told = this.#snapshotGone.then(() => {
      if (this.#objection !== null) {
        this.#events.objected(this.#objection);
        return;
      }
      if (this.#damage !== null) {
        this.#events.damaged(this.#damage);
        return;
      }
      const details = [detail, failure?.message ?? null, this.#lateFailure];
      this.#events.failed(state, details.filter((each) => each !== null).join('; '));
    });
    unattended(told, (error) => logUnexpected(this.#context.log, `link to ${this.#socket.peer}`, error));
  }

  /** An error that nobody expects ends this connection, and nothing else; the link dials again. */
  #mistaken(error: unknown): void {
    logUnexpected(this.#context.log, `link to ${this.#socket.peer}`, error);
    this.#unwanted = true;
    if (this.#over) return;
    // What has arrived may be what cannot be taken; it is not acknowledged, so the master sends it again.
    this.#received = [];
    attempt(
      () => this.#socket.terminate(),
      () => undefined,
    );
    this.#fail('waiting', `psyncd made a mistake: ${messageOf(error)}`);
  }

  #end(): void {
    this.#over = true;
    const snapshot = this.#snapshot;
    // What has come completely is adopted without the connection, or discarded by whoever finds that it is not to be.
    if (snapshot !== null && !this.#adopting) {
      this.#snapshot = null;
      this.#snapshotGone = this.#discard(snapshot);
    }
    this.#liveness.stop();
    this.#cancelAck?.();
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
