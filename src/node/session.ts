/**
 * The master's side of one connected replica: `SessionMachine`'s effects carried out on a socket.
 *
 * A session is a cursor into the stream, not a queue. While its socket takes bytes it is handed each commit's own
 * buffer, shared by all sessions; when the socket is full the session stops, and later reads on from the backlog
 * or, a row at a time, from the journal. So a slow replica costs the journal's disk space, up to `outputLimitBytes`, and no memory.
 */
import { CloseCode } from '../replication/close-code.ts';
import {
  type Decision,
  decide,
  type FullResyncReason,
  type Place,
  type SyncRequest,
  showsRollback,
  UNKNOWN_PLACE,
} from '../replication/decide.ts';
import { formatLineage } from '../replication/history.ts';
import { formatHash, HISTORY_HASH } from '../replication/history-hash.ts';
import { schemaRefusal } from '../replication/keyspace-schema.ts';
import { formatPosition, fromWireOffset, type Offset, type Position } from '../replication/position.ts';
import { NEW_SESSION, type SessionState, sessionStep } from '../replication/session-machine.ts';
import { reachableUrl } from '../replication/upstream.ts';
import { ProtocolError } from '../stream/protocol-error.ts';
import { RespParser } from '../stream/resp-parser.ts';
import { msSince } from './elapsed.ts';
import { Hold } from './hold.ts';
import { type Log, type SocketEvents, StorageError, type StreamSocket, type World } from './ports.ts';
import type { SessionNotes } from './session-log.ts';
import { MESSAGE_BYTES, SnapshotSender } from './snapshot-sender.ts';
import type { Snapshot, Snapshots } from './snapshots.ts';
import type { StreamHead } from './stream-head.ts';
import { SharedTurn } from './turns.ts';
import { attempt, logUnexpected, owned, ownedWorld, unattended } from './unattended.ts';

export type SessionPhase = 'handshake' | 'snapshot' | 'online' | 'closed';

export interface SessionStatus {
  readonly id: string;
  readonly url?: string;
  readonly peer: string;
  readonly state: 'handshake' | 'snapshot' | 'online';
  /** What the replica has acknowledged: it is in its journal. */
  readonly offset: number;
  readonly lagBytes: number;
  /** How long ago, on this node's clock, the first byte was committed that it has not acknowledged. */
  readonly lagSeconds: number;
  readonly ackAgeMs?: number;
  /** While a snapshot is sent. */
  readonly progress?: { readonly sent: number; readonly total: number };
  /** How it was last brought up to date. */
  readonly sync?: SyncSummary;
}

export interface SyncSummary {
  readonly kind: 'full' | 'partial';
  readonly reason?: FullResyncReason;
  /** The snapshot's size, or how many bytes of the stream were lacking. */
  readonly bytes: number;
}

/** What the session needs of its node. */
export interface SessionContext {
  readonly id: string;
  readonly world: World;
  readonly log: Log;
  readonly head: StreamHead;
  readonly snapshots: Snapshots;
  readonly counters: SyncCounters;
  readonly settings: OutputLimits;
  readonly notes: SessionNotes;
  /** This process; a replica that names it has dialled itself. */
  readonly nodeId: string;
  /** Of this node's keyspace file. */
  readonly keyspaceSchema: number;
  /** Where clients reach this node, if it is announced. */
  announcedUrl(): string | null;
  /** Why nobody can be served now, as the line to answer, or null. */
  notReady(): string | null;
  /**
   * PSYNC … FAILOVER: this node becomes the master if it stands at exactly `position`, with this history hash.
   * @param hash null: unknown
   * @returns why it does not, as the line to answer, or null
   */
  takeOver(position: Position, hash: bigint | null, session: Session): Promise<string | null>;
  /**
   * A replica has bytes under this node's run ID that this node does not have.
   * @throws StorageError when the disk does not take the new run ID
   */
  outdated(session: Session): void;
  /** Why there is no place for this one, which asks for a sync; or null. */
  refusal(session: Session): string | null;
  /** It has been decided how the replica is brought up to date. */
  decided(session: Session, decision: Decision): void;
  acknowledged(): void;
  /** The replica has got the snapshot as it was sent, and says that it is damaged, in words of its own. */
  snapshotRefused(session: Session, reason: string): void;
  /** What somebody waits for to be acknowledged, or null. */
  wantedAck(): Offset | null;
  ended(session: Session): void;
}

