/** `psyncd info`: the state of replication for people. */
import type { ReplicaAnswer, ReplicationAnswer } from '../client/rest.ts';

/** @returns several lines of text, without a line end at the last */
export function formatInfo(answer: ReplicationAnswer): string {
  const { role, runId, offset, backlog, upstream, replicas, lineage, counters } = answer;
  const lines: [string, string][] = [
    ['role', role],
    ['run ID', runId],
    ['offset', count(offset)],
    [
      'backlog',
      `${count(backlog.length)} of ${count(backlog.size)} bytes, from byte ${count(backlog.firstOffset)}`,
    ],
  ];
  if (upstream !== null) {
    const progress = upstream.progress;
    const detail = upstream.detail === undefined ? '' : ` (${upstream.detail})`;
    lines.push(['master', upstream.url], ['link', `${upstream.state}${detail}`]);
    if (progress !== undefined) {
      lines.push(['snapshot', `${count(progress.received)} of ${count(progress.total)} bytes`]);
    }
    const sync = upstream.lastSync;
    if (sync !== undefined) {
      const reason = sync.reason === null ? '' : `, ${sync.reason}`;
      const bytes = sync.bytes === null ? '' : `, ${count(sync.bytes)} bytes`;
      lines.push(['last sync', `${sync.kind}${reason}${bytes}, ${count(sync.durationMs)} ms`]);
    }
  }
  for (const { runId: id, validTo, reason } of lineage) {
    lines.push(['ancestor', `${id} up to ${count(validTo)} (${reason})`]);
  }
  const { syncFull, syncPartialOk, syncPartialErr } = counters;
  lines.push([
    'resyncs served',
    `${syncFull} full, ${syncPartialOk} partial, ${syncPartialErr} partial refused`,
  ]);
  lines.push(['replicas', replicas.length === 0 ? 'none' : String(replicas.length)]);
  const width = Math.max(...lines.map(([name]) => name.length));
  return [
    ...lines.map(([name, text]) => `${name.padEnd(width)}  ${text}`),
    ...replicas.map(replicaLine),
  ].join('\n');
}

function replicaLine({ id, url, peer, state, offset, lagBytes, ackAgeMs }: ReplicaAnswer): string {
  const age = ackAgeMs === undefined ? 'no ACK yet' : `last ACK ${count(ackAgeMs)} ms ago`;
  return `  #${id} ${url ?? peer}  ${state}  offset ${count(offset)}, ${count(lagBytes)} bytes behind, ${age}`;
}

/** 1234567 as 1,234,567. */
export function count(value: number): string {
  return value.toLocaleString('en-US');
}
