/**
 * The connected replicas: their names, the offsets that they have acknowledged, and the outages from which they came back.
 *
 * Owns: the open sessions, the counters of resyncs, the log of sessions, the outages.
 */

import { CloseCode } from '../../replication/close-code.ts';
import type { Decision } from '../../replication/decide.ts';
import type { Offset, Position } from '../../replication/position.ts';
import { replicaName } from '../../replication/upstream.ts';
import { msSince } from '../elapsed.ts';
import type { Outage } from '../head/backlog-keeper.ts';
import type { WaitingSettings } from '../head/position-waiters.ts';
import type { StreamHead } from '../head/stream-head.ts';
import { Durations, LONG_RANGES, Tally } from '../ports/counts.ts';
import type { StateStore } from '../ports/state-store.ts';
import type { Gate, SocketEvents, StreamSocket } from '../ports/stream-socket.ts';
import type { Log, World } from '../ports/world.ts';
import { SharedTurn } from '../turns.ts';
import { attempt, ownedSocketEvents } from '../unattended.ts';
import { type AckCount, type AckDemand, type AckPlace, AckWaiters } from './ack-waiters.ts';
import { Session } from './session.ts';
import type {
  Acknowledgement,
  OutputLimits,
  SessionCounts,
  SessionStatus,
  SyncCounters,
  WantedAcks,
} from './session-context.ts';
import { SessionLog, type SessionRecord } from './session-log.ts';
import type { Snapshots } from './snapshots.ts';
import type { ClientUrls } from './sync-answer.ts';

export interface SessionsSettings extends OutputLimits, WaitingSettings {
  /** The largest number of replicas that this node serves at the same time. */
  readonly maxReplicas: number;
}

/**
 * The largest number of open connections that have not asked for a sync. They do not count towards `maxReplicas`. One more
 * connection makes this node close the oldest of them, because a real handshake takes only some round trips.
 */
export const MAX_HANDSHAKES = 64;
/** The same for those of them that have not shown yet that they may replicate: they never take the place of one that has. */
export const MAX_LOCKED = 16;
/** The number of outages that this node remembers: the last ones. */
const MAX_OUTAGES = 32;
/** The number of absent replicas that this node remembers, so that it can report the outage when one comes back. */
const MAX_AWAY = 256;

interface SessionsParts {
  readonly world: World;
  readonly log: Log;
  readonly head: StreamHead;
  readonly journal: Pick<StateStore, 'durableUpTo' | 'syncSoon'>;
  readonly snapshots: Snapshots;
  readonly settings: SessionsSettings;
  /** ID of this process. */
  readonly nodeId: string;
  /** Schema of this node's keyspace file. */
  readonly keyspaceSchema: number;
  /** Milliseconds by which this node may be behind its master, 0 on a master; null: unknown. */
  lagMs(): number | null;
  clientUrls(): ClientUrls;
  notReady(): string | null;
  takeOver(position: Position, hash: bigint | null, session: Session): Promise<string | null>;
  outdated(session: Session): string | null;
  /** A replica found the snapshot damaged that this node had sent. @param reason in the replica's words */
  snapshotRefused(replica: string, reason: string): void;
  /** A replica has acknowledged something, or its session has ended. */
  changed(): void;
}

export class Sessions {
  readonly counters: SyncCounters = { syncFull: 0, syncPartialOk: 0, syncPartialErr: 0 };
  readonly counts: SessionCounts = {
    resyncs: new Tally(),
    snapshots: new Durations(LONG_RANGES),
    snapshotBytes: 0,
    resumes: 0,
    resumedBytes: 0,
  };
  readonly #parts: SessionsParts;
  readonly #open = new Set<Session>();
  readonly #log: SessionLog;
  readonly #acks: AckWaiters;
  readonly #turn: SharedTurn;
  /** Number of connections that this node has accepted; it makes the session's ID. */
  #count = 0;
  /**
   * Absent replicas by name, the longest absence first. `at`: when this node last heard of the replica, on the monotonic
   * clock; `offset`: the head's offset when the session ended.
   */
  readonly #away = new Map<string, { readonly at: number; readonly offset: number }>();
  /** Oldest first. */
  #outages: Outage[] = [];
  /** The last offset of the stream, because this node takes no more writes; null: it takes writes. */
  #lastAck: Offset | null = null;

