/**
 * The master's side of one connected replica: carries out the effects of `SessionMachine` on a socket.
 *
 *   handshake ──PSYNC──► (snapshot ──►) online ──► closed
 *
 * The file is longer than most: a third of it are the short getters by which the rest of the node sees a replica, and the
 * answer to PSYNC stays in one place with the refusals that may come before it.
 */
import { CloseCode } from '../../replication/close-code.ts';
import {
  type FullResyncReason,
  type Place,
  type SyncRequest,
  showsRollback,
  UNKNOWN_PLACE,
} from '../../replication/decide.ts';
import { schemaRefusal } from '../../replication/keyspace-schema.ts';
import { formatPosition, fromWireOffset, type Offset } from '../../replication/position.ts';
import { NEW_SESSION, type SessionState, sessionStep } from '../../replication/session-machine.ts';
import { reachableUrl } from '../../replication/upstream.ts';
import { ProtocolError } from '../../stream/protocol-error.ts';
import { RespParser } from '../../stream/resp-parser.ts';
import { msSince } from '../elapsed.ts';
import { Liveness } from '../liveness.ts';
import { type FrozenFile, type SocketEvents, StorageError, type StreamSocket } from '../ports.ts';
import { attempt, logUnexpected, ownedWorld, unattended } from '../unattended.ts';
import type { SessionContext, SessionStatus, SyncSummary } from './session-context.ts';
import { SessionOutput } from './session-output.ts';
import { SnapshotTransfer } from './snapshot-transfer.ts';
import { answerTail } from './sync-answer.ts';

export type {
  OutputLimits,
  SessionContext,
  SessionStatus,
  SyncCounters,
  SyncSummary,
} from './session-context.ts';

export type SessionPhase = 'handshake' | 'snapshot' | 'online' | 'closed';

/** Commands that a connection may send before PSYNC; one more ends it. */
const MAX_GREETING = 64;
/** Milliseconds within which a connection must send PSYNC. */
const GREETING_MS = 10_000;
/** Limits of one command; the commands of the handshake are short. */
const HANDSHAKE_LIMITS = { maxElements: 64, maxBulkBytes: 4_096, maxArrayBytes: 16_384 };

export class Session implements SocketEvents {
  readonly #context: SessionContext;
  readonly #socket: StreamSocket;
  readonly #parser = new RespParser(HANDSHAKE_LIMITS);
  readonly #output: SessionOutput;
  readonly #liveness: Liveness;
  #machine: SessionState = NEW_SESSION;
  #phase: SessionPhase = 'handshake';
  /** The snapshot on its way to the replica, in the phase `snapshot`. */
  #transfer: SnapshotTransfer | null = null;
  #acknowledged = 0;
  /** Moment of the monotonic clock at which the replica last acknowledged something. */
  #acknowledgedAt: number | null = null;
  #sync: SyncSummary | null = null;
  readonly #startedAt: number;
  #commands = 0;

