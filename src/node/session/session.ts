/**
 * The master's side of one connected replica: carries out the effects of its conversation on a socket.
 *
 *   handshake ──PSYNC──► (snapshot ──►) online ──► closed
 *
 * conversation.ts reads the replica's commands, sync-verdict.ts decides the answer to PSYNC, session-output.ts sends the stream,
 * and replica-progress.ts keeps the acknowledgements.
 *
 * Over 350 lines: the steps from PSYNC to the stream share one phase and one transfer, which only this class may change.
 */
import { CloseCode } from '../../replication/close-code.ts';
import type { Decision, FullResyncReason, SyncRequest } from '../../replication/decide.ts';
import { formatPosition, fromWireOffset, type Offset } from '../../replication/position.ts';
import { SNAPSHOT_RESUME } from '../../replication/snapshot-terms.ts';
import { reachableUrl } from '../../replication/upstream.ts';
import { msSince } from '../elapsed.ts';
import { Liveness } from '../liveness.ts';
import { inLogOf, type StorageError } from '../ports/failures.ts';
import type { FrozenFile } from '../ports/keyspace.ts';
import { showable } from '../ports/peer-words.ts';
import type { Gate, SocketEvents, StreamSocket } from '../ports/stream-socket.ts';
import { attempt, logUnexpected, ownedWorld, unattended } from '../unattended.ts';
import { Conversation, type ConversationEvents } from './conversation.ts';
import { ReplicaProgress } from './replica-progress.ts';
import type {
  Acknowledgement,
  SessionContext,
  SessionPhase,
  SessionStatus,
  WantedAcks,
} from './session-context.ts';
import { SessionOutput } from './session-output.ts';
import { SnapshotTransfer } from './snapshot-transfer.ts';
import type { LeftSnapshot } from './snapshots.ts';
import { answerTail } from './sync-answer.ts';
import { syncVerdict } from './sync-verdict.ts';

/** Milliseconds within which a connection must send PSYNC. */
const GREETING_MS = 10_000;

export class Session implements SocketEvents {
  /** The replica's acknowledgements and its last sync. */
  readonly progress: ReplicaProgress;
  readonly #context: SessionContext;
  readonly #socket: StreamSocket;
  readonly #output: SessionOutput;
  readonly #liveness: Liveness;
  readonly #conversation: Conversation;
  #phase: SessionPhase = 'handshake';
  /** The snapshot on its way to the replica, in the phase `snapshot`. */
  #transfer: SnapshotTransfer | null = null;
  /** The snapshot that was sent, until the replica says that it has all of it; null: there is none. */
  #sent: LeftSnapshot | null = null;
  readonly #startedAt: number;

