/** `psyncd info`: formats the state of replication for people. */
import type { CheckAnswer, FailoverAnswer, ReplicaAnswer, ReplicationAnswer } from '../../client/rest.ts';
import { replicaName } from '../../replication/upstream.ts';
import { told } from './answer.ts';

/** @returns lines of text with words of the node in them; the caller has to make them printable */
export function formatInfo(answer: ReplicationAnswer): readonly string[] {
  const { role, runId, offset, backlog, upstream, replicas, lineage, counters, failover, kept } = answer;
  const { countersResetAt } = answer;
  const lines: [string, string][] = [
    ['role', role],
    ['run ID', runId],
    ['offset', count(offset)],
    [
      'backlog',
      told`${count(backlog.length)} of ${count(backlog.size)} bytes, from byte ${count(backlog.firstOffset)}`,
    ],
  ];
  if (upstream !== null) {
    const progress = upstream.progress;
    const detail = upstream.detail === undefined ? '' : told` (${upstream.detail})`;
    const down = upstream.downMs === undefined ? '' : `, down for ${seconds(upstream.downMs / 1000)}`;
    lines.push(['master', upstream.url], ['link', told`${upstream.state}${down}${detail}`]);
    if (progress !== undefined) {
      lines.push(['snapshot', `${count(progress.received)} of ${count(progress.total)} bytes`]);
    }
    const sync = upstream.lastSync;
    if (sync !== undefined) {
      const reason = sync.reason === null ? '' : told`, ${sync.reason}`;
      const bytes = sync.bytes === null ? '' : `, ${count(sync.bytes)} bytes`;
      lines.push(['last sync', told`${sync.kind}${reason}${bytes}, ${count(sync.durationMs)} ms`]);
    }
  }
  for (const { runId: id, validTo, reason } of lineage) {
    lines.push(['ancestor', told`${id} up to ${count(validTo)} (${reason})`]);
  }
  // A replica's own line says whom it follows. A node of an older version does not say it.
  const { writes } = answer as { writes?: ReplicationAnswer['writes'] };
  if (writes !== undefined && writes.state !== 'taken' && writes.problem !== 'READONLY')
    lines.push([
      'writes',
      told`${writes.state}${writes.problem === null ? '' : told`, ${writes.problem}`}: ${writes.reason}`,
    ]);
  if (failover !== null)
    lines.push(['hand-over', told`${failover.state}, to ${failover.to ?? 'any replica'}`]);
  for (const { file, position, reason } of kept) {
    lines.push(['kept', told`${file}: ${position}${reason === null ? '' : told` (${reason})`}`]);
  }
  // A node of an older version does not say it.
  const { archive, backups } = answer as Partial<Pick<ReplicationAnswer, 'archive' | 'backups'>>;
  if (backups !== undefined && backups !== null) lines.push(['backups', backupsLine(backups)]);
  if (archive !== undefined && archive !== null) lines.push(['archive', archiveLine(archive)]);
  const { syncFull, syncPartialOk, syncPartialErr } = counters;
  // A node of an older version does not say it.
  const sinceReset = countersResetAt ? `, since ${new Date(countersResetAt).toISOString()}` : '';
  lines.push([
    'resyncs served',
    told`${syncFull} full, ${syncPartialOk} partial, ${syncPartialErr} partial refused${sinceReset}`,
  ]);
  lines.push(['replicas', replicas.length === 0 ? 'none' : String(replicas.length)]);
  const width = Math.max(...lines.map(([name]) => name.length));
  return [...lines.map(([name, text]) => told`${name.padEnd(width)}  ${text}`), ...replicas.map(replicaLine)];
}

/** @returns lines that name the new master, and the replicas that do not follow it yet */
export function formatFailover({ master, position, heldMs, replicas }: FailoverAnswer): readonly string[] {
  const done = told`${master} is the master, at ${position}; writes were held for ${heldMs} ms`;
  if (replicas.length === 0) return [done];
  const others = told`still following the old master: ${replicas.map((each) => told`${each}`).join(', ')}`;
  return [done, `${others} (psyncd replicaof ${master} --node …)`];
}