  constructor(context: SessionContext, socket: StreamSocket) {
    const mistaken = (error: unknown): void => this.mistaken(error);
    const { head, notes, settings } = context;
    const world = ownedWorld(context.world, mistaken);
    this.#context = { ...context, world };
    this.#socket = socket;
    this.#startedAt = world.monotonic();
    this.#output = new SessionOutput({
      world,
      head,
      settings,
      socket,
      close: (code, detail) => this.close(code, detail),
      journalNotRead: (error) => this.#journalNotRead(error),
      mistaken,
    });
    this.#liveness = new Liveness({
      world,
      times: settings,
      socket,
      lookMs: () => Math.max(settings.outputSoftMs / 2, 100),
      look: () => this.#look(),
      silent: (silentMs) => this.#drop(CloseCode.timedOut, `silent for ${silentMs} ms`),
    });
    notes.note('connected');
  }

  /**
   * Offset that the replica has in its journal, and the moment of the monotonic clock at which it last said so; null: the
   * replica is not online, or has not acknowledged anything.
   */
  get acknowledgement(): { readonly offset: number; readonly at: number } | null {
    if (this.#phase !== 'online' || this.#acknowledgedAt === null) return null;
    return { offset: this.#acknowledged, at: this.#acknowledgedAt };
  }

  /** Whether the peer has asked for a sync (PSYNC or SYNC). */
  get isReplica(): boolean {
    return this.#machine.kind === 'syncing';
  }

  /** ID of the replica's process; null: the replica has not said it. */
  get nodeId(): string | null {
    return this.#machine.nodeId;
  }

  /** Address from which the connection comes. */
  get peer(): string {
    return this.#socket.peer;
  }

  /** Moment of the monotonic clock at which this node last heard of the replica. */
  get lastHeardAt(): number {
    return this.#liveness.heardAt;
  }

  /** Whether this session has begun to bring the replica up to date. */
  get hasSynced(): boolean {
    return this.#sync !== null;
  }

  /** URL under which the replica says that other nodes reach it; null: it has not said one. */
  get url(): string | null {
    const { listeningUrl } = this.#machine;
    return listeningUrl === null ? null : reachableUrl(listeningUrl, this.#socket.peer);
  }

  /** Offset up to which the replica says that its journal holds the stream; online, at least the offset at which it went online. */
  get acknowledgedOffset(): number {
    return this.#acknowledged;
  }

  /** Bytes of the stream that the replica has not acknowledged. */
  get lagBytes(): number {
    return Math.max(0, this.#context.head.offset - this.#acknowledged);
  }

  /**
   * Whether the replica has the whole stream. After a full resync it must acknowledge something first, because it may still be
   * checking the snapshot.
   */
  get hasEverything(): boolean {
    return (this.#acknowledgedAt !== null || this.#sync?.kind === 'partial') && this.lagBytes === 0;
  }

  /** The session as administrators see it; null: it has ended. */
  get status(): SessionStatus | null {
    if (this.#phase === 'closed') return null;
    const { head, world } = this.#context;
    const { url } = this;
    const progress = this.#transfer?.progress ?? null;
    return {
      id: this.#context.id,
      ...(url === null ? {} : { url }),
      peer: this.#socket.peer,
      state: this.#phase,
      offset: this.#acknowledged,
      lagBytes: this.lagBytes,
      lagSeconds: head.lagMs(this.#acknowledged as Offset) / 1000,
      ...(this.#acknowledgedAt === null ? {} : { ackAgeMs: msSince(world, this.#acknowledgedAt) }),
      ...(progress === null ? {} : { progress }),
      ...(this.#sync === null ? {} : { sync: this.#sync }),
    };
  }

  /** Asks the replica to acknowledge as soon as it has everything up to `offset`. */
  wantAck(offset: Offset): void {
    if (this.#acknowledgedAt !== null && this.#acknowledged >= offset) return;
    this.#output.wantAck(offset);
  }

  /** Takes bytes of the replica's commands; a command may arrive in pieces. */
  message(bytes: Buffer): void {
    if (this.#phase === 'closed') return;
    this.#liveness.heard();
    try {
      this.#parser.push(bytes);
      for (let next = this.#parser.next(); next !== null; next = this.#parser.next()) {
        this.#take(next.elements.map((element) => element.toString('utf8')));
        if (this.#isClosed()) return;
      }
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.close(CloseCode.protocolError, error.message);
    }
  }

  /** A pong of the replica has come. */
  alive(): void {
    this.#liveness.heard();
    this.#output.answered();
  }

  /** A ping of the replica has come. */
  pinged(): void {
    this.#liveness.heard();
  }

  /** The connection has ended: the replica closed it, or the network did. */
  closed(code: number, reason: string): void {
    if (this.#phase === 'closed') return;
    this.#context.notes.note('session-closed', { code, reason });
    if (code === CloseCode.damagedSnapshot && this.#sync?.kind === 'full')
      this.#context.snapshotRefused(reason);
    this.#end();
  }

  /** Ends the session from this side, and tells the replica why. */
  close(code: number, reason: string): void {
    if (this.#phase === 'closed') return;
    this.#context.notes.note('session-ended', { code, reason });
    this.#end();
    this.#socket.close(code, reason);
  }

  /** Logs an error that nobody expects, and ends only this session; the replica connects again. */
  mistaken(error: unknown): void {
    logUnexpected(this.#context.log, `session ${this.#context.id}`, error);
    attempt(
      () => this.close(CloseCode.notReady, 'psyncd made a mistake'),
      () => undefined,
    );
  }

  /** Gives the replica the bytes of a commit. @param from offset before them */
  committed(bytes: Buffer, from: Offset): void {
    this.#output.committed(bytes, from);
  }

  #take(words: readonly string[]): void {
    this.#commands += 1;
    if (this.#phase === 'handshake' && this.#commands > MAX_GREETING) {
      this.close(CloseCode.protocolError, `more than ${MAX_GREETING} commands before PSYNC`);
      return;
    }
    const [next, effects] = sessionStep(this.#machine, words);
    const named = next.listeningUrl !== this.#machine.listeningUrl;
    this.#machine = next;
    if (named && this.url !== null) this.#context.notes.named(this.url);
    for (const effect of effects) {
      switch (effect.kind) {
        case 'reply':
          this.#output.line(effect.line);
          break;
        case 'start-sync':
          this.#startSync(effect.request, effect.failover);
          break;
        case 'acknowledged':
          this.#acknowledge(effect.offset);
          break;
        case 'protocol-error':
          this.close(CloseCode.protocolError, effect.detail);
          return;
      }
    }
  }

  #acknowledge(offset: Offset): void {
    if (offset > this.#context.head.offset) {
      this.close(CloseCode.protocolError, `ACK ${offset} is past ${this.#context.head.offset}`);
      return;
    }
    this.#acknowledged = Math.max(this.#acknowledged, offset);
    this.#acknowledgedAt = this.#context.world.monotonic();
    this.#context.acknowledged();
  }

  #startSync(request: SyncRequest, failover: boolean): void {
    if (this.#machine.nodeId === this.#context.nodeId) {
      this.#refuse('-ERR a node cannot be its own master');
      return;
    }
    const refusal = this.#context.refusal();
    if (refusal !== null) {
      this.close(CloseCode.tooMany, refusal);
      return;
    }
    if (!failover || request.kind !== 'psync') {
      this.#answer(request);
      return;
    }
    const position = { runId: request.runId, offset: fromWireOffset(request.asked) as Offset };
    const answered = this.#context.takeOver(position, request.hash).then((refusal) => {
      if (this.#isClosed()) return;
      if (refusal === null) this.#answer(request);
      else this.#refuse(refusal);
    });
    unattended(answered, (error) => this.mistaken(error));
  }

  #answer(request: SyncRequest): void {
    const { head, counters, log, notes } = this.#context;
    const notReady = this.#context.notReady();
    if (notReady !== null) {
      this.#refuse(notReady);
      return;
    }
    const place = this.#placeOf(request);
    if (place === null) return;
    const decision = head.decide(request, place);
    if (showsRollback(request, head.history, decision) && !this.#tellOutdated()) return;
    const mismatch = schemaRefusal(this.#machine.capabilities, this.#context.keyspaceSchema);
    if (decision.kind === 'full-resync' && mismatch !== null) {
      this.#refuse(mismatch, { reason: decision.reason });
      return;
    }
    this.#context.decided(decision);
    const asked = request.kind === 'psync' ? { runId: request.runId, asked: request.asked } : {};
    if (decision.kind === 'full-resync') {
      counters.syncFull += 1;
      if (request.kind === 'psync' || request.kind === 'psync-unknown') counters.syncPartialErr += 1;
      notes.note('full-resync', { reason: decision.reason, ...asked });
      this.#fullResync(decision.reason, request.kind !== 'sync').catch((error: unknown) => {
        if (this.#isClosed()) return;
        log.error('full-resync-failed', { session: this.#context.id, error: String(error) });
        this.close(CloseCode.notReady, 'the snapshot cannot be read');
      });
      return;
    }
    counters.syncPartialOk += 1;
    notes.note('partial-resync', { bytes: decision.bytes, ...asked });
    this.#sync = { kind: 'partial', bytes: decision.bytes };
    this.#output.line(
      `+CONTINUE ${head.position.runId}${this.#tail(String(decision.bytes), decision.after)}`,
    );
    this.#goOnline(decision.after);
  }

  /**
   * @returns this node's knowledge of the offset from which the replica asks to continue; null: this node cannot read its
   *   journal, and the session has ended
   */
  #placeOf(request: SyncRequest): Place | null {
    if (request.kind !== 'psync') return UNKNOWN_PLACE;
    try {
      return this.#context.head.placeAt(fromWireOffset(request.asked) as Offset);
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      this.#journalNotRead(error);
      return null;
    }
  }

  /**
   * Reports that this node lacks bytes of its history, which makes it take a new run ID.
   * @returns whether it has the new run ID; false: it could not store it, and the session has ended
   */
  #tellOutdated(): boolean {
    try {
      this.#context.outdated();
      return true;
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      this.#refuse(`-LOADING a new run ID is needed, and cannot be kept: ${error.message}`);
      return false;
    }
  }

  #tail(word: string, after: Offset): string {
    const { announcedUrl, head } = this.#context;
    const { capabilities } = this.#machine;
    return answerTail({ head, announcedUrl: announcedUrl(), capabilities }, word, after);
  }

  /** Refuses the sync with an error line, and ends the session. @param why more fields for the session's log */
  #refuse(line: string, why: Readonly<Record<string, string>> = {}): void {
    this.#context.notes.note('refused', { ...why, answer: line });
    this.#output.line(line);
    this.close(CloseCode.notReady, line.slice(1, 100));
  }

  /**
   * Sends a snapshot, then the stream.
   * @param announced whether +FULLRESYNC goes before the snapshot; false for SYNC, which is older than that line
   */
  #fullResync(reason: FullResyncReason, announced: boolean): Promise<void> {
    const { head, notes, settings, snapshots, world } = this.#context;
    this.#phase = 'snapshot';
    this.#transfer = new SnapshotTransfer({
      world,
      head,
      settings,
      snapshots,
      socket: this.#socket,
      output: this.#output,
      checksummed: this.#machine.capabilities.includes('snapshot-crc32'),
      begun: ({ position, length }: FrozenFile) => {
        this.#sync = { kind: 'full', reason, bytes: length };
        if (!announced) return;
        const tail = this.#tail(reason, position.offset) || ` ${reason}`;
        this.#output.line(`+FULLRESYNC ${position.runId} ${position.offset}${tail}`);
      },
      sent: ({ position, length }) => {
        notes.note('snapshot-sent', { position: formatPosition(position), bytes: length });
        this.#goOnline(position.offset);
      },
      // A close frame would wait behind the bytes that the replica does not take, so the connection is dropped.
      end: (code, detail) => this.#drop(code, detail),
    });
    return this.#transfer.run();
  }

  #goOnline(after: Offset): void {
    this.#acknowledged = after;
    this.#phase = 'online';
    this.#transfer = null;
    this.#output.goOnline(after, this.#context.wantedAck());
  }

  #journalNotRead(error: StorageError): void {
    this.#context.log.error('journal-not-read', { session: this.#context.id, error: error.message });
    this.close(CloseCode.notReady, 'the journal cannot be read');
  }

  /** Ends the session if the replica does not ask for a sync, does not take its snapshot, or is too far behind. */
  #look(): void {
    const { settings, world } = this.#context;
    if (this.#machine.kind === 'greeting' && msSince(world, this.#startedAt) > GREETING_MS) {
      this.close(CloseCode.timedOut, `no PSYNC within ${GREETING_MS} ms`);
      return;
    }
    const stuckMs = this.#transfer?.stuckMs() ?? 0;
    if (stuckMs > settings.timeoutMs) {
      this.#drop(CloseCode.timedOut, `nothing of the snapshot was taken for ${stuckMs} ms`);
      return;
    }
    this.#output.checkLimits(0);
  }

  /** Ends the session, and drops the connection without waiting for the replica's answer. */
  #drop(code: number, reason: string): void {
    this.close(code, reason);
    this.#socket.terminate();
  }

  #end(): void {
    this.#phase = 'closed';
    this.#liveness.stop();
    this.#output.end();
    this.#transfer?.stop();
    this.#context.notes.end();
    this.#context.ended();
  }

  /** Reads the phase by a function, because TypeScript does not know that it changes during an `await`. */
  #isClosed(): boolean {
    return this.#phase === 'closed';
  }
}
