/**
 * `sustained`: millions of writes to random keys among a million, as batches, as an import, and with a replica. Compared with
 * SQLite alone. Other requests run meanwhile, and must not wait for long.
 */
import { execFile } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { BulkWritten } from './bulk-writes.ts';
import { Child } from './child.ts';
import type { Figure } from './figure.ts';
import { infoOf } from './info.ts';
import type { Options } from './options.ts';
import { compared, type Pair, pairs } from './pair.ts';
import { caughtUp, replicaOf } from './replica.ts';
import { whole } from './report.ts';
import type { Place, Scope } from './scope.ts';
import { percentile, summary } from './statistics.ts';
import { SteadyWriter } from './steady-writer.ts';
import type { Findings, Study } from './study.ts';

const BULK = fileURLToPath(new URL('./bulk-writes.ts', import.meta.url));
const ROUNDS = 2;
/** Number of operations before the measurement. */
const WARM_UP = 100_000;
const GOAL_PER_SECOND = 250_000;
const GOAL_WAIT_MS = 100;
/**
 * Goal: largest size of the overlay, as a multiple of `--overlay-size`. It is more than 1 because the node checks the limit
 * before each turn, and a turn may then add 512 KiB of effects, or more for a large request.
 */
const GOAL_OVERLAY = 1.25;
const GOAL_KEEPS_UP = 0.95;
/** Number of single PUTs per second, and of GETs, beside the load. */
const PROBES_PER_SECOND = 100;
const LOOK_EVERY_MS = 50;
const CAUGHT_UP_POLL_MS = 5;

interface Bulk {
  readonly perSecond: number;
  readonly longestBatchMs: number;
  /** Longest time of a single PUT during the load. */
  readonly longestPutMs: number;
  readonly longestGetMs: number;
  readonly overlayBytes: number;
  /** Operations per second until the replica had all of them; null: there was no replica. */
  readonly replicaPerSecond: number | null;
}

interface Bulks {
  readonly batch: Bulk;
  readonly import: Bulk;
  readonly withReplica: Bulk;
}

export const sustained: Study = {
  name: 'sustained',
  what: 'batches and imports, operations/s',
  async run(scope, options, progress) {
    const { entries, operations } = options;
    progress(`sustained: ${whole(operations)} operations each; preparing`);
    const place = await scope.filledNode(entries);
    const sqlite = await Child.start(scope, 'bare-sqlite.ts', {
      ...{ file: join(scope.folder, 'bare.db'), keys: entries, operations },
    });
    await bulk(scope, place, 'batch', { ...options, operations: WARM_UP });
    const rounds = await pairs(
      options.rounds ?? ROUNDS,
      async (): Promise<Bulks> => ({
        batch: await bulk(scope, place, 'batch', options),
        import: await bulk(scope, place, 'import', options),
        withReplica: await withReplica(scope, place, options),
      }),
      () => sqlite.ask<number>('run'),
      ({ psyncd, beside }, number) => progress(`sustained: round ${number}: ${line(psyncd, beside)}`),
      // A round takes so long that a whole round would be wasted on a warm-up.
      { warmUp: false },
    );
    const { overlaySize } = (await (await fetch(`${place.node.url}/v1/config`)).json()) as {
      readonly overlaySize: number;
    };
    return findings(rounds, overlaySize, options);
  },
};

/** @param replicas replicas whose end of the load is measured too */
async function bulk(
  scope: Scope,
  { node }: Place,
  kind: 'batch' | 'import',
  { entries, operations }: Options,
  replicas: readonly Place[] = [],
): Promise<Bulk> {
  const probe = (protocol: 'put' | 'get'): Promise<SteadyWriter> =>
    SteadyWriter.start(scope, { port: node.port, rate: PROBES_PER_SECOND, keys: entries, protocol });
  const probes = [await probe('put'), await probe('get')];
  const overlay = { bytes: 0, looking: true };
  const looking = (async () => {
    while (overlay.looking) {
      overlay.bytes = Math.max(overlay.bytes, Number((await infoOf(node)).overlay_bytes));
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    }
  })();
  const flags = ['--port', String(node.port), '--kind', kind, '--keys', String(entries)];
  const startedAt = performance.now();
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [BULK, ...flags, '--operations', String(operations)],
    { signal: scope.signal },
  );
  const written = JSON.parse(stdout) as BulkWritten;
  // The process needs time to start and to make its requests; that time does not count for the replica.
  const beforeMs = performance.now() - startedAt - written.seconds * 1000;
  for (const replica of replicas) await caughtUp(node, replica.node, CAUGHT_UP_POLL_MS);
  const replicaSeconds = (performance.now() - startedAt - beforeMs) / 1000;
  overlay.looking = false;
  await looking;
  const [longestPutMs, longestGetMs] = await Promise.all(
    probes.map(async (each) => percentile((await each.finish()).last.latencies, 1)),
  );
  // The digest waits for the applier, which would otherwise work during the next measurement.
  await node.client.digest();
  return {
    perSecond: written.operations / written.seconds,
    longestBatchMs: written.longestMs,
    longestPutMs: longestPutMs ?? Number.NaN,
    longestGetMs: longestGetMs ?? Number.NaN,
    overlayBytes: overlay.bytes,
    replicaPerSecond: replicas.length === 0 ? null : written.operations / replicaSeconds,
  };
}