/** @returns one line that says what a replica would get, and why */
export function formatCheck({ decision, reason, bytes, resumedBytes = 0, notNow }: CheckAnswer): string {
  const what =
    decision === 'continue'
      ? `continue: partial resync, ${count(bytes)} bytes`
      : resumedBytes > 0
        ? told`full resync: ${reason}, the rest of the snapshot and the stream behind it, ${count(bytes)} bytes; ${count(resumedBytes)} are there`
        : told`full resync: ${reason}, a snapshot of about ${count(bytes)} bytes`;
  return notNow === null ? what : told`${what}; but not now: ${notNow}`;
}

function backupsLine({
  running,
  waitsFor = null,
  lastSuccessAt,
  gone = null,
  failing,
}: NonNullable<ReplicationAnswer['backups']>): string {
  const last =
    lastSuccessAt === null
      ? 'no success since the start'
      : told`last success ${new Date(lastSuccessAt).toISOString()}`;
  const failed = failing === null ? '' : told`, failing: ${failing.code}`;
  const lost = gone === null ? '' : told`, gone from the target: ${gone.name}`;
  const waits = waitsFor === null ? '' : told`, waits ${untilThen(waitsFor)}`;
  return told`${last}${lost}${failed}${waits}${running ? ', at work now' : ''}`;
}

function untilThen(waitsFor: string): string {
  if (waitsFor === 'master') return 'until this node follows its master';
  if (waitsFor === 'role') return 'for the role that --backup-role names';
  return told`for ${waitsFor}`;
}

function archiveLine(archive: NonNullable<ReplicationAnswer['archive']>): string {
  const { position, at, lagBytes, hasBase, failing } = archive;
  // A node of an older version does not say it.
  const { gap = null } = archive as Partial<typeof archive>;
  const reached = position === null ? 'nothing is known that can be restored' : told`up to ${position}`;
  const time = at === null ? '' : `, of ${new Date(at).toISOString()}`;
  const missing = lagBytes === 0 ? 'nothing missing' : `${count(lagBytes)} bytes behind`;
  const behind = lagBytes === 0 && position === null ? '' : `, ${missing}`;
  const base = hasBase ? '' : `, without a ${gap === null ? '' : 'new '}backup yet`;
  const between = gap === null ? '' : told`, a gap ${gapText(gap)}`;
  const failed = failing === null ? '' : told`, failing: ${failing.code}`;
  return told`${reached}${time}${behind}${base}${between}${failed}`;
}

function gapText({ after, to, at }: NonNullable<NonNullable<ReplicationAnswer['archive']>['gap']>): string {
  const begin = after === null ? 'from the begin' : told`after ${after}`;
  const end = to === null ? '' : told` up to ${to}`;
  return told`${begin}${end} (${new Date(at).toISOString()})`;
}

function replicaLine(replica: ReplicaAnswer): string {
  const { id, url, peer, state, offset, durableOffset, lagBytes, lagSeconds, ackAgeMs, progress, sync } =
    replica;
  const facts = [
    progress === undefined
      ? `offset ${count(offset)}`
      : `${count(progress.sent)} of ${count(progress.total)} bytes sent`,
    ...(durableOffset === undefined || durableOffset >= offset
      ? []
      : [`on disk up to ${count(durableOffset)}`]),
    lagBytes === 0 ? 'caught up' : `${count(lagBytes)} bytes, ${seconds(lagSeconds)} behind`,
    ackAgeMs === undefined ? 'no ACK yet' : `last ACK ${count(ackAgeMs)} ms ago`,
    ...(sync === undefined
      ? []
      : [told`${sync.kind} resync${sync.reason === undefined ? '' : told` (${sync.reason})`}`]),
  ];
  return told`  #${id} ${replicaName({ url, peer })}  ${state}  ${facts.join(', ')}`;
}

function seconds(value: number): string {
  return `${value.toFixed(1)} s`;
}

/** Formats 1234567 as 1,234,567. @throws TypeError if an answer has something else than a number in its place */
export function count(value: number): string {
  if (typeof value !== 'number') throw new TypeError(`a member is ${typeof value}, not a number`);
  return value.toLocaleString('en-US');
}

/**
 * Formats 1 entry, 1,234 entries.
 * @param many the plural
 */
export function counted(value: number, one: string, many: string): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** Formats a number of bytes in KiB or MiB. */
export function sized(bytes: number): string {
  return bytes < 1024 ** 2 ? `${(bytes / 1024).toFixed(0)} KiB` : `${(bytes / 1024 ** 2).toFixed(1)} MiB`;
}
