/**
 * `followers`: how fast changes reach many followers, and what idle followers cost, compared with plain `ws` sending
 * messages of the same size to as many clients.
 */
import { setTimeout as wait } from 'node:timers/promises';
import { until } from '../src/cli/until.ts';
import { BareServer } from './bare-server.ts';
import { Child } from './child.ts';
import { hundredths, tenths, whole } from './report.ts';
import { residentBytes } from './resident-bytes.ts';
import type { Scope } from './scope.ts';
import { summary } from './statistics.ts';
import { SteadyWriter } from './steady-writer.ts';
import type { Findings, Study } from './study.ts';
import type { Received } from './swarm.ts';
import { KEYS, VALUE } from './workload.ts';

const ROUNDS = 3;
const LOADS = [
  { followers: 1_000, rate: 1_000 },
  { followers: 100, rate: 10_000 },
  { followers: 100, rate: 1_000 },
] as const;
const IDLE = 10_000;
const RETURNING = 10_000;
/** Writes per second while the followers return. */
const RETURNING_RATE = 33;
const RETURNING_GOAL_S = 10;
/** Backlog that holds all changes that the followers missed. */
const RETURNING_BACKLOG = '16mb';
const SETTLED_MS = 60_000;

export const followers: Study = {
  name: 'followers',
  what: 'from a write until its followers have it, what idle followers cost, and how soon many that return are live',
  async run(scope, { seconds, rounds = ROUNDS }, progress) {
    const loads: Load[] = [];
    for (const { followers: count, rate } of LOADS) {
      for (let round = 0; round <= rounds; round += 1) {
        const bare = await bareRate(scope, count, seconds);
        const load = await underLoad(scope, count, rate, seconds);
        progress(
          `followers: ${whole(count)} at ${whole(rate)} writes/s: ${whole(load.perSecond)} messages/s, ` +
            `p50 ${load.p50.toFixed(1)} ms, p99 ${load.p99.toFixed(1)} ms; bare ws ${whole(bare)} messages/s`,
        );
        // The first round is the warm-up.
        if (round > 0) loads.push({ ...load, bare });
      }
    }
    const idle = { psyncd: await idleBytes(scope, 'psyncd'), bare: await idleBytes(scope, 'bare') };
    progress(`followers: an idle one takes ${whole(idle.psyncd)} bytes, of bare ws ${whole(idle.bare)}`);
    const returning = await returningSeconds(scope);
    progress(
      `followers: ${whole(RETURNING)} that return together are current after ${tenths(returning)} s ` +
        `(under ${RETURNING_GOAL_S} on a quiet machine)`,
    );
    return findings(loads, idle, returning);
  },
};

interface Load {
  readonly followers: number;
  readonly rate: number;
  /** Writes answered per second. */
  readonly written: number;
  /** Messages per second that all followers together received. */
  readonly perSecond: number;
  readonly p50: number;
  readonly p99: number;
  /** Messages per second that plain `ws` sends to as many clients. */
  readonly bare: number;
}

/** Messages per second that arrive at clients of plain `ws`. */
async function bareRate(scope: Scope, count: number, seconds: number): Promise<number> {
  const server = await scope.start(() => BareServer.start('bare-ws.ts'));
  const swarm = await swarmOf(scope, Number(new URL(server.url).port), '/', 'bare', count);
  await received(swarm);
  server.process.send({ seconds });
  await wait(seconds * 1000);
  const { messages, seconds: took } = await received(swarm);
  await swarm.stop();
  await server.stop();
  return messages / took;
}

async function underLoad(
  scope: Scope,
  count: number,
  rate: number,
  seconds: number,
): Promise<Omit<Load, 'bare'>> {
  const { node } = await scope.node();
  const swarm = await swarmOf(scope, node.port, '/v1/changes?position=now', 'psync.v1.json', count);
  await received(swarm);
  const writer = await SteadyWriter.start(scope, { port: node.port, rate, keys: KEYS, protocol: 'put' });
  await wait(seconds * 1000);
  const got = await received(swarm);
  const { last, late } = await writer.finish();
  const writes = last.writes + late;
  // Only messages that arrived count, so wait for those in flight.
  let total = got.messages;
  await until(
    'every follower has every write',
    async () => {
      total += (await received(swarm)).messages;
      return total >= writes * count;
    },
    SETTLED_MS,
  );
  if (got.lost > 0) throw new Error(`${got.lost} followers were cut off`);
  const { latencies } = got;
  await swarm.stop();
  await node.stop();
  return {
    followers: count,
    rate,
    written: last.writes / last.seconds,
    perSecond: got.messages / got.seconds,
    p50: latencies[Math.floor(latencies.length * 0.5)] ?? Number.NaN,
    p99: latencies[Math.floor(latencies.length * 0.99)] ?? Number.NaN,
  };
}