  constructor(parts: SessionsParts) {
    this.#parts = parts;
    this.#turn = new SharedTurn(parts.world);
    this.#log = new SessionLog(parts.log, parts.world);
    this.#acks = new AckWaiters(parts.world, parts.settings, (demand) => this.acknowledged(demand));
    parts.head.onCommit(({ bytes }, from) => {
      for (const session of this.#open) {
        // An error with one replica ends its session only: the commit is done, and the other replicas still get it.
        attempt(
          () => session.committed(bytes, from),
          (error) => session.mistaken(error),
        );
      }
    });
  }

  /** The statuses of the sessions that have asked for a sync. */
  get statuses(): readonly SessionStatus[] {
    return [...this.#open].flatMap((session) => (session.isReplica ? (session.status ?? []) : []));
  }

  /** The records of the open sessions and of the last 64 that have ended, newest first. */
  get records(): readonly SessionRecord[] {
    return this.#log.records;
  }

  /** The last 32 outages of replicas that came back, newest first. */
  get outages(): readonly Outage[] {
    return this.#outages.toReversed();
  }

  /** The sessions that have asked for a sync. */
  get replicas(): readonly Session[] {
    return [...this.#open].filter(({ isReplica }) => isReplica);
  }

  /** The sessions that are online and have acknowledged something. */
  get acknowledging(): readonly Session[] {
    return [...this.#open].filter(({ acknowledgement }) => acknowledgement !== null);
  }

  /** Ends the session with this ID; the replica connects anew by itself. @returns whether there was one */
  close(id: string): boolean {
    const found = [...this.#open].find(({ status }) => status?.id === id);
    found?.close(CloseCode.goingAway, 'an administrator has ended the session');
    return found !== undefined;
  }

  /** Counts the replicas that have acknowledged something within the last `maxLagMs` milliseconds. */
  goodReplicas(maxLagMs: number): number {
    const since = this.#parts.world.monotonic() - maxLagMs;
    return this.#countOf(({ at }) => at >= since);
  }

  /**
   * Begins a session on a connection.
   * @param gate who may replicate on this connection
   * @param refusal the close code and the reason with which this node closes the session at once; null: it serves the replica
   * @returns the session, as the receiver of the socket's events
   */
  accept(socket: StreamSocket, gate: Gate, refusal: readonly [CloseCode, string] | null): SocketEvents {
    this.#count += 1;
    const id = String(this.#count);
    const session: Session = new Session(
      {
        ...this.#parts,
        id,
        gate,
        turn: this.#turn,
        notes: this.#log.open(id, socket.peer, !gate.isOpen),
        counters: this.counters,
        counts: this.counts,
        takeOver: (position, hash) => this.#parts.takeOver(position, hash, session),
        outdated: () => this.#parts.outdated(session),
        refusal: () => this.#refusal(session),
        decided: (decision) => this.#decided(session, decision),
        wantedAcks: () => this.#wantedAcks,
        acknowledged: () => {
          this.#acks.changed();
          this.#parts.changed();
        },
        snapshotRefused: (reason) => this.#parts.snapshotRefused(replicaName(session), reason),
        ended: () => this.#ended(session),
      },
      socket,
    );
    this.#open.add(session);
    if (refusal !== null) session.close(...refusal);
    const locked = [...this.#open].filter(({ isLocked }) => isLocked);
    if (locked.length > MAX_LOCKED) {
      locked[0]?.close(CloseCode.tooMany, `more than ${MAX_LOCKED} connections have not shown a token`);
    }
    const unfinished = [...this.#open].filter(({ isLocked, isReplica }) => !isLocked && !isReplica);
    if (unfinished.length > MAX_HANDSHAKES) {
      unfinished[0]?.close(CloseCode.tooMany, `more than ${MAX_HANDSHAKES} connections have not said PSYNC`);
    }
    return ownedSocketEvents(session, (error) => session.mistaken(error));
  }

  /** Closes all sessions except `except`. */
  drop(code: CloseCode, reason: string, except: Session | null = null): void {
    for (const session of [...this.#open]) if (session !== except) session.close(code, reason);
  }

  /** @returns how far this node and its replicas have come up to the offset of the demand */
  acknowledged({ offset, durable }: AckDemand): AckCount {
    const { head, journal } = this.#parts;
    return {
      replicas: this.#countOf((each) => ((durable ? each.durable : each.offset) ?? -1) >= offset),
      isHere: !durable || journal.durableUpTo(head.offset) >= offset,
    };
  }

  /**
   * Takes a place for a write that will wait for acknowledgements. The wait asks the replicas to acknowledge at once, and brings
   * this node's journal to the disk if the write shall be durable.
   * @param client name of the client that writes
   * @throws Problem TOO_MANY_REQUESTS as `AckWaiters.enter`
   */
  enterAcks(client: string): AckPlace {
    const place = this.#acks.enter(client);
    return {
      wait: (demand, timeoutMs) => {
        const { offset, replicas, durable } = demand;
        if (replicas > 0) {
          this.#wantAcks({ inJournal: durable ? null : offset, onDisk: durable ? offset : null });
        }
        if (durable) this.#parts.journal.syncSoon(() => this.#acks.changed());
        return place.wait(demand, timeoutMs);
      },
      leave: place.leave,
    };
  }

  /** Asks the replicas to acknowledge as soon as they have everything up to `offset`. */
  wantAcks(offset: Offset): void {
    this.#wantAcks({ inJournal: offset, onDisk: null });
  }

  /** Asks the replicas to acknowledge as soon as they have everything up to `offset` on their disks. */
  wantDurableAcks(offset: Offset): void {
    this.#wantAcks({ inJournal: null, onDisk: offset });
  }

  #wantAcks(wanted: WantedAcks): void {
    for (const session of this.#open) session.wantAcks(wanted);
  }

  get #wantedAcks(): WantedAcks {
    const { wanted } = this.#acks;
    return this.#lastAck === null ? wanted : { ...wanted, inJournal: this.#lastAck };
  }

  /**
   * Asks all replicas, also those that connect later, to acknowledge as soon as they have the whole stream. This node takes no
   * more writes.
   */
  wantLastAcks(): void {
    this.#lastAck = this.#parts.head.offset;
    this.wantAcks(this.#lastAck);
  }

  /** Forgets the absent replicas, because the roles have changed: a replica that left may have been the master meanwhile. */
  forgetAway(): void {
    this.#away.clear();
  }

  /** Ends all waits for acknowledgements with the counts of this moment. */
  releaseWaiters(): void {
    this.#acks.release();
  }

  /**
   * Counts the other replicas; an older connection of the same process does not count.
   * @returns the reason why there is no place for a replica that asks for a sync; null: there is one
   */
  #refusal(asking: Session): string | null {
    const { maxReplicas } = this.#parts.settings;
    let others = 0;
    for (const session of this.#open) {
      if (session.isReplica && session !== asking && !isSameReplica(session, asking)) others += 1;
    }
    return others < maxReplicas ? null : `${maxReplicas} replicas are connected already`;
  }

  /**
   * Counts the replicas whose acknowledgement fits. A replica counts once, by its URL: after a restart it is another process,
   * and its old connection may still be open on this side.
   */
  #countOf(fits: (acknowledgement: Acknowledgement) => boolean): number {
    const replicas = new Set<string>();
    for (const session of this.#open) {
      const { acknowledgement } = session;
      if (acknowledgement !== null && fits(acknowledgement)) replicas.add(replicaName(session));
    }
    return replicas.size;
  }

  #decided(session: Session, decision: Decision): void {
    // The replica's old connection may have broken without a close frame, and then still be open on this side.
    for (const other of [...this.#open]) {
      if (other !== session && isSameReplica(other, session))
        other.close(CloseCode.goingAway, 'the replica has connected anew');
    }
    const name = replicaName(session);
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
    if (session.progress.sync !== null) {
      const name = replicaName(session);
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

/** Whether both are connections of one process. A node ID is no secret, so it counts only together with the owner of the connection. */
function isSameReplica(one: Session, other: Session): boolean {
  return one.nodeId !== null && one.nodeId === other.nodeId && one.gate.owner === other.gate.owner;
}
