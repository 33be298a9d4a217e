/**
 * `peers`: psyncd's PUT and GET over HTTP compared with Redis's SET and GET over its own protocol, with as many
 * connections, measured by redis-benchmark. There is no goal: HTTP alone costs more than all of Redis.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Figure } from './figure.ts';
import { type LoadResult, underLoad } from './generator.ts';
import { isOnPath } from './on-path.ts';
import { compared, pairs } from './pair.ts';
import { HAS_REDIS, Redis } from './redis.ts';
import { whole } from './report.ts';
import { pidOf } from './requests.ts';
import type { Study } from './study.ts';
import { CONNECTIONS, KEYS, VALUE } from './workload.ts';

const ROUNDS = 2;
/** Roughly the requests that Redis answers in a second; redis-benchmark takes a number of requests, not a time. */
const REQUESTS_PER_SECOND = 60_000;
const CASES = [
  { row: 1, method: 'PUT', command: 'set' },
  { row: 3, method: 'GET', command: 'get' },
] as const;

export const peers: Study = {
  name: 'peers',
  what: 'PUT and GET beside redis-benchmark, requests/s',
  async run(scope, { seconds, rounds: count = ROUNDS }, progress) {
    if (!HAS_REDIS || !isOnPath('redis-benchmark')) {
      const note = 'redis-server and redis-benchmark are not on the PATH';
      const missing = ({ row, method }: (typeof CASES)[number]): Figure => ({
        ...{ row, what: `${method} beside Redis`, unit: 'requests/s', psyncd: null, note },
      });
      return { figures: CASES.map(missing), details: null };
    }
    const { node } = await scope.filledNode(KEYS);
    const redis = await Redis.start(scope);
    await redis.fill(KEYS);
    const figures: Figure[] = [];
    const details: unknown[] = [];
    for (const { row, method, command } of CASES) {
      const rounds = await pairs(
        count,
        async () => {
          const target = { url: node.url, pid: pidOf(node) };
          const result = await underLoad(target, { method, keys: KEYS, seconds }, scope.signal);
          await node.client.digest();
          return result;
        },
        () => redisBenchmark(redis.port, command, REQUESTS_PER_SECOND * seconds, scope.signal),
        ({ psyncd, beside }, number) =>
          progress(
            `peers: ${method}, ${number === 0 ? 'warm-up' : `round ${number}`}: psyncd ` +
              `${whole(psyncd.perSecond)}/s, Redis ${whole(beside)}/s`,
          ),
      );
      const perSecond = ({ perSecond: value }: LoadResult): number => value;
      const { psyncd, beside, ratio } = compared(rounds, perSecond, (value) => value);
      figures.push({
        ...{ row, what: `${method} beside Redis`, unit: 'requests/s', psyncd, ratio },
        beside: { name: `Redis, ${command.toUpperCase()}`, values: beside },
      });
      details.push({ method, rounds });
    }
    return { figures, details };
  },
};

/** @returns requests per second */
async function redisBenchmark(
  port: number,
  command: string,
  requests: number,
  signal: AbortSignal,
): Promise<number> {
  const flags = ['-p', String(port), '-t', command, '-n', String(requests), '-c', String(CONNECTIONS)];
  const { stdout } = await promisify(execFile)(
    'redis-benchmark',
    [...flags, '-d', String(VALUE.length), '-r', String(KEYS), '--csv'],
    { signal },
  );
  const perSecond = Number(/^"[^"]*","([\d.]+)"/m.exec(stdout.split('\n').at(-2) ?? '')?.[1]);
  if (!(perSecond > 0)) throw new Error(`redis-benchmark says: ${stdout}`);
  return perSecond;
}
