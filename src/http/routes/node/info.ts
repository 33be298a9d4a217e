/** `/v1/info`: the node's state in the format of Redis's INFO, for people and scripts that know its names. */
import type { ReplicationStatus } from '../../../node/node.ts';
import type { ScrubStatus } from '../../../node/upkeep/scrubber.ts';
import { parseUpstream, portOf, replicaName } from '../../../replication/upstream.ts';
import type { RunningSettings } from './admin-routes.ts';

const NO_RUN_ID = '0'.repeat(40);
const FAILOVER_STATES = {
  none: 'no-failover',
  'waiting-for-sync': 'waiting-for-sync',
  'in-progress': 'failover-in-progress',
} as const;

/** @returns sections of `name:value` lines with CR LF, as Redis sends them */
export function formatInfo(
  status: ReplicationStatus,
  scrub: ScrubStatus,
  overlayBytes: number,
  expiredBacklog: number,
  {
    version,
    startedAt,
    loopLag,
    journal,
  }: Pick<RunningSettings, 'version' | 'startedAt' | 'loopLag' | 'journal'>,
): string {
  const server = {
    psyncd_version: version,
    process_id: process.pid,
    uptime_in_seconds: Math.floor((performance.now() - startedAt) / 1000),
    run_id: status.runId,
  };
  const stats = {
    sync_full: status.counters.syncFull,
    sync_partial_ok: status.counters.syncPartialOk,
    sync_partial_err: status.counters.syncPartialErr,
    connected_followers: status.feed.followers,
    follower_continued: status.feed.counters.continued,
    follower_resets: Object.values(status.feed.counters.resets).reduce((sum, count) => sum + count, 0),
    follower_too_far_behind: status.feed.counters.tooFarBehind,
    // An estimate that stops counting at MAX_COUNTED of expiry-cycle.ts.
    expired_backlog: expiredBacklog,
    event_loop_lag_p99_ms: loopLag.p99Ms,
    event_loop_lag_max_ms: loopLag.maxMs,
  };
  return [
    section('Server', server),
    section('Memory', {
      used_memory_rss: residentBytes(),
      // Approximate; `--overlay-size` limits it.
      overlay_bytes: overlayBytes,
    }),
    section('Persistence', {
      // Writes of one turn share a commit and, under `--fsync always`, an fsync.
      journal_commits: journal.commits,
      journal_fsyncs: journal.fsyncs,
      ...persistence(scrub),
    }),
    section('Stats', stats),
    section('Replication', replication(status)),
  ].join('\r\n');
}

/** Resident memory in bytes; -1: the system does not tell, because no file descriptors are left. */
function residentBytes(): number {
  try {
    return process.memoryUsage.rss();
  } catch {
    return -1;
  }
}

/** The last scrub of the keyspace file, which Redis does not have. -1: there was none since the start. */
function persistence({ running, last }: ScrubStatus): Readonly<Record<string, string | number>> {
  return {
    scrub_in_progress: running ? 1 : 0,
    last_scrub_time: last === null ? -1 : Math.floor(last.at / 1000),
    last_scrub_duration_ms: last?.durationMs ?? -1,
    last_scrub_result: last?.result ?? 'none',
    last_scrub_entries: last?.entries ?? -1,
  };
}

type LastSync = NonNullable<NonNullable<ReplicationStatus['upstream']>['lastSync']>;

function replication(status: ReplicationStatus): Readonly<Record<string, string | number>> {
  const { upstream, replicas, lineage, backlog, offset } = status;
  const [ancestor] = lineage;
  return {
    role: upstream === null ? 'master' : 'slave',
    ...(upstream === null ? {} : upstreamLines(upstream, offset)),
    connected_slaves: replicas.length,
    ...(status.goodReplicas === undefined ? {} : { min_slaves_good_slaves: status.goodReplicas }),
    ...Object.fromEntries(replicas.map((replica, index) => [`slave${index}`, replicaLine(replica)])),
    master_failover_state: FAILOVER_STATES[status.failover?.state ?? 'none'],
    master_replid: status.runId,
    master_replid2: ancestor?.runId ?? NO_RUN_ID,
    master_repl_offset: offset,
    // Redis names the first byte that is no longer shared.
    second_repl_offset: ancestor === undefined ? -1 : ancestor.validTo + 1,
    repl_backlog_active: 1,
    repl_backlog_size: backlog.size,
    repl_backlog_first_byte_offset: backlog.firstOffset,
    repl_backlog_histlen: backlog.length,
  };
}

