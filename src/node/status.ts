/** The replication status of a node, as `GET /v1/replication` and INFO tell it. */
import type { History } from '../replication/history.ts';
import { formatHash } from '../replication/history-hash.ts';
import { formatPosition } from '../replication/position.ts';
import type { Assembly } from './assembly.ts';
import type { FeedStatus } from './feed/feed-parts.ts';
import type { LinkStatus } from './link/link.ts';
import type { ArchiveNumbers, ArchiveStatus } from './ports/archived-stream.ts';
import type { FailoverStatus } from './role/hand-over.ts';
import type { Role } from './role/roles.ts';
import type { SessionStatus, SyncCounters } from './session/session-context.ts';
import type { BackupStatus } from './upkeep/backup-status.ts';
import type { Verified } from './upkeep/verifier.ts';

/** Whether this node takes writes now. */
export interface WritesStatus {
  readonly state: 'taken' | 'held' | 'refused';
  /** The code of the problem that clients get; null: they get none. */
  readonly problem: string | null;
  /** Why writes are refused or held, in words; null: the node takes writes. */
  readonly reason: string | null;
}

/** How the archive goes, with its numbers. */
interface ShownArchive
  extends Omit<ArchiveStatus, 'position' | 'gap'>,
    Omit<ArchiveNumbers, 'lastSuccess' | 'objects'> {
  /** The stream can be restored up to here; null: nothing is known that can. */
  readonly position: string | null;
  /** The last gap since the start; null: there was none. */
  readonly gap: { readonly after: string | null; readonly to: string | null; readonly at: number } | null;
  /** Milliseconds since 1970; null: not since the start. */
  readonly lastSuccessAt: number | null;
}

export interface ReplicationStatus {
  readonly role: Role;
  /** Names this process. */
  readonly nodeId: string;
  readonly runId: string;
  readonly offset: number;
  readonly position: string;
  /** The hash of the bytes up to `position`, 16 hex digits; null: unknown. */
  readonly historyHash: string | null;
  readonly lineage: History['lineage'];
  readonly backlog: { readonly size: number; readonly firstOffset: number; readonly length: number };
  /** The bytes from which this node serves a partial resync: the backlog, and what the journal keeps before it. */
  readonly window: { readonly firstOffset: number; readonly length: number };
  readonly upstream: LinkStatus | null;
  readonly replicas: readonly SessionStatus[];
  /** The number of replicas that count for `--min-replicas-to-write`; absent without that setting. */
  readonly goodReplicas?: number;
  readonly failover: FailoverStatus | null;
  readonly writes: WritesStatus;
  /** The keyspace files that full resyncs have replaced and the node has kept in the data folder, oldest first. */
  readonly kept: readonly {
    readonly file: string;
    readonly position: string;
    readonly reason: string | null;
    readonly at: number;
  }[];
  /** The result of a replica's last comparison with its master; null: none yet, or this node is a master. */
  readonly verified: Verified | null;
  /** Backups by the schedule since the start of the process; null: the node makes none. */
  readonly backups: BackupStatus | null;
  /** The archive of the stream; null: this node archives nothing. */
  readonly archive: ShownArchive | null;
  readonly counters: Readonly<SyncCounters>;
  /** When an operator has set the counters to 0, those of `feed` too; null: never since the process started. */
  readonly countersResetAt: number | null;
  readonly feed: FeedStatus;
}

/** @returns the status at this moment */
export function replicationStatus(node: Assembly): ReplicationStatus {
  const { head, roles, sessions, shownCounters } = node;
  const feed = node.feed.status;
  const counters = shownCounters.since({ sync: sessions.counters, feed: feed.counters });
  const { runId, lineage } = head.history;
  const { size, firstOffset, length } = head.backlog;
  const { minReplicasToWrite, minReplicasMaxLagMs } = node.settings;
  return {
    role: roles.role,
    nodeId: node.nodeId,
    runId,
    offset: head.offset,
    position: formatPosition(head.position),
    historyHash: head.hash === null ? null : formatHash(head.hash),
    lineage,
    backlog: { size, firstOffset, length },
    window: head.window,
    upstream: roles.link,
    replicas: sessions.statuses,
    ...(minReplicasToWrite === 0 ? {} : { goodReplicas: sessions.goodReplicas(minReplicasMaxLagMs) }),
    failover: node.failover.status,
    writes: writesStatus(node),
    kept: node.state.kept.map(({ name, position, reason, at }) => ({
      file: name,
      position: formatPosition(position),
      reason,
      at,
    })),
    verified: roles.role === 'master' ? null : node.verifier.last,
    backups: node.backups?.status ?? null,
    archive: archiveStatus(node),
    counters: counters.sync,
    countersResetAt: shownCounters.resetAt,
    feed: { ...feed, counters: counters.feed },
  };
}

function archiveStatus({ archived }: Assembly): ShownArchive | null {
  const { numbers, status } = archived;
  if (numbers === null || status === null) return null;
  const { lagBytes, isWhole, lastSuccess, failures, restarts } = numbers;
  const { position, at, hasBase, gap, failing } = status;
  const formatted = (each: typeof position): string | null => (each === null ? null : formatPosition(each));
  return {
    position: formatted(position),
    at,
    lagBytes,
    hasBase,
    isWhole,
    lastSuccessAt: lastSuccess,
    failures,
    restarts,
    gap: gap && { after: formatted(gap.after), to: formatted(gap.to), at: gap.at },
    failing,
  };
}

function writesStatus({ failover, guard, writeHold }: Assembly): WritesStatus {
  const { admissionProblem: problem } = guard;
  if (problem !== null) return { state: 'refused', problem: problem.code, reason: problem.message };
  if (failover.status !== null) return { state: 'held', problem: null, reason: 'a hand-over is going on' };
  const { remainingMs } = writeHold;
  return remainingMs > 0
    ? { state: 'held', problem: null, reason: `an administrator holds them for ${remainingMs} ms more` }
    : { state: 'taken', problem: null, reason: null };
}

/** Sets the counters of the status to 0. Those of `/metrics` stay, because a counter of Prometheus must not fall. */
export function resetCounters({ feed, sessions, shownCounters, world }: Assembly): void {
  shownCounters.reset({ sync: { ...sessions.counters }, feed: feed.status.counters }, world.now());
}
