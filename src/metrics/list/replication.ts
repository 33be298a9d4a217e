/** Metrics of the stream, of replicas and masters, and of followers. */
import type { NodeNumbers } from '../../node/numbers.ts';
import { flag, type Metric, named, type Sample, value } from '../metric.ts';

const REPLICA_STATES = ['handshake', 'snapshot', 'online'] as const;

type Replica = NodeNumbers['replicas'][number];

/** One value for each connected replica. */
function ofReplicas(
  { replicas }: NodeNumbers,
  read: (replica: Replica) => number | undefined,
): readonly Sample[] {
  return replicas.flatMap((replica) => {
    const found = read(replica);
    return found === undefined ? [] : [{ labels: { replica: replica.name }, value: found }];
  });
}

/** @param counts by `partial`, or the reason of a full resync */
function resyncs(counts: readonly (readonly [string, number])[]): readonly Sample[] {
  return counts.map(([name, count]) => ({
    labels: name === 'partial' ? { kind: 'partial', reason: '' } : { kind: 'full', reason: name },
    value: count,
  }));
}

export const REPLICATION: readonly Metric[] = [
  {
    name: 'psyncd_offset_bytes',
    help: 'Bytes of the stream that the node has',
    kind: 'gauge',
    read: ({ node }) => value(node.offset),
  },
  {
    name: 'psyncd_backlog_first_offset_bytes',
    help: 'Offset of the first byte in the backlog',
    kind: 'gauge',
    read: ({ node }) => value(node.backlog.firstOffset),
  },
  {
    name: 'psyncd_backlog_bytes',
    help: 'Bytes of the stream in the backlog',
    kind: 'gauge',
    read: ({ node }) => value(node.backlog.length),
  },
  {
    name: 'psyncd_backlog_size_bytes',
    help: 'Bytes that the backlog holds at most',
    kind: 'gauge',
    read: ({ node }) => value(node.backlog.size),
  },
  {
    name: 'psyncd_backlog_window_seconds',
    help: 'Age of the oldest byte in the backlog. A replica that was away for longer continues from the journal if --journal-keep kept enough: see psyncd_window_seconds',
    kind: 'gauge',
    read: ({ node }) => value(node.backlog.seconds),
  },
  {
    name: 'psyncd_window_bytes',
    help: 'Bytes of the stream from which the node serves partial resyncs: the backlog, and what the journal keeps before it',
    kind: 'gauge',
    read: ({ node }) => value(node.window.bytes),
  },
  {
    name: 'psyncd_window_seconds',
    help: 'Age of the oldest of these bytes: once the backlog is full, a replica that was away for longer needs a full resync',
    kind: 'gauge',
    read: ({ node }) => value(node.window.seconds),
  },
  {
    name: 'psyncd_replicas',
    help: 'Connected replicas',
    kind: 'gauge',
    read: ({ node }) => value(node.replicas.length),
  },
  {
    name: 'psyncd_replica_lag_bytes',
    help: 'Bytes of the stream that a connected replica has not acknowledged',
    kind: 'gauge',
    labels: ['replica'],
    read: ({ node }) => ofReplicas(node, ({ lagBytes }) => lagBytes),
  },
  {
    name: 'psyncd_replica_lag_seconds',
    help: 'Age of the oldest byte that a connected replica has not acknowledged; 0 if it has everything',
    kind: 'gauge',
    labels: ['replica'],
    read: ({ node }) => ofReplicas(node, ({ lagSeconds }) => lagSeconds),
  },
  {
    name: 'psyncd_replica_ack_age_seconds',
    help: 'Time since a connected replica last acknowledged anything; it does so once a second',
    kind: 'gauge',
    labels: ['replica'],
    read: ({ node }) =>
      ofReplicas(node, ({ ackAgeMs }) => (ackAgeMs === undefined ? undefined : ackAgeMs / 1_000)),
  },
  {
    name: 'psyncd_replica_state',
    help: '1 for the state that a connected replica is in, 0 for the others',
    kind: 'gauge',
    labels: ['replica', 'state'],
    read: ({ node }) =>
      node.replicas.flatMap(({ name, state }) =>
        REPLICA_STATES.map((each) => ({
          labels: { replica: name, state: each },
          value: each === state ? 1 : 0,
        })),
      ),
  },
  {
    name: 'psyncd_replica_longest_outage_seconds',
    help: 'Longest of the last 32 absences from which replicas came back; compare it with psyncd_window_seconds',
    kind: 'gauge',
    read: ({ node }) => value(node.longestOutageSeconds),
  },
  {
    name: 'psyncd_resyncs_total',
    help: 'Resyncs that this node has given to replicas, by kind and, if full, by reason',
    kind: 'counter',
    labels: ['kind', 'reason'],
    read: ({ node }) => resyncs(node.sessions.resyncs.counts),
  },
  {
    name: 'psyncd_snapshot_seconds',
    help: 'Time from the answer to a replica until its whole snapshot was sent',
    kind: 'histogram',
    read: ({ node }) => [{ took: node.sessions.snapshots }],
  },
  {
    name: 'psyncd_snapshot_bytes_total',
    help: 'Bytes of snapshots that were sent to replicas completely',
    kind: 'counter',
    read: ({ node }) => value(node.sessions.snapshotBytes),
  },
  {
    name: 'psyncd_snapshot_resumes_total',
    help: 'Snapshots that this node went on with where a connection had broken, instead of sending them again',
    kind: 'counter',
    read: ({ node }) => value(node.sessions.resumes),
  },
  {
    name: 'psyncd_snapshot_resumed_bytes_total',
    help: 'Bytes of these snapshots that replicas had from an earlier connection, so that they were not sent again',
    kind: 'counter',
    read: ({ node }) => value(node.sessions.resumedBytes),
  },
  {
    name: 'psyncd_upstream_up',
    help: '1 if a replica receives the stream of its master, else 0; absent on a master',
    kind: 'gauge',
    read: ({ node }) => (node.upstream === null ? [] : flag(node.upstream.isStreaming)),
  },
  {
    name: 'psyncd_upstream_last_io_timestamp_seconds',
    help: 'When a replica last heard of its master, in seconds since 1970; absent without a connection',
    kind: 'gauge',
    read: ({ node, now }) => {
      const silent = node.upstream?.silentSeconds ?? null;
      return value(silent === null ? null : now - silent);
    },
  },
  {
    name: 'psyncd_upstream_offset_bytes',
    help:
      'Bytes of the stream that the master of a replica has, as far as the replica knows; psyncd_offset_bytes are those of them that it ' +
      'has applied. Absent on a master, and while the replica does not receive the stream',
    kind: 'gauge',
    read: ({ node }) => {
      const { lag, offset, upstream } = node;
      return value(upstream === null || lag.bytes === null ? null : offset + lag.bytes);
    },
  },
  {
    name: 'psyncd_lag_seconds',
    help:
      'How long a replica may be behind its master: 0 if it hears of it and has applied everything that the master has, else the time ' +
      'since it last had; +Inf if it has not caught up with this master since the start. 0 on a master',
    kind: 'gauge',
    read: ({ node }) => value(node.lag.seconds ?? Number.POSITIVE_INFINITY),
  },
  {
    name: 'psyncd_link_failures_total',
    help: 'Connections to a master that have failed or ended, by how',
    kind: 'counter',
    labels: ['reason'],
    read: ({ node }) => named('reason', node.links.failures.counts),
  },
  {
    name: 'psyncd_upstream_resyncs_total',
    help: 'Resyncs that this node has got from its masters, by kind and, if full, by reason',
    kind: 'counter',
    labels: ['kind', 'reason'],
    read: ({ node }) => resyncs(node.links.resyncs.counts),
  },
  {
    name: 'psyncd_followers',
    help: 'Followers of /v1/changes, by transport',
    kind: 'gauge',
    labels: ['transport'],
    read: ({ node }) => named('transport', node.feed.followers),
  },
  {
    name: 'psyncd_follower_lag_bytes_max',
    help: 'Bytes of the stream that the slowest follower lacks; one that gets a snapshot does not count',
    kind: 'gauge',
    read: ({ node }) => value(node.feed.lagBytes),
  },
  {
    name: 'psyncd_followers_dropped_total',
    help: 'Followers that the node has disconnected before they had what they asked for, by reason',
    kind: 'counter',
    labels: ['reason'],
    read: ({ node }) => named('reason', node.feed.traffic.dropped.counts),
  },
  {
    name: 'psyncd_follower_sent_bytes_total',
    help: 'Bytes of messages for followers',
    kind: 'counter',
    read: ({ node }) => value(node.feed.traffic.sentBytes),
  },
];
