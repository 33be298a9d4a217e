/** The numbers of a node that `/metrics` publishes. They are read when somebody scrapes; before, parts only count. */
import { type Offset, offset } from '../replication/position.ts';
import { replicaName } from '../replication/upstream.ts';
import type { Assembly } from './assembly.ts';
import type { FeedNumbers } from './feed/feed-numbers.ts';
import type { Lag, LinkCounts } from './link/link-context.ts';
import type { ArchiveNumbers } from './ports/archived-stream.ts';
import type { Durations } from './ports/counts.ts';
import { ANY, unreadiness } from './readiness.ts';
import type { Role } from './role/roles.ts';
import type { SessionCounts, SessionStatus } from './session/session-context.ts';
import type { BackupStatus } from './upkeep/backup-status.ts';
import type { SnapshotNumbers } from './upkeep/copies/snapshot-copies.ts';
import type { WriteCounts } from './write/decided-turn.ts';

export interface NodeNumbers {
  readonly role: Role;
  readonly runId: string;
  readonly isWritable: boolean;
  readonly isReady: boolean;
  readonly offset: Offset;
  readonly writes: {
    readonly counts: WriteCounts;
    readonly turns: Durations;
    readonly waitingBytes: number;
  };
  readonly backlog: {
    readonly firstOffset: number;
    readonly length: number;
    /** Largest length. */
    readonly size: number;
    /** Seconds since the commit of its oldest byte. */
    readonly seconds: number;
  };
  /** Bytes of the stream from which the node serves partial resyncs, and seconds since the commit of the oldest. */
  readonly window: { readonly bytes: number; readonly seconds: number };
  /** Connected replicas, with the name of each: its URL, or else its address. */
  readonly replicas: readonly (SessionStatus & { readonly name: string })[];
  readonly sessions: SessionCounts;
  /** Longest of the last 32 absences from which replicas came back. */
  readonly longestOutageSeconds: number;
  /** null: this node follows nobody. */
  readonly upstream: {
    readonly isStreaming: boolean;
    /** Seconds since this node last heard of its master; null: there is no connection. */
    readonly silentSeconds: number | null;
  } | null;
  readonly lag: Lag;
  readonly links: LinkCounts;
  readonly feed: FeedNumbers;
  readonly snapshots: SnapshotNumbers;
  /** null: this node makes none by a schedule in its present role. */
  readonly backups: BackupStatus | null;
  /** null: this node archives nothing. */
  readonly archive: ArchiveNumbers | null;
  readonly storage: {
    /** Size of the keyspace file; null: it cannot be read. */
    readonly fileBytes: number | null;
    readonly overlayEntries: number;
    readonly overlayBytes: number;
    /** Bytes of the stream that the keyspace file does not hold yet. */
    readonly unappliedBytes: number;
    /** Bytes of the stream that the journal holds; null: it cannot be read. */
    readonly journalBytes: number | null;
  };
}

export function nodeNumbers(node: Assembly): NodeNumbers {
  const { archived, backups, copies, feed, guard, head, roles, sessions, state, writes } = node;
  const { backlog, window } = head;
  const { link } = roles;
  return {
    role: roles.role,
    runId: head.history.runId,
    isWritable: guard.admissionProblem === null,
    isReady: unreadiness(node, ANY) === null,
    offset: head.offset,
    writes: { counts: writes.counts, turns: writes.turns, waitingBytes: writes.waitingBytes },
    backlog: {
      firstOffset: backlog.firstOffset,
      length: backlog.length,
      size: backlog.size,
      seconds: head.lagMs(offset(backlog.firstOffset - 1)) / 1_000,
    },
    window: { bytes: window.length, seconds: head.lagMs(offset(window.firstOffset - 1)) / 1_000 },
    replicas: sessions.statuses.map((status) => ({ ...status, name: replicaName(status) })),
    sessions: sessions.counts,
    longestOutageSeconds: Math.max(0, ...sessions.outages.map(({ awayMs }) => awayMs)) / 1_000,
    upstream:
      link === null
        ? null
        : {
            isStreaming: link.state === 'streaming',
            silentSeconds: link.lastIoAgeMs === undefined ? null : link.lastIoAgeMs / 1_000,
          },
    lag: roles.lag,
    links: roles.counts,
    feed: feed.numbers,
    snapshots: copies.numbers,
    backups: backups?.isOn ? backups.status : null,
    archive: archived.numbers,
    storage: {
      fileBytes: orNull(() => head.snapshotBytes()),
      overlayEntries: head.overlayEntries,
      overlayBytes: head.overlayBytes,
      unappliedBytes: head.unappliedBytes,
      journalBytes: orNull(() => head.offset - (state.journalStart ?? head.offset)),
    },
  };
}

/** A disk that fails takes no other number away: those are wanted most then. */
function orNull(read: () => number): number | null {
  try {
    return read();
  } catch {
    return null;
  }
}
