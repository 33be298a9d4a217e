/** The contract between one session and its node, and the facts that a session reports about its replica. */

import type { Decision, FullResyncReason } from '../../replication/decide.ts';
import type { Offset, Position } from '../../replication/position.ts';
import type { StreamHead } from '../head/stream-head.ts';
import type { LinkTimes } from '../link-times.ts';
import type { Durations, Tally } from '../ports/counts.ts';
import type { Gate } from '../ports/stream-socket.ts';
import type { Log, World } from '../ports/world.ts';
import type { SharedTurn } from '../turns.ts';
import type { SessionNotes } from './session-log.ts';
import type { Snapshots } from './snapshots.ts';
import type { ClientUrls } from './sync-answer.ts';

/**
 * `handshake`: the peer has not got an answer to PSYNC. `snapshot`: it waits for its snapshot or receives it. `online`: it gets the
 * stream. `closed`: the session has ended.
 */
export type SessionPhase = 'handshake' | 'snapshot' | 'online' | 'closed';

/** What a replica has acknowledged last. */
export interface Acknowledgement {
  /** Offset up to which the replica has the stream in its journal. */
  readonly offset: number;
  /** Offset up to which it has the stream on its disk; null: it has not said so. */
  readonly durable: number | null;
  /** Moment of the monotonic clock. */
  readonly at: number;
}

/** What writers wait for: the offsets that replicas shall have in their journals and on their disks; null: no writer waits for that. */
export interface WantedAcks {
  readonly inJournal: Offset | null;
  readonly onDisk: Offset | null;
}

/** A session as administrators see it. */
export interface SessionStatus {
  readonly id: string;
  /** URL under which the replica says that other nodes reach it. */
  readonly url?: string;
  readonly peer: string;
  readonly state: Exclude<SessionPhase, 'closed'>;
  /** Offset that the replica has acknowledged: everything up to it is in the replica's journal. */
  readonly offset: number;
  /** Offset up to which the replica says that it has the stream on its disk. */
  readonly durableOffset?: number;
  /** Bytes of the stream that the replica has not acknowledged. */
  readonly lagBytes: number;
  /** Seconds, on this node's clock, since this node committed the first byte that the replica has not acknowledged. */
  readonly lagSeconds: number;
  /** Milliseconds since the last acknowledgement. */
  readonly ackAgeMs?: number;
  /** Bytes of the snapshot that this node has sent, while it sends one. */
  readonly progress?: { readonly sent: number; readonly total: number };
  /** The way in which this node last brought the replica up to date. */
  readonly sync?: SyncSummary;
}

export interface SyncSummary {
  readonly kind: 'full' | 'partial';
  readonly reason?: FullResyncReason;
  /** Size of the snapshot, or of the part of the stream that the replica lacked. */
  readonly bytes: number;
  /** Bytes of the snapshot that the replica had from an earlier connection; absent: none. */
  readonly resumedBytes?: number;
}

/** Counts of syncs since the node started, under Redis's names. */
export interface SyncCounters {
  syncFull: number;
  syncPartialOk: number;
  syncPartialErr: number;
}

/** How a replica was brought up to date: `partial`, or the reason of a full resync. */
export type ResyncName = 'partial' | FullResyncReason;

/** More counts since the node started. */
export interface SessionCounts {
  /** Resyncs that this node has answered. */
  readonly resyncs: Tally<ResyncName>;
  /** From the answer to PSYNC until the last byte of a snapshot was given to the connection. */
  readonly snapshots: Durations;
  /** Bytes of the snapshots that were sent completely. */
  snapshotBytes: number;
  /** Snapshots of which a replica had a part from an earlier connection, and the bytes of these parts: they were not sent again. */
  resumes: number;
  resumedBytes: number;
}

/** The bounds on how far a replica may lag, and the times by which the session keeps its connection alive. */
export interface OutputLimits extends LinkTimes {
  /** Lag in bytes beyond which the node closes a session at once; the backlog's size counts if that is larger. */
  readonly outputLimitBytes: number;
  /** Lag in bytes that a session may have for `outputSoftMs` only; the backlog's size counts if that is larger. */
  readonly outputSoftBytes: number;
  /** Milliseconds for which a session may lag more than `outputSoftBytes`. */
  readonly outputSoftMs: number;
}

/** The parts of the node that a session uses, and the questions that it asks its node. */
export interface SessionContext {
  readonly id: string;
  readonly world: World;
  readonly log: Log;
  readonly head: StreamHead;
  readonly snapshots: Snapshots;
  readonly counters: SyncCounters;
  readonly counts: SessionCounts;
  readonly settings: OutputLimits;
  readonly notes: SessionNotes;
  /** Who may replicate on this connection. */
  readonly gate: Gate;
  /** The turn in which all sessions together carry out commands. */
  readonly turn: SharedTurn;
  /** ID of this process; a replica that has the same ID has dialled itself. */
  readonly nodeId: string;
  /** Schema of this node's keyspace file. */
  readonly keyspaceSchema: number;
  /** Milliseconds by which this node may be behind its master, 0 on a master; null: unknown. */
  lagMs(): number | null;
  /** URLs under which clients reach this node. */
  clientUrls(): ClientUrls;
  /** The line that tells a replica why this node can serve no replica now; null: it can. */
  notReady(): string | null;
  /**
   * Makes this node the master if it stands at exactly `position` (PSYNC … FAILOVER).
   * @param hash history hash at the position; null: unknown
   * @returns the line that tells why this node stays a replica; null: it is the master now
   */
  takeOver(position: Position, hash: bigint | null): Promise<string | null>;
  /**
   * Reports that the replica has bytes under this node's run ID that this node lacks.
   * @returns why the replica has to ask again; null: it gets an answer
   * @throws StorageError when the disk does not take the new run ID
   */
  outdated(): string | null;
  /** The reason why this node has no place for one more replica; null: it has one. */
  refusal(): string | null;
  /** Reports how this node brings the replica up to date. */
  decided(decision: Decision): void;
  /** Reports that the replica has acknowledged something. */
  acknowledged(): void;
  /**
   * Reports that the replica found the snapshot damaged although it arrived as this node sent it.
   * @param reason in the replica's words
   */
  snapshotRefused(reason: string): void;
  /** The acknowledgements that writers wait for. */
  wantedAcks(): WantedAcks;
  /** Reports that the session has ended. Called once. */
  ended(): void;
}