export interface OutputLimits extends LinkTimes {
  /** A session that lags by more than this is closed at once; never below the backlog. */
  readonly outputLimitBytes: number;
  /** A session that lags by more than this for `outputSoftMs` is closed; never below the backlog. */
  readonly outputSoftBytes: number;
  readonly outputSoftMs: number;
}

export interface SyncCounters {
  syncFull: number;
  syncPartialOk: number;
  syncPartialErr: number;
}

export interface LinkTimes {
  /** A connection that has been silent for so long is dropped. */
  readonly timeoutMs: number;
  /** Both sides send a ping frame this often. */
  readonly pingIntervalMs: number;
}

/** While so many bytes wait in the socket, no more are given to it. */
const HIGH_WATER_BYTES = 1024 * 1024;
const EMPTY = Buffer.alloc(0);
/** A ping frame that says this asks for a REPLCONF ACK at once (Redis puts REPLCONF GETACK into the stream). */
export const GETACK = 'GETACK';
/** So many commands may come before PSYNC, within so long. */
const MAX_GREETING = 64;
const GREETING_MS = 10_000;
/** The handshake's commands are short. */
const HANDSHAKE_LIMITS = { maxElements: 64, maxBulkBytes: 4_096, maxArrayBytes: 16_384 };

export class Session implements SocketEvents {
  readonly #context: SessionContext;
  readonly #socket: StreamSocket;
  readonly #parser = new RespParser(HANDSHAKE_LIMITS);
  readonly #unpin: () => void;
  #machine: SessionState = NEW_SESSION;
  #phase: SessionPhase = 'handshake';
  /** The stream has been given to the socket up to here. */
  #cursor: Offset;
  /** What follows the cursor, as far as it was fetched: the rest of a turn, shared, or of a journal row. */
  #unsent: Buffer = EMPTY;
  /** How far behind it may be beyond the limit: it went online that far behind, or one command was that large. */
  #arrears = 0;
  /** How long it has been behind the soft limit. */
  #softSince: number | null = null;
  /** Somebody waits for an acknowledgement of this offset. */
  #wantedAck: Offset | null = null;
  /** A ping that asks for an ACK is on its way. */
  #asking = false;
  #acknowledged = 0;
  #acknowledgedAt: number | null = null;
  #sync: SyncSummary | null = null;
  /** While a snapshot is sent. */
  #snapshot: SnapshotSender | null = null;
  /** How much of the snapshot the replica had taken, and since when it has not taken more. */
  #taken: { readonly bytes: number; readonly at: number } | null = null;
  readonly #startedAt: number;
  #commands = 0;
  #lastHeardAt: number;
  #cancelTick: () => void;
  readonly #readTurn: SharedTurn;
  /** It goes on with giving in the next turn of the event loop. */
  #pumpDue = false;

  constructor(context: SessionContext, socket: StreamSocket) {
    this.#context = { ...context, world: ownedWorld(context.world, (error) => this.mistaken(error)) };
    this.#socket = socket;
    this.#cursor = context.head.offset;
    this.#readTurn = new SharedTurn(context.world);
    this.#startedAt = context.world.monotonic();
    this.#lastHeardAt = this.#startedAt;
    this.#unpin = context.head.pin(() => (this.#phase === 'online' ? this.#cursor : null));
    this.#cancelTick = this.#scheduleTick();
    context.notes.note('connected');
  }

