/** `/v1/info`: the state of the node as Redis's INFO has it, for people and scripts that know those names. */
import type { ReplicationStatus } from '../node/node.ts';

const NO_RUN_ID = '0'.repeat(40);

/** @returns sections of `name:value` lines with CR LF, as Redis sends them */
export function formatInfo(
  status: ReplicationStatus,
  { version, startedAt }: { readonly version: string; readonly startedAt: number },
): string {
  const server = {
    psyncd_version: version,
    process_id: process.pid,
    uptime_in_seconds: Math.floor((Date.now() - startedAt) / 1000),
    run_id: status.runId,
  };
  const stats = {
    sync_full: status.counters.syncFull,
    sync_partial_ok: status.counters.syncPartialOk,
    sync_partial_err: status.counters.syncPartialErr,
  };
  return [
    section('Server', server),
    section('Memory', { used_memory_rss: process.memoryUsage.rss() }),
    section('Stats', stats),
    section('Replication', replication(status)),
  ].join('\r\n');
}

function replication(status: ReplicationStatus): Readonly<Record<string, string | number>> {
  const { upstream, replicas, lineage, backlog, offset } = status;
  const [ancestor] = lineage;
  return {
    role: upstream === null ? 'master' : 'slave',
    ...(upstream === null ? {} : upstreamLines(upstream, offset)),
    connected_slaves: replicas.length,
    ...Object.fromEntries(replicas.map((replica, index) => [`slave${index}`, replicaLine(replica)])),
    master_replid: status.runId,
    master_replid2: ancestor?.runId ?? NO_RUN_ID,
    master_repl_offset: offset,
    // Redis names the first byte that is not shared any more.
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
  const { hostname, port } = new URL(upstream.url);
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
        }),
    slave_read_repl_offset: offset,
    slave_repl_offset: offset,
    slave_read_only: 1,
  };
}

function replicaLine(replica: ReplicationStatus['replicas'][number]): string {
  const [host, port] = addressOf(replica.url ?? replica.peer);
  const state = { handshake: 'wait_bgsave', snapshot: 'send_bulk', online: 'online' }[replica.state];
  const lag = Math.floor((replica.ackAgeMs ?? 0) / 1000);
  return `ip=${host},port=${port},state=${state},offset=${replica.offset},lag=${lag}`;
}

/** Host and port of `ws://HOST:PORT` or `HOST:PORT`; the host may be an IPv6 address. */
function addressOf(text: string): readonly [string, string] {
  const match = /^(?:wss?:\/\/)?(.+):(\d+)\/?$/.exec(text);
  return match === null ? [text, '0'] : [match[1] as string, match[2] as string];
}

function section(name: string, lines: Readonly<Record<string, string | number>>): string {
  return [`# ${name}`, ...Object.entries(lines).map(([key, value]) => `${key}:${value}`), ''].join('\r\n');
}