/** Memory per idle client, in bytes. */
async function idleBytes(scope: Scope, which: 'psyncd' | 'bare'): Promise<number> {
  const [server, port] = await (async () => {
    if (which === 'bare') {
      const bare = await scope.start(() => BareServer.start('bare-ws.ts'));
      return [bare, Number(new URL(bare.url).port)] as const;
    }
    const { node } = await scope.node();
    return [node, node.port] as const;
  })();
  const path = which === 'bare' ? '/' : '/v1/changes?position=now';
  const subprotocol = which === 'bare' ? 'bare' : 'psync.v1.json';
  const pid = server.process.pid as number;
  // The first clients are not counted, because they cause one-time costs.
  const first = await swarmOf(scope, port, path, subprotocol, 100);
  const before = residentBytes(pid);
  const rest = await swarmOf(scope, port, path, subprotocol, IDLE - 100);
  const after = residentBytes(pid);
  await Promise.all([first.stop(), rest.stop()]);
  await server.stop();
  return (after - before) / (IDLE - 100);
}

/**
 * Time until returning followers with prefixes of their own, each of which missed one change, are connected and live
 * while writes go on.
 */
async function returningSeconds(scope: Scope): Promise<number> {
  const { node } = await scope.node('--backlog-size', RETURNING_BACKLOG);
  const { position } = await node.client.replication();
  const lines = Array.from(
    { length: RETURNING },
    (_, index) => `${JSON.stringify({ key: `f${index}/k`, value: VALUE })}\n`,
  );
  await fetch(`${node.url}/v1/import`, { method: 'POST', body: lines.join('') });
  const writing = { port: node.port, rate: RETURNING_RATE, keys: KEYS, protocol: 'put' } as const;
  const writer = await SteadyWriter.start(scope, writing);
  const startedAt = performance.now();
  const path = `/v1/changes?position=${position}&snapshot=false&prefix=fINDEX/`;
  const swarm = await swarmOf(scope, node.port, path, 'psync.v1.json', RETURNING);
  await until('everybody is live', async () => {
    const answer = await fetch(`${node.url}/v1/replication`);
    const { feed } = (await answer.json()) as { feed: { followers: number; behind: number } };
    return feed.followers === RETURNING && feed.behind === 0;
  });
  const seconds = (performance.now() - startedAt) / 1000;
  const { messages, lost } = await received(swarm);
  if (lost > 0 || messages < 2 * RETURNING) throw new Error(`${lost} were cut off, ${messages} messages`);
  await writer.finish();
  await swarm.stop();
  await node.stop();
  return seconds;
}

function swarmOf(
  scope: Scope,
  port: number,
  path: string,
  subprotocol: string,
  clients: number,
): Promise<Child> {
  return Child.start(scope, 'swarm.ts', { port, path, subprotocol, clients });
}

/** Messages received since the last question. */
function received(swarm: Child): Promise<Received> {
  return swarm.ask('measure');
}

function findings(
  loads: readonly Load[],
  idle: { psyncd: number; bare: number },
  returning: number,
): Findings {
  const rows = LOADS.map(({ followers: count, rate }) => {
    const these = loads.filter((load) => load.followers === count && load.rate === rate);
    const of = (what: (load: Load) => number): number => summary(these.map(what)).median;
    return [
      ...[whole(count), whole(of(({ written }) => written)), whole(of(({ perSecond }) => perSecond))],
      ...[whole(of(({ bare }) => bare)), hundredths(of(({ perSecond, bare }) => perSecond / bare))],
      ...[of(({ p50 }) => p50).toFixed(1), of(({ p99 }) => p99).toFixed(1)],
    ];
  });
  return {
    figures: [],
    rows: [
      ['followers', 'writes/s', 'messages/s', 'bare ws', 'ratio', 'p50 ms', 'p99 ms'],
      ...rows,
      [whole(IDLE), 'idle', `${whole(idle.psyncd)} B each`, `${whole(idle.bare)} B each`, '', '', ''],
      [whole(RETURNING), 'return', `${tenths(returning)} s`, '', '', '', ''],
    ],
    details: { loads, idle, returning },
  };
}
