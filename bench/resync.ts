/**
 * `resync`: a full resync of much data while the master takes writes. The time counts from REPLICAOF until the replica streams and
 * has reached the master's offset of that moment. Compared with Redis under the same writes, and with a copy of the keyspace file.
 */
import { copyFile, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type BesideWrites, besideWrites, p99Figure } from './beside-writes.ts';
import type { Figure } from './figure.ts';
import type { Options } from './options.ts';
import { compared, pairs } from './pair.ts';
import { polled } from './polled.ts';
import { HAS_REDIS, Redis } from './redis.ts';
import { caughtUp } from './replica.ts';
import { whole } from './report.ts';
import type { Place, Scope } from './scope.ts';
import { summary } from './statistics.ts';
import type { Study } from './study.ts';

const ROUNDS = 3;
const WRITES_PER_SECOND = 10_000;
/** Writes per second that leave the two cores time for the master, the replica and the writer. */
const CALM_WRITES_PER_SECOND = 2_000;
const POLL_MS = 5;
/** Goal: psyncd's time, as a share of Redis's time. */
const GOAL_RATIO = 0.6;

interface Resync extends BesideWrites {
  readonly copyMs: number;
  /** The same at `CALM_WRITES_PER_SECOND`. */
  readonly calm: BesideWrites;
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
            `(${whole(psyncd.writesPerSecond)} writes/s), ${psyncd.calm.p99Before.toFixed(1)} and ` +
            `${psyncd.calm.p99During.toFixed(1)} ms at ${whole(psyncd.calm.writesPerSecond)} writes/s`,
        ),
    );
    const psyncd = rounds.map((pair) => pair.psyncd);
    const besideRedis = rounds.flatMap((pair) =>
      pair.beside === null ? [] : [{ psyncd: pair.psyncd, beside: pair.beside }],
    );
    const ms = ({ ms: value }: BesideWrites): number => value;
    const one = { row: 5, unit: 'ms', psyncd: summary(psyncd.map(ms)) } as const;
    const copies = psyncd.map(({ copyMs }) => copyMs);
    return {
      figures: [
        redisFigure(one, besideRedis.length === 0 ? null : compared(besideRedis, ms, ms)),
        {
          ...one,
          what: 'the same, beside a copy of the file',
          beside: { name: 'file copy', values: summary(copies) },
          ratio: summary(psyncd.map(({ ms: took }, round) => took / (copies[round] as number))),
        },
        p99Figure(5, "the master's p99 meanwhile", WRITES_PER_SECOND, psyncd),
        p99Figure(
          5,
          `the master's p99 during one at ${whole(CALM_WRITES_PER_SECOND)} writes/s`,
          CALM_WRITES_PER_SECOND,
          psyncd.map(({ calm }) => calm),
        ),
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

async function ofPsyncd(scope: Scope, master: Place, options: Options): Promise<Resync> {
  const timed = await resynced(scope, master, options, WRITES_PER_SECOND);
  const calm = await resynced(scope, master, options, CALM_WRITES_PER_SECOND);
  return { ...timed, calm, copyMs: await copied(scope, master.data) };
}

/** Has a new replica get everything, while somebody writes. @param rate of the writer, in writes per second */
async function resynced(
  scope: Scope,
  master: Place,
  { entries, seconds }: Options,
  rate: number,
): Promise<BesideWrites> {
  const { node: replica, data } = await scope.node();
  const writing = { port: master.node.port, keys: entries, protocol: 'put', rate } as const;
  const times = await besideWrites(scope, writing, seconds, async () => {
    await replica.client.replicaOf(master.node.wsUrl);
    const sync = await polled(POLL_MS, async () => {
      const { offset } = await master.node.client.replication();
      const answer = await replica.client.replication();
      const there = answer.upstream?.state === 'streaming' && answer.offset >= offset;
      return there ? answer.upstream?.lastSync : null;
    });
    if (sync?.kind !== 'full') throw new Error(`expected a full resync, got ${sync?.kind}`);
  });
  await caughtUp(master.node, replica);
  const [one, other] = await Promise.all([master.node.client.digest(), replica.client.digest()]);
  if (one.position !== other.position || one.digest !== other.digest) {
    throw new Error(
      `the replica, at ${other.position}, does not hold what its master does, at ${one.position}`,
    );
  }
  await replica.stop();
  await rm(data, { recursive: true, force: true });
  return times;
}

async function ofRedis(scope: Scope, master: Redis, { entries, seconds }: Options): Promise<BesideWrites> {
  const replica = await Redis.start(scope);
  const writing = { port: master.port, keys: entries, protocol: 'redis', rate: WRITES_PER_SECOND } as const;
  const times = await besideWrites(scope, writing, seconds, async () => {
    await replica.ask(`REPLICAOF 127.0.0.1 ${master.port}`);
    await polled(POLL_MS, async () => {
      const { master_repl_offset: offset } = await master.info('replication');
      const answer = await replica.info('replication');
      return answer.master_link_status === 'up' && Number(answer.slave_repl_offset) >= Number(offset);
    });
  });
  await replica.stop();
  return times;
}

/** @returns the milliseconds for a copy of the keyspace file, which a full resync transfers; without an fsync */
export async function copied(scope: Scope, data: string): Promise<number> {
  const name = (await readdir(data)).find((each) => /^keyspace-\d+\.db$/.test(each));
  if (name === undefined) throw new Error(`there is no keyspace file in ${data}`);
  const copy = join(scope.folder, 'copy.db');
  const startedAt = performance.now();
  await copyFile(join(data, name), copy);
  const ms = performance.now() - startedAt;
  await rm(copy);
  return ms;
}
