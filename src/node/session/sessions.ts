/**
 * The replicas that are connected: who they are, what they have acknowledged, and how long they were away.
 *
 * Owns: the open sessions, the counters of resyncs, the log of sessions, the outages.
 */
import { CloseCode } from '../../replication/close-code.ts';
import type { Decision } from '../../replication/decide.ts';
import type { Offset, Position } from '../../replication/position.ts';
import { msSince } from '../elapsed.ts';
import type { Outage } from '../head/backlog-keeper.ts';
import type { WaitingSettings } from '../head/position-waiters.ts';
import type { StreamHead } from '../head/stream-head.ts';
import type { Log, SocketEvents, StreamSocket, World } from '../ports.ts';
import { attempt, ownedSocketEvents } from '../unattended.ts';
import { type AckPlace, AckWaiters } from './ack-waiters.ts';
import { Session } from './session.ts';
import type { OutputLimits, SessionStatus, SyncCounters } from './session-context.ts';
import { SessionLog, type SessionRecord } from './session-log.ts';
import type { Snapshots } from './snapshots.ts';

export interface SessionsSettings extends OutputLimits, WaitingSettings {
  /** How many replicas are served at the same time. */
  readonly maxReplicas: number;
}

/**
 * Connections that have not asked for a sync yet: so many are open at the same time. They are no replicas and take no
 * replica's place. One more costs the oldest its connection, because a real handshake takes some round trips only.
 */
export const MAX_HANDSHAKES = 64;
/** The last outages that are remembered, and the replicas whose return is waited for. */
const MAX_OUTAGES = 32;
const MAX_AWAY = 256;

interface SessionsParts {
  readonly world: World;
  readonly log: Log;
  readonly head: StreamHead;
  readonly snapshots: Snapshots;
  readonly settings: SessionsSettings;
  readonly nodeId: string;
  /** Of this node's keyspace file. */
  readonly keyspaceSchema: number;
  announcedUrl(): string | null;
  notReady(): string | null;
  takeOver(position: Position, hash: bigint | null, session: Session): Promise<string | null>;
  outdated(session: Session): void;
  /** A replica says that the snapshot which this node has sent is damaged, in words of its own. */
  snapshotRefused(replica: string, reason: string): void;
  /** A replica has acknowledged something, or has gone. */
  changed(): void;
}

export class Sessions {
  readonly counters: SyncCounters = { syncFull: 0, syncPartialOk: 0, syncPartialErr: 0 };
  readonly #parts: SessionsParts;
  readonly #open = new Set<Session>();
  readonly #log: SessionLog;
  readonly #acks: AckWaiters;
  #count = 0;
  /** Replicas that have gone, by name: when, on the monotonic clock, and where the stream was then. */
  readonly #away = new Map<string, { readonly at: number; readonly offset: number }>();
  #outages: Outage[] = [];
  /** The end of the stream, once nothing more will be written. */
  #lastAck: Offset | null = null;

  constructor(parts: SessionsParts) {
    this.#parts = parts;
    this.#log = new SessionLog(parts.log, () => parts.world.now());
    this.#acks = new AckWaiters(parts.world, parts.settings, (offset) => this.acknowledgedBy(offset));
    parts.head.onCommit(({ bytes }, from) => {
      for (const session of this.#open) {
        // The commit is done: what goes wrong with one replica is not the writer's, nor the others'.
        attempt(
          () => session.committed(bytes, from),
          (error) => session.mistaken(error),
        );
      }
    });
  }