  constructor(context: SessionContext, socket: StreamSocket) {
    const mistaken = (error: unknown): void => this.mistaken(error);
    const { head, notes, settings } = context;
    const world = ownedWorld(context.world, mistaken);
    this.#context = { ...context, world };
    this.progress = new ReplicaProgress({ world, head });
    this.#socket = socket;
    this.#startedAt = world.monotonic();
    this.#output = new SessionOutput({
      world,
      head,
      settings,
      socket,
      lagMs: () => context.lagMs(),
      close: (code, detail) => this.close(code, detail),
      journalNotRead: (error) => this.#journalNotRead(error),
      mistaken,
    });
    const events: ConversationEvents = {
      phase: () => this.#phase,
      reply: (line) => this.#output.line(line),
      unlocked: () => notes.unlock(),
      named: () => this.#named(),
      startSync: (request, failover) => this.#startSync(request, failover),
      acknowledged: (offset, durable) => this.#acknowledge(offset, durable),
      pause: () => socket.pause(),
      resume: () => socket.resume(),
      soon: (callback) => world.soon(callback),
      mistaken,
      close: (code, reason) => this.close(code, reason),
    };
    this.#conversation = new Conversation(events, context.gate, context.turn);
    this.#liveness = new Liveness({
      world,
      times: settings,
      socket,
      lookMs: () => Math.min(Math.max(settings.outputSoftMs / 2, 100), this.#output.lookMs),
      look: () => this.#look(),
      text: () => this.#output.lagText(),
      silent: (silentMs) => this.#drop(CloseCode.timedOut, `silent for ${silentMs} ms`),
    });
    notes.note('connected');
  }

  /** What the replica has acknowledged; null: it is not online, or has not acknowledged anything. */
  get acknowledgement(): Acknowledgement | null {
    const { acknowledgedAt, acknowledgedOffset, durableOffset } = this.progress;
    if (this.#phase !== 'online' || acknowledgedAt === null) return null;
    return { offset: acknowledgedOffset, durable: durableOffset, at: acknowledgedAt };
  }

  /** Whether the peer has asked for a sync (PSYNC or SYNC). */
  get isReplica(): boolean {
    return this.#conversation.state.kind === 'syncing';
  }

  /** Whether the peer has not shown yet that it may replicate. */
  get isLocked(): boolean {
    return this.#conversation.state.kind === 'locked';
  }

  /** ID of the replica's process; null: the replica has not said it. */
  get nodeId(): string | null {
    return this.#conversation.state.nodeId;
  }

  /** Who may replicate on this connection. */
  get gate(): Gate {
    return this.#context.gate;
  }

  /** Address from which the connection comes. */
  get peer(): string {
    return this.#socket.peer;
  }

  /** Moment of the monotonic clock at which this node last heard of the replica. */
  get lastHeardAt(): number {
    return this.#liveness.heardAt;
  }

  /** URL under which the replica says that other nodes reach it; null: it has not said one. */
  get url(): string | null {
    const { listeningUrl } = this.#conversation.state;
    return listeningUrl === null ? null : reachableUrl(listeningUrl, this.#socket.peer);
  }

  /** The session as administrators see it; null: it has ended. */
  get status(): SessionStatus | null {
    if (this.#phase === 'closed') return null;
    const { url } = this;
    const progress = this.#transfer?.progress ?? null;
    return {
      id: this.#context.id,
      ...(url === null ? {} : { url }),
      peer: this.#socket.peer,
      state: this.#phase,
      ...this.progress.status,
      ...(progress === null ? {} : { progress }),
    };
  }

  /** Asks the replica to acknowledge as soon as it has everything up to these offsets. */
  wantAcks({ inJournal, onDisk }: WantedAcks): void {
    const { durableOffset } = this.progress;
    this.#output.wantAcks({
      inJournal: inJournal === null || this.progress.hasAcknowledged(inJournal) ? null : inJournal,
      onDisk: onDisk === null || (durableOffset ?? -1) >= onDisk ? null : onDisk,
    });
  }

  /** Takes bytes of the replica's commands; a command may arrive in pieces. */
  message(bytes: Buffer): void {
    if (this.#phase === 'closed') return;
    this.#liveness.heard();
    this.#conversation.receive(bytes);
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
    if (code === CloseCode.damagedSnapshot && this.progress.sync?.kind === 'full') {
      this.#sent?.damaged();
      this.#context.snapshotRefused(showable(reason));
    }
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

  #named(): void {
    if (this.url !== null) this.#context.notes.named(this.url);
  }

  #acknowledge(offset: Offset, durable: Offset | null): void {
    if (offset > this.#context.head.offset) {
      this.close(CloseCode.protocolError, `ACK ${offset} is past ${this.#context.head.offset}`);
      return;
    }
    this.#sent?.arrived();
    this.#sent = null;
    this.progress.acknowledge(offset, durable);
    this.#context.acknowledged();
  }

  #startSync(request: SyncRequest, failover: boolean): void {
    if (this.#conversation.state.nodeId === this.#context.nodeId) {
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
    const verdict = syncVerdict(this.#context, this.#conversation.state.capabilities, request);
    switch (verdict.kind) {
      case 'refuse':
        this.#refuse(verdict.line, verdict.why);
        return;
      case 'journal-not-read':
        this.#journalNotRead(verdict.error);
        return;
      default:
        this.#sync(request, verdict);
    }
  }

  /** Brings the replica up to date. */
  #sync(request: SyncRequest, decision: Decision): void {
    const { counters, counts, decided, head, log, notes } = this.#context;
    decided(decision);
    const asked = request.kind === 'psync' ? { runId: request.runId, asked: request.asked } : {};
    if (decision.kind === 'full-resync') {
      counters.syncFull += 1;
      counts.resyncs.add(decision.reason);
      if (request.kind === 'psync' || request.kind === 'psync-unknown') counters.syncPartialErr += 1;
      notes.note('full-resync', { reason: decision.reason, ...asked });
      this.#fullResync(decision.reason, request.kind !== 'sync').catch((error: unknown) => {
        if (this.#isClosed()) return;
        log.error('full-resync-failed', { session: this.#context.id, error: inLogOf(error) });
        this.close(CloseCode.notReady, 'the snapshot cannot be read');
      });
      return;
    }
    counters.syncPartialOk += 1;
    counts.resyncs.add('partial');
    notes.note('partial-resync', { bytes: decision.bytes, ...asked });
    this.progress.synced({ kind: 'partial', bytes: decision.bytes });
    this.#output.line(
      `+CONTINUE ${head.position.runId}${this.#tail(String(decision.bytes), decision.after)}`,
    );
    this.#goOnline(decision.after);
  }

  #tail(word: string, after: Offset): string {
    const { clientUrls, head } = this.#context;
    const { capabilities } = this.#conversation.state;
    return answerTail({ head, urls: clientUrls(), capabilities }, word, after);
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
  async #fullResync(reason: FullResyncReason, announced: boolean): Promise<void> {
    const { counts, notes, snapshots, world } = this.#context;
    const { capabilities, partial } = this.#conversation.state;
    const begunAt = world.monotonic();
    const checksummed = capabilities.includes('snapshot-crc32');
    this.#phase = 'snapshot';
    this.#transfer = new SnapshotTransfer({
      world,
      snapshots,
      socket: this.#socket,
      output: this.#output,
      checksummed,
      resumable: announced && checksummed && capabilities.includes(SNAPSHOT_RESUME),
      partial,
      begun: ({ position, length }: FrozenFile, from: number) => {
        this.#resumes(from, length);
        const resumed = from === 0 ? {} : { resumedBytes: from };
        this.progress.synced({ kind: 'full', reason, bytes: length, ...resumed });
        if (!announced) return;
        const tail = this.#tail(reason, position.offset) || ` ${reason}`;
        this.#output.line(`+FULLRESYNC ${position.runId} ${position.offset}${tail}`);
      },
      sent: ({ position, length }) => {
        notes.note('snapshot-sent', { position: formatPosition(position), bytes: length });
        counts.snapshots.add((world.monotonic() - begunAt) / 1_000);
        counts.snapshotBytes += length;
        this.#goOnline(position.offset);
      },
      // A close frame would wait behind the bytes that the replica does not take, so the connection is dropped.
      end: (code, detail) => this.#drop(code, detail),
    });
    this.#sent = await this.#transfer.run();
  }

  /** Notes that the replica has the first bytes of the snapshot. @param from their number */
  #resumes(from: number, length: number): void {
    if (from === 0) return;
    const { counts, notes } = this.#context;
    counts.resumes += 1;
    counts.resumedBytes += from;
    notes.note('snapshot-resumed', { bytes: from, of: length });
  }

  #goOnline(after: Offset): void {
    this.progress.wentOnline(after);
    this.#phase = 'online';
    this.#transfer = null;
    this.#output.goOnline(after, this.#context.wantedAcks());
  }

  #journalNotRead(error: StorageError): void {
    this.#context.log.error('journal-not-read', { session: this.#context.id, error: error.inLog });
    this.close(CloseCode.notReady, 'the journal cannot be read');
  }

  /** Ends the session if the replica does not ask for a sync, does not take its snapshot, or is too far behind. */
  #look(): void {
    const { settings, world } = this.#context;
    if (!this.isReplica && msSince(world, this.#startedAt) > GREETING_MS) {
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