function upstreamLines(
  upstream: NonNullable<ReplicationStatus['upstream']>,
  offset: number,
): Readonly<Record<string, string | number>> {
  const [hostname, port] = addressOf(upstream.url);
  const { progress } = upstream;
  return {
    master_host: hostname,
    master_port: port,
    master_link_status: upstream.state === 'streaming' ? 'up' : 'down',
    master_last_io_seconds_ago:
      upstream.lastIoAgeMs === undefined ? -1 : Math.floor(upstream.lastIoAgeMs / 1000),
    master_sync_in_progress: upstream.state === 'snapshot' ? 1 : 0,
    ...(progress === undefined
      ? {}
      : {
          master_sync_total_bytes: progress.total,
          master_sync_read_bytes: progress.received,
          master_sync_left_bytes: progress.total - progress.received,
          master_sync_perc: percent(progress.received, progress.total),
        }),
    ...(upstream.downMs === undefined
      ? {}
      : { master_link_down_since_seconds: Math.floor(upstream.downMs / 1000) }),
    ...(upstream.lastSync === undefined ? {} : lastSyncLines(upstream.lastSync)),
    slave_read_repl_offset: offset,
    slave_repl_offset: offset,
    slave_read_only: 1,
  };
}

/** The last resync and its reason, which Redis does not have, except for the duration, which Valkey has. */
function lastSyncLines(sync: LastSync): Readonly<Record<string, string | number>> {
  return {
    last_successful_sync_duration_ms: sync.durationMs,
    last_sync_kind: sync.kind,
    ...(sync.reason === null ? {} : { last_sync_reason: sync.reason }),
    ...(sync.bytes === null ? {} : { last_sync_bytes: sync.bytes }),
  };
}

function percent(part: number, whole: number): string {
  return (whole === 0 ? 100 : (100 * part) / whole).toFixed(2);
}

function replicaLine(replica: ReplicationStatus['replicas'][number]): string {
  const [host, port] = addressOf(replicaName(replica));
  const lag = Math.floor((replica.ackAgeMs ?? 0) / 1000);
  // Redis's `lag` is the age of the last ACK; the fields after it say how old and how much data the replica lacks.
  const data = `lag_bytes=${replica.lagBytes},lag_seconds=${replica.lagSeconds}`;
  const onDisk = replica.durableOffset === undefined ? '' : `,durable_offset=${replica.durableOffset}`;
  return `ip=${host},port=${port},state=${stateOf(replica)},offset=${replica.offset},lag=${lag},${data}${onDisk}`;
}

/** State in Redis's words: a replica that still waits for its snapshot is sent nothing yet. */
function stateOf({ state, progress }: ReplicationStatus['replicas'][number]): string {
  if (state === 'online') return 'online';
  return progress === undefined ? 'wait_bgsave' : 'send_bulk';
}

/** Host and port of a node's URL or of `HOST:PORT`; the host may be an IPv6 address. */
function addressOf(text: string): readonly [string, string] {
  const url = parseUpstream(text);
  if (url !== null) return [url.hostname, portOf(url)];
  const at = text.lastIndexOf(':');
  return at === -1 ? [text, '0'] : [text.slice(0, at), text.slice(at + 1)];
}

function section(name: string, lines: Readonly<Record<string, string | number>>): string {
  return [`# ${name}`, ...Object.entries(lines).map(([key, value]) => `${key}:${value}`), ''].join('\r\n');
}