  /** Of the replicas: of those who have asked for a sync. */
  get statuses(): readonly SessionStatus[] {
    return [...this.#open].flatMap((session) => (session.isReplica ? (session.status ?? []) : []));
  }

  /** Of open sessions and of the last ones that have ended, newest first. */
  get records(): readonly SessionRecord[] {
    return this.#log.records;
  }

  /** Newest first. */
  get outages(): readonly Outage[] {
    return this.#outages.toReversed();
  }

  /** The sessions of those who have asked for a sync. */
  get replicas(): readonly Session[] {
    return [...this.#open].filter(({ isReplica }) => isReplica);
  }

  /** The sessions of replicas that acknowledge what they get. */
  get acknowledging(): readonly Session[] {
    return [...this.#open].filter(({ acknowledgement }) => acknowledgement !== null);
  }

  /** How many replicas have acknowledged something within so many milliseconds. */
  goodReplicas(maxLagMs: number): number {
    const since = this.#parts.world.monotonic() - maxLagMs;
    return this.#countOf(({ at }) => at >= since);
  }

  /**
   * Takes a connection.
   * @param refusal the close code and reason if nobody can be served
   * @returns where its events go; if it cannot be served, it is closed at once
   */
  accept(socket: StreamSocket, refusal: readonly [CloseCode, string] | null): SocketEvents {
    this.#count += 1;
    const id = String(this.#count);
    const session: Session = new Session(
      {
        ...this.#parts,
        id,
        notes: this.#log.open(id, socket.peer),
        counters: this.counters,
        takeOver: (position, hash) => this.#parts.takeOver(position, hash, session),
        outdated: () => this.#parts.outdated(session),
        refusal: () => this.#refusal(session),
        decided: (decision) => this.#decided(session, decision),
        wantedAck: () => this.#lastAck ?? this.#acks.wanted,
        acknowledged: () => {
          this.#acks.acknowledged();
          this.#parts.changed();
        },
        snapshotRefused: (reason) => this.#parts.snapshotRefused(nameOf(session), reason),
        ended: () => this.#ended(session),
      },
      socket,
    );
    this.#open.add(session);
    if (refusal !== null) session.close(...refusal);
    const unfinished = [...this.#open].filter(({ isReplica }) => !isReplica);
    if (unfinished.length > MAX_HANDSHAKES) {
      unfinished[0]?.close(CloseCode.tooMany, `more than ${MAX_HANDSHAKES} connections have not said PSYNC`);
    }
    return ownedSocketEvents(session, (error) => session.mistaken(error));
  }

  /** Closes all sessions, but for one. */
  drop(code: CloseCode, reason: string, except: Session | null = null): void {
    for (const session of [...this.#open]) if (session !== except) session.close(code, reason);
  }

  /** How many replicas have acknowledged everything up to `offset`. */
  acknowledgedBy(offset: Offset): number {
    return this.#countOf((acknowledgement) => acknowledgement.offset >= offset);
  }

  /**
   * Takes a place for a write that will wait for acknowledgements.
   * @throws Problem TOO_MANY_REQUESTS
   */
  enterAcks(): AckPlace {
    const place = this.#acks.enter();
    return {
      wait: (offset, replicas, timeoutMs) => {
        if (replicas > 0) this.wantAcks(offset);
        return place.wait(offset, replicas, timeoutMs);
      },
      leave: place.leave,
    };
  }

  /** Asks the replicas to say at once when they have everything up to `offset`. */
  wantAcks(offset: Offset): void {
    for (const session of this.#open) session.wantAck(offset);
  }

  /** Nothing more will be written: asks all replicas, also those that come later, to say at once when they have everything. */
  wantLastAcks(): void {
    this.#lastAck = this.#parts.head.offset;
    this.wantAcks(this.#lastAck);
  }

  /** The roles have changed: who has left was not away, it may have been the master. */
  forgetAway(): void {
    this.#away.clear();
  }

  /** Whoever waits for acknowledgements gets those that there are. */
  releaseWaiters(): void {
    this.#acks.release();
  }

  /** Whether there is a place for a replica that asks for a sync; where it was connected before is its own place. */
  #refusal(asking: Session): string | null {
    const { maxReplicas } = this.#parts.settings;
    let others = 0;
    for (const session of this.#open) {
      const isSame = asking.nodeId !== null && session.nodeId === asking.nodeId;
      if (session.isReplica && session !== asking && !isSame) others += 1;
    }
    return others < maxReplicas ? null : `${maxReplicas} replicas are connected already`;
  }

  /**
   * How many replicas have acknowledged something like this. One that was restarted is another process, and its old
   * connection may still be open on this side: by its URL it counts once.
   */
  #countOf(fits: (acknowledgement: { readonly offset: number; readonly at: number }) => boolean): number {
    const replicas = new Set<string>();
    for (const session of this.#open) {
      const { acknowledgement } = session;
      if (acknowledgement !== null && fits(acknowledgement)) replicas.add(nameOf(session));
    }
    return replicas.size;
  }

  #decided(session: Session, decision: Decision): void {
    const { nodeId } = session;
    // A connection that broke without a word may still be open on this side: nobody counts twice.
    for (const other of nodeId === null ? [] : [...this.#open]) {
      if (other !== session && other.nodeId === nodeId)
        other.close(CloseCode.goingAway, 'the replica has connected anew');
    }
    const name = nameOf(session);
    const left = this.#away.get(name);
    if (left === undefined) return;
    this.#away.delete(name);
    const { world } = this.#parts;
    this.#outages.push({
      replica: name,
      at: world.now(),
      awayMs: msSince(world, left.at),
      bytes: Math.max(0, this.#parts.head.offset - left.offset),
      ...(decision.kind === 'continue' ? { kind: 'partial' } : { kind: 'full', reason: decision.reason }),
    });
    this.#outages = this.#outages.slice(-MAX_OUTAGES);
  }

  #ended(session: Session): void {
    this.#open.delete(session);
    if (session.hasSynced) {
      const name = nameOf(session);
      this.#away.delete(name);
      this.#away.set(name, { at: session.lastHeardAt, offset: this.#parts.head.offset });
      for (const oldest of this.#away.keys()) {
        if (this.#away.size <= MAX_AWAY) break;
        this.#away.delete(oldest);
      }
    }
    this.#parts.changed();
  }
}

function nameOf({ url, peer }: Session): string {
  return url ?? peer;
}