async function withReplica(scope: Scope, master: Place, options: Options): Promise<Bulk> {
  const replica = await replicaOf(scope, master.node);
  const before = (await master.node.client.replication()).counters;
  const result = await bulk(scope, master, 'batch', options, [replica]);
  const after = (await master.node.client.replication()).counters;
  if (after.syncFull !== before.syncFull) throw new Error('the replica was cut off, and had to begin anew');
  await replica.node.stop();
  await rm(replica.data, { recursive: true, force: true });
  return result;
}

function line(psyncd: Bulks, sqlite: number): string {
  const { batch, import: imported, withReplica: replicated } = psyncd;
  const waits = [batch, imported].flatMap((each) => [each.longestPutMs, each.longestGetMs]);
  return (
    `batch ${whole(batch.perSecond)}/s, import ${whole(imported.perSecond)}/s, with a replica ` +
    `${whole(replicated.perSecond)}/s (it: ${whole(replicated.replicaPerSecond ?? 0)}/s), SQLite alone ` +
    `${whole(sqlite)}/s; longest PUT and GET beside batch ${whole(waits[0] ?? 0)} and ${whole(waits[1] ?? 0)} ms, ` +
    `import ${whole(waits[2] ?? 0)} and ${whole(waits[3] ?? 0)} ms`
  );
}

function findings(
  rounds: readonly Pair<Bulks, number>[],
  overlaySize: number,
  { operations }: Options,
): Findings {
  const how = `${operations / 1e6} million operations`;
  const throughput = (kind: 'batch' | 'import'): Figure => {
    const { psyncd, beside, ratio } = compared(
      rounds,
      (bulks) => bulks[kind].perSecond,
      (perSecond) => perSecond,
    );
    return {
      ...{ row: 4, what: `${kind}, sustained`, unit: 'operations/s', psyncd, ratio },
      beside: { name: 'SQLite alone', values: beside },
      goal: { kind: 'at least', value: GOAL_PER_SECOND, of: 'median' },
      note: how,
    };
  };
  const of = (what: (bulks: Bulks) => number): Figure['psyncd'] =>
    summary(rounds.map(({ psyncd }) => what(psyncd)));
  const longest = (name: string, what: (bulk: Bulk) => number): Figure => ({
    ...{ row: 4, what: `longest ${name} meanwhile`, unit: 'ms' },
    psyncd: of(({ batch, import: imported }) => Math.max(what(batch), what(imported))),
    goal: { kind: 'under', value: GOAL_WAIT_MS, of: 'worst' },
  });
  return {
    figures: [
      throughput('batch'),
      throughput('import'),
      longest('PUT', ({ longestPutMs }) => longestPutMs),
      longest('GET', ({ longestGetMs }) => longestGetMs),
      {
        ...longest('batch of 1,000', ({ longestBatchMs }) => longestBatchMs),
        note: 'four are open at a time; they wait when the overlay is full',
      },
      {
        ...{ row: 4, what: 'overlay, of its limit', unit: '' },
        psyncd: of(
          ({ batch, import: imported }) => Math.max(batch.overlayBytes, imported.overlayBytes) / overlaySize,
        ),
        goal: { kind: 'under', value: GOAL_OVERLAY, of: 'worst' },
        note: `overlay_bytes / ${whole(overlaySize)}`,
      },
      {
        ...{ row: 7, what: 'a replica keeps up with batches', unit: 'operations/s' },
        psyncd: of(({ withReplica: bulk }) => bulk.replicaPerSecond ?? 0),
        beside: {
          name: 'its master',
          values: summary(rounds.map(({ psyncd }) => psyncd.withReplica.perSecond)),
        },
        ratio: summary(
          rounds.map(({ psyncd: { withReplica: bulk } }) => (bulk.replicaPerSecond ?? 0) / bulk.perSecond),
        ),
        goal: { kind: 'at least', value: GOAL_KEEPS_UP, of: 'median ratio' },
      },
    ],
    details: rounds,
  };
}
