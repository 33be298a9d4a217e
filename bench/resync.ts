/**
 * `resync`: a full resync of much data while the master takes writes. The time counts from REPLICAOF until the replica streams and
 * has reached the master's offset of that moment. Compared with Redis under the same writes, and with a copy of the keyspace file.
 */
import { copyFile, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { type Figure, TAKEN } from './figure.ts';
import type { Options } from './options.ts';
import { compared, pairs } from './pair.ts';
import { polled } from './polled.ts';
import { HAS_REDIS, Redis } from './redis.ts';
import { caughtUp } from './replica.ts';
import { whole } from './report.ts';
import type { Place, Scope } from './scope.ts';
import { percentile, summary } from './statistics.ts';
import { SteadyWriter } from './steady-writer.ts';
import type { Written } from './steady-writes.ts';
import type { Study } from './study.ts';

const ROUNDS = 3;
const WRITES_PER_SECOND = 10_000;
const POLL_MS = 5;
/** Milliseconds for which a writer runs before it is measured, so that its code is compiled. */
const LEAD_MS = 1_000;
/** Goal: psyncd's time, as a share of Redis's time. */
const GOAL_RATIO = 0.6;
/** Goal: p99 of the master's writes during the resync, as a multiple of the p99 before it. */
const GOAL_P99_RATIO = 2;

interface Resync {
  readonly ms: number;
  /** p99 of the master's writes before the resync, in milliseconds. */
  readonly p99Before: number;
  /** p99 of the master's writes during the resync, in milliseconds. */
  readonly p99During: number;
  /** Writes per second that the master answered during the resync. */
  readonly writesPerSecond: number;
  readonly copyMs: number;
}

export const resync: Study = {
  name: 'resync',
  what: 'full resync under writes, beside Redis and a file copy',
  async run(scope, options, progress) {
    progress('resync: preparing');
    const master = await scope.filledNode(options.entries);
    const redis = HAS_REDIS ? await Redis.start(scope) : null;
    await redis?.fill(options.entries);
    const rounds = await pairs(
      options.rounds ?? ROUNDS,
      () => ofPsyncd(scope, master, options),
      () => (redis === null ? Promise.resolve(null) : ofRedis(scope, redis, options)),
      ({ psyncd, beside }, number) =>
        progress(
          `resync: ${number === 0 ? 'warm-up' : `round ${number}`}: psyncd ${whole(psyncd.ms)} ms, Redis ` +
            `${beside === null ? 'none' : whole(beside.ms)} ms, file copy ${whole(psyncd.copyMs)} ms; p99 of writes ` +
            `${psyncd.p99Before.toFixed(1)} ms before, ${psyncd.p99During.toFixed(1)} ms during ` +
            `(${whole(psyncd.writesPerSecond)} writes/s)`,
        ),
    );
    const psyncd = rounds.map((pair) => pair.psyncd);
    const besideRedis = rounds.flatMap((pair) =>
      pair.beside === null ? [] : [{ psyncd: pair.psyncd, beside: pair.beside }],
    );
    const ms = ({ ms: value }: Resync): number => value;
    const one = { row: 5, unit: 'ms', psyncd: summary(psyncd.map(ms)) } as const;
    const copies = psyncd.map(({ copyMs }) => copyMs);
    const rate = summary(psyncd.map(({ writesPerSecond }) => writesPerSecond)).median;
    const isOffGoal = rate < WRITES_PER_SECOND * TAKEN;
    return {
      figures: [
        redisFigure(one, besideRedis.length === 0 ? null : compared(besideRedis, ms, ms)),
        {
          ...one,
          what: 'the same, beside a copy of the file',
          beside: { name: 'file copy', values: summary(copies) },
          ratio: summary(psyncd.map(({ ms: took }, round) => took / (copies[round] as number))),
        },
        {
          ...one,
          what: "the master's p99 meanwhile",
          psyncd: summary(psyncd.map(({ p99During }) => p99During)),
          beside: { name: 'its p99 before', values: summary(psyncd.map(({ p99Before }) => p99Before)) },
          ratio: summary(psyncd.map(({ p99During, p99Before }) => p99During / p99Before)),
          goal: { kind: 'under', value: GOAL_P99_RATIO, of: 'median ratio' },
          isOffGoal,
          note: `${whole(rate)} writes/s meanwhile`,
        },
      ],
      details: rounds,
    };
  },
};

function redisFigure(
  one: Pick<Figure, 'row' | 'unit' | 'psyncd'>,
  comparison: ReturnType<typeof compared> | null,
): Figure {
  const goal = { kind: 'under', value: GOAL_RATIO, of: 'median ratio' } as const;
  const what = `full resync at ${whole(WRITES_PER_SECOND)} writes/s`;
  if (comparison === null) return { ...one, what, goal, note: 'redis-server is not on the PATH' };
  const { beside, ratio } = comparison;
  return { ...one, what, beside: { name: 'Redis', values: beside }, ratio, goal };
}

async function ofPsyncd(scope: Scope, master: Place, { entries, seconds }: Options): Promise<Resync> {
  const { node: replica, data } = await scope.node();
  const writer = await writerTo(scope, master.node.port, entries, 'put');
  await wait(seconds * 1000);
  const before = await writer.measured();
  const startedAt = performance.now();
  await replica.client.replicaOf(master.node.wsUrl);
  const sync = await polled(POLL_MS, async () => {
    const { offset } = await master.node.client.replication();
    const answer = await replica.client.replication();
    const there = answer.upstream?.state === 'streaming' && answer.offset >= offset;
    return there ? answer.upstream?.lastSync : null;
  });
  const ms = performance.now() - startedAt;
  const { last: during } = await writer.finish();
  if (sync?.kind !== 'full') throw new Error(`expected a full resync, got ${sync?.kind}`);
  await caughtUp(master.node, replica);
  const [one, other] = await Promise.all([master.node.client.digest(), replica.client.digest()]);
  if (one.position !== other.position || one.digest !== other.digest) {
    throw new Error(
      `the replica, at ${other.position}, does not hold what its master does, at ${one.position}`,
    );
  }
  await replica.stop();
  await rm(data, { recursive: true, force: true });
  const copyMs = await copied(scope, master.data);
  return { ms, copyMs, ...latencies(before, during) };
}

async function ofRedis(scope: Scope, master: Redis, { entries, seconds }: Options): Promise<Resync> {
  const replica = await Redis.start(scope);
  const writer = await writerTo(scope, master.port, entries, 'redis');
  await wait(seconds * 1000);
  const before = await writer.measured();
  const startedAt = performance.now();
  await replica.ask(`REPLICAOF 127.0.0.1 ${master.port}`);
  await polled(POLL_MS, async () => {
    const { master_repl_offset: offset } = await master.info('replication');
    const answer = await replica.info('replication');
    return answer.master_link_status === 'up' && Number(answer.slave_repl_offset) >= Number(offset);
  });
  const ms = performance.now() - startedAt;
  const { last: during } = await writer.finish();
  await replica.stop();
  return { ms, copyMs: 0, ...latencies(before, during) };
}

/** Starts a writer. @returns the writer, when it has been writing for `LEAD_MS` */
async function writerTo(
  scope: Scope,
  port: number,
  keys: number,
  protocol: 'put' | 'redis',
): Promise<SteadyWriter> {
  const writer = await SteadyWriter.start(scope, { port, keys, protocol, rate: WRITES_PER_SECOND });
  await wait(LEAD_MS);
  await writer.measured();
  return writer;
}

function latencies(before: Written, during: Written): Omit<Resync, 'ms' | 'copyMs'> {
  return {
    p99Before: percentile(before.latencies, 0.99),
    p99During: percentile(during.latencies, 0.99),
    writesPerSecond: during.writes / during.seconds,
  };
}

/** @returns the milliseconds for a copy of the keyspace file, which a full resync transfers; without an fsync */
async function copied(scope: Scope, data: string): Promise<number> {
  const name = (await readdir(data)).find((each) => /^keyspace-\d+\.db$/.test(each));
  if (name === undefined) throw new Error(`there is no keyspace file in ${data}`);
  const copy = join(scope.folder, 'copy.db');
  const startedAt = performance.now();
  await copyFile(join(data, name), copy);
  const ms = performance.now() - startedAt;
  await rm(copy);
  return ms;
}