  /**
   * What the replica has in its journal, and when it said so last, on the monotonic clock; null: it is not online, or never says
   * so.
   */
  get acknowledgement(): { readonly offset: number; readonly at: number } | null {
    if (this.#phase !== 'online' || this.#acknowledgedAt === null) return null;
    return { offset: this.#acknowledged, at: this.#acknowledgedAt };
  }

  /** It has asked for a sync; until then it is a connection and nothing else. */
  get isReplica(): boolean {
    return this.#machine.kind === 'syncing';
  }

  /** The process that the replica runs in. */
  get nodeId(): string | null {
    return this.#machine.nodeId;
  }

  /** Where the connection comes from. */
  get peer(): string {
    return this.#socket.peer;
  }

  /** In milliseconds of the monotonic clock. */
  get lastHeardAt(): number {
    return this.#lastHeardAt;
  }

  /** A sync has been started here. */
  get hasSynced(): boolean {
    return this.#sync !== null;
  }

  /** Where the replica says that it can be reached. */
  get url(): string | null {
    const { listeningUrl } = this.#machine;
    return listeningUrl === null ? null : reachableUrl(listeningUrl, this.#socket.peer);
  }

  /** How far the replica has come, by its own word. */
  get acknowledgedOffset(): number {
    return this.#acknowledged;
  }

  /** How much of the stream the replica has not acknowledged. */
  get lagBytes(): number {
    return Math.max(0, this.#context.head.offset - this.#acknowledged);
  }

  /**
   * The replica has said that everything is in its journal. After a full resync it has to say so anew: a snapshot that was sent
   * may still be being checked.
   */
  get hasEverything(): boolean {
    return (this.#acknowledgedAt !== null || this.#sync?.kind === 'partial') && this.lagBytes === 0;
  }

  get status(): SessionStatus | null {
    if (this.#phase === 'closed') return null;
    const { head, world } = this.#context;
    const { url } = this;
    return {
      id: this.#context.id,
      ...(url === null ? {} : { url }),
      peer: this.#socket.peer,
      state: this.#phase,
      offset: this.#acknowledged,
      lagBytes: this.lagBytes,
      lagSeconds: head.lagMs(this.#acknowledged as Offset) / 1000,
      ...(this.#acknowledgedAt === null ? {} : { ackAgeMs: msSince(world, this.#acknowledgedAt) }),
      ...(this.#snapshot === null
        ? {}
        : { progress: { sent: this.#snapshot.given, total: this.#sync?.bytes ?? 0 } }),
      ...(this.#sync === null ? {} : { sync: this.#sync }),
    };
  }

  /** Asks the replica to say at once when it has everything up to `offset`. */
  wantAck(offset: Offset): void {
    if (this.#phase !== 'online' || (this.#acknowledgedAt !== null && this.#acknowledged >= offset)) return;
    this.#wantedAck = Math.max(this.#wantedAck ?? 0, offset) as Offset;
    this.#askForAck();
  }

  message(bytes: Buffer): void {
    if (this.#phase === 'closed') return;
    this.#heard();
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

  /** A ping of this side has come back. */
  alive(): void {
    this.#heard();
    this.#asking = false;
    this.#askForAck();
  }

  pinged(): void {
    this.#heard();
  }

  closed(code: number, reason: string): void {
    if (this.#phase === 'closed') return;
    this.#context.notes.note('session-closed', { code, reason });
    if (code === CloseCode.damagedSnapshot && this.#sync?.kind === 'full')
      this.#context.snapshotRefused(this, reason);
    this.#end();
  }

  /** Ends the conversation from this side. */
  close(code: number, reason: string): void {
    if (this.#phase === 'closed') return;
    this.#context.notes.note('session-ended', { code, reason });
    this.#end();
    this.#socket.close(code, reason);
  }

  /** An error that nobody expects ends this session, and nothing else; the replica comes back. */
  mistaken(error: unknown): void {
    logUnexpected(this.#context.log, `session ${this.#context.id}`, error);
    attempt(
      () => this.close(CloseCode.notReady, 'psyncd made a mistake'),
      () => undefined,
    );
  }

  /** A commit's bytes, which begin after `from`. */
  committed(bytes: Buffer, from: Offset): void {
    if (this.#phase !== 'online') return;
    if (this.#cursor === from) this.#unsent = bytes;
    this.#pump();
    this.#limit(bytes.length);
  }

  /** @param added how long the commit was that came just now, in bytes */
  #limit(added: number): void {
    const { head, settings, world } = this.#context;
    const behind = head.offset - this.#cursor;
    // A limit below the backlog would cut off replicas that a partial resync brings back to where they were.
    const limit = Math.max(settings.outputLimitBytes, head.backlog.size);
    // A single command may be larger than the limit; it has to pass all the same, or it would never get through, and
    // what is written while it passes must not be held against the replica.
    if (behind <= limit) this.#arrears = 0;
    else if (added > limit) this.#arrears = Math.max(this.#arrears, behind);
    if (behind > this.#arrears + limit) {
      this.close(CloseCode.tooFarBehind, `${behind} bytes behind`);
      return;
    }
    const soft = Math.max(settings.outputSoftBytes, head.backlog.size);
    if (behind <= this.#arrears + soft) {
      this.#softSince = null;
      return;
    }
    this.#softSince ??= world.monotonic();
    const softMs = msSince(world, this.#softSince);
    if (softMs > settings.outputSoftMs) {
      this.close(CloseCode.tooFarBehind, `${behind} bytes behind, more than ${soft} for ${softMs} ms`);
    }
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
          this.#line(effect.line);
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
    const refusal = this.#context.refusal(this);
    if (refusal !== null) {
      this.close(CloseCode.tooMany, refusal);
      return;
    }
    if (!failover || request.kind !== 'psync') {
      this.#answer(request);
      return;
    }
    const position = { runId: request.runId, offset: fromWireOffset(request.asked) as Offset };
    const answered = this.#context.takeOver(position, request.hash, this).then((refusal) => {
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
    const decision = decide(request, head.history, head.backlog, place);
    if (showsRollback(request, head.history, decision) && !this.#tellOutdated()) return;
    const mismatch = schemaRefusal(this.#machine.capabilities, this.#context.keyspaceSchema);
    if (decision.kind === 'full-resync' && mismatch !== null) {
      this.#refuse(mismatch, { reason: decision.reason });
      return;
    }
    this.#context.decided(this, decision);
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
    this.#line(`+CONTINUE ${head.position.runId}${this.#more(String(decision.bytes), decision.after)}`);
    this.#goOnline(decision.after);
  }

  /** @returns what this node knows of where the replica stands; null: its journal cannot be read, and the session has ended */
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

  /** @returns whether the node knows now that its bytes are not all that there are; if not, the session has ended */
  #tellOutdated(): boolean {
    try {
      this.#context.outdated(this);
      return true;
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      this.#refuse(`-LOADING a new run ID is needed, and cannot be kept: ${error.message}`);
      return false;
    }
  }

  /**
   * What only a replica is told that understands it: a word of its own, this node's lineage, its announced URL, and its history
   * hash where the stream goes on.
   */
  #more(word: string, after: Offset): string {
    const { capabilities } = this.#machine;
    if (!capabilities.includes('lineage')) return '';
    const toldUrl = capabilities.includes('announced-url');
    const toldHash = capabilities.includes(HISTORY_HASH);
    const { announcedUrl, head } = this.#context;
    const url = (toldUrl ? announcedUrl() : null) ?? '-';
    const words = [word, formatLineage(head.history.lineage)];
    if (toldUrl || toldHash) words.push(url);
    if (toldHash) words.push(this.#hashWord(after));
    return ` ${words.join(' ')}`;
  }

  #hashWord(at: Offset): string {
    try {
      const hash = this.#context.head.hashAt(at);
      return hash === null ? '-' : formatHash(hash);
    } catch (error) {
      // What follows cannot be read either: that ends the session in its own time.
      if (!(error instanceof StorageError)) throw error;
      return '-';
    }
  }

  /** Answers that there will be no sync on this connection, and ends it. */
  #refuse(line: string, why: Readonly<Record<string, string>> = {}): void {
    this.#context.notes.note('refused', { ...why, answer: line });
    this.#line(line);
    this.close(CloseCode.notReady, line.slice(1, 100));
  }

  /** @param announced SYNC is older than the line that tells position and reason: it gets the snapshot alone */
  async #fullResync(reason: FullResyncReason, announced: boolean): Promise<void> {
    this.#phase = 'snapshot';
    const snapshot = await this.#context.snapshots.acquire();
    try {
      if (this.#isClosed()) return;
      const { position, length } = snapshot.file;
      this.#sync = { kind: 'full', reason, bytes: length };
      if (announced) {
        const more = this.#more(reason, position.offset) || ` ${reason}`;
        this.#line(`+FULLRESYNC ${position.runId} ${position.offset}${more}`);
      }
      const checksummed = this.#machine.capabilities.includes('snapshot-crc32');
      this.#line(`$${length}${checksummed ? ' crc32' : ''}`);
      this.#snapshot = new SnapshotSender(snapshot.file, (bytes, sent) => this.#give(bytes, sent));
      const hold = this.#limitHold(snapshot, this.#snapshot);
      let crc32: number;
      try {
        crc32 = await this.#snapshot.send();
      } finally {
        hold.stop();
      }
      if (this.#isClosed()) return;
      if (checksummed) this.#line(`$crc32 ${crc32.toString(16).padStart(8, '0')}`);
      this.#context.notes.note('snapshot-sent', { position: formatPosition(position), bytes: length });
      // Online before the snapshot is let go: one of the two pins the journal at every moment.
      this.#goOnline(position.offset);
    } finally {
      snapshot.release();
    }
  }

  /** Watches over what is on the disk because of the snapshot. */
  #limitHold({ file }: Snapshot, sender: SnapshotSender): Hold {
    const { head, settings, snapshots, world } = this.#context;
    const neverBelowBacklog = (bytes: number): number => Math.max(bytes, head.backlog.size);
    return new Hold({
      world,
      held: () => head.offset - file.position.offset + file.heldBytes(),
      taken: () => sender.given - this.#socket.bufferedBytes,
      limits: {
        hard: () => neverBelowBacklog(settings.outputLimitBytes),
        soft: () => ({ bytes: neverBelowBacklog(settings.outputSoftBytes), ms: settings.outputSoftMs }),
      },
      othersWait: () => snapshots.awaited,
      end: (code, detail) => {
        this.close(code, detail);
        // What it has not taken is in its way.
        this.#socket.terminate();
      },
    });
  }

  #goOnline(after: Offset): void {
    this.#cursor = after;
    // What was written while the snapshot was sent is no fault of the replica's: it may catch up in its own time.
    this.#arrears = this.#context.head.offset - after;
    this.#acknowledged = after;
    this.#phase = 'online';
    this.#snapshot = null;
    this.#wantedAck = this.#context.wantedAck();
    this.#pump();
  }

  /**
   * Gives the socket what it takes, in messages of at most 256 KiB. A socket that takes everything at once calls back before
   * the event loop has its turn: what has to be read for it is read for a while only, and the rest in the next turn.
   */
  #pump(): void {
    const { head } = this.#context;
    while (this.#phase === 'online' && this.#socket.bufferedBytes < HIGH_WATER_BYTES) {
      if (this.#unsent.length === 0) {
        if (this.#cursor === head.offset) break;
        if (this.#readTurn.isOver) {
          this.#pumpSoon();
          break;
        }
        const read = this.#read();
        if (read === null) return;
        this.#unsent = read;
      }
      const part = this.#unsent.subarray(0, MESSAGE_BYTES);
      this.#unsent = this.#unsent.subarray(part.length);
      this.#cursor = (this.#cursor + part.length) as Offset;
      this.#give(part);
    }
    this.#askForAck();
  }

  #pumpSoon(): void {
    if (this.#pumpDue) return;
    this.#pumpDue = true;
    this.#context.world.soon(() => {
      this.#pumpDue = false;
      this.#pump();
    });
  }

  /** @returns null when the disk does not give what the replica lacks: it has to come back */
  #read(): Buffer | null {
    try {
      return this.#context.head.read(this.#cursor, MESSAGE_BYTES);
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      this.#journalNotRead(error);
      return null;
    }
  }

  #journalNotRead(error: StorageError): void {
    this.#context.log.error('journal-not-read', { session: this.#context.id, error: error.message });
    this.close(CloseCode.notReady, 'the journal cannot be read');
  }

  #heard(): void {
    this.#lastHeardAt = this.#context.world.monotonic();
  }

  /**
   * The ping frame arrives after the bytes whose acknowledgement it asks for, and is not one of the stream's. There is one
   * at a time: a replica that was busy for a moment would find hundreds, and WebSocket libraries take that for an
   * attack (`ws` cuts the connection at 60). What was committed meanwhile is asked for together.
   */
  #askForAck(): void {
    if (this.#wantedAck === null || this.#cursor < this.#wantedAck || this.#phase !== 'online') return;
    if (this.#asking) return;
    this.#wantedAck = null;
    this.#asking = true;
    this.#socket.ping(GETACK);
  }

  #line(line: string): void {
    this.#give(Buffer.from(`${line}\r\n`, 'latin1'));
  }

  /** @param sent called when the bytes were taken, or never will be */
  #give(bytes: Buffer, sent = (): void => this.#pump()): void {
    this.#socket.send(
      bytes,
      owned(sent, (error) => this.mistaken(error)),
    );
  }

  #scheduleTick(): () => void {
    const { timeoutMs, pingIntervalMs, outputSoftMs } = this.#context.settings;
    const intervalMs = Math.min(pingIntervalMs, timeoutMs / 2, Math.max(outputSoftMs / 2, 100));
    return this.#context.world.after(intervalMs, () => this.#tick());
  }

  #tick(): void {
    const { world, settings } = this.#context;
    const silentMs = msSince(world, this.#lastHeardAt);
    if (silentMs > settings.timeoutMs) {
      this.close(CloseCode.timedOut, `silent for ${silentMs} ms`);
      this.#socket.terminate();
      return;
    }
    if (this.#machine.kind === 'greeting' && msSince(world, this.#startedAt) > GREETING_MS) {
      this.close(CloseCode.timedOut, `no PSYNC within ${GREETING_MS} ms`);
      return;
    }
    if (this.#isStuck()) return;
    this.#socket.ping();
    if (this.#phase === 'online') this.#limit(0);
    if (!this.#isClosed()) this.#cancelTick = this.#scheduleTick();
  }

  /** A snapshot of which nothing is taken keeps others from theirs, and the journal from being trimmed. */
  #isStuck(): boolean {
    if (this.#snapshot === null) return false;
    const bytes = this.#snapshot.given - this.#socket.bufferedBytes;
    const { world } = this.#context;
    if (this.#taken === null || bytes !== this.#taken.bytes || this.#socket.bufferedBytes === 0) {
      this.#taken = { bytes, at: world.monotonic() };
      return false;
    }
    const stuckMs = msSince(world, this.#taken.at);
    if (stuckMs <= this.#context.settings.timeoutMs) return false;
    this.close(CloseCode.timedOut, `nothing of the snapshot was taken for ${stuckMs} ms`);
    this.#socket.terminate();
    return true;
  }

  #end(): void {
    this.#phase = 'closed';
    this.#cancelTick();
    this.#unpin();
    this.#snapshot?.stop();
    this.#context.notes.end();
    this.#context.ended(this);
  }

  /** A function, because TypeScript does not know that #phase changes during an await. */
  #isClosed(): boolean {
    return this.#phase === 'closed';
  }
}
