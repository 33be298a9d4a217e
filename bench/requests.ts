/** `put…` and `get…`: requests per second, compared with a bare Fastify that answers the same requests and stores nothing. */
import type { ChildNode } from '../src/cli/child-node.ts';
import { BareServer } from './bare-server.ts';
import { GENERATOR, type Load, type LoadResult, underLoad } from './generator.ts';
import type { Options } from './options.ts';
import { compared, type Pair, pairs } from './pair.ts';
import { caughtUp, replicaOf } from './replica.ts';
import { hundredths, whole } from './report.ts';
import type { Scope } from './scope.ts';
import { summary } from './statistics.ts';
import type { Findings, Study } from './study.ts';
import { KEYS } from './workload.ts';

/** Number of rounds. They are short and many, so that a disturbance of one half of a pair rarely decides the median. */
const ROUNDS = 5;
const HOT_KEYS = 1_000;

interface Case {
  readonly name: string;
  readonly row: number;
  readonly what: string;
  readonly method: 'PUT' | 'GET';
  /** Number of keys: requests use random ones of the first `keys`. */
  readonly keys: (options: Options) => number;
  /** Number of entries that the node holds before the first round, so that all rounds do the same work. */
  readonly entries: (options: Options) => number;
  readonly flags?: readonly string[];
  readonly replica?: boolean;
  /** Goal: smallest share of bare Fastify's requests per second. */
  readonly goal: number;
}

const PUTS = { method: 'PUT', keys: () => KEYS, entries: () => KEYS } as const;
const GETS = { method: 'GET', row: 3, goal: 0.95, entries: ({ entries }: Options) => entries } as const;

export const put = study({ ...PUTS, name: 'put', row: 1, what: 'PUT, everysec', goal: 0.95 });
export const putReplica = study({
  ...PUTS,
  name: 'put-replica',
  row: 1,
  what: 'PUT, everysec, with a replica',
  replica: true,
  goal: 0.8,
});
export const putAlways = study({
  ...PUTS,
  name: 'put-always',
  row: 2,
  what: 'PUT, --fsync always',
  flags: ['--fsync', 'always'],
  goal: 0.6,
});
export const get = study({ ...GETS, name: 'get', what: 'GET, 1,000 hot keys', keys: () => HOT_KEYS });
export const getCold = study({
  ...GETS,
  name: 'get-cold',
  what: 'GET, cold keys',
  keys: ({ entries }: Options) => entries,
});

function study(one: Case): Study {
  const { name, what } = one;
  return { name, what: `${what}: requests/s`, run: (scope, options, say) => run(one, scope, options, say) };
}

async function run(
  one: Case,
  scope: Scope,
  options: Options,
  progress: (line: string) => void,
): Promise<Findings> {
  const { name, method, flags = [] } = one;
  const [keys, entries] = [one.keys(options), one.entries(options)];
  progress(`${name}: preparing`);
  const { node } = await scope.filledNode(entries, ...flags);
  const bare = await scope.start(() => BareServer.start('bare-fastify.ts'));
  const replica = one.replica === true ? (await replicaOf(scope, node)).node : null;

  const load: Load = { method, keys, seconds: options.seconds };
  const rounds = await pairs(
    options.rounds ?? ROUNDS,
    async () => {
      const result = await underLoad({ url: node.url, pid: pidOf(node) }, load, scope.signal);
      if (method === 'PUT') await settled(node, entries);
      if (replica !== null) {
        await caughtUp(node, replica);
        await settled(replica, entries);
      }
      return result;
    },
    () => underLoad({ url: bare.url, pid: pidOf(bare) }, load, scope.signal),
    ({ psyncd, beside }, number) =>
      progress(
        `${name}: ${number === 0 ? 'warm-up' : `round ${number}`}: psyncd ${whole(psyncd.perSecond)}/s, ` +
          `bare Fastify ${whole(beside.perSecond)}/s, ratio ${hundredths(psyncd.perSecond / beside.perSecond)}`,
      ),
  );
  return findings(one, rounds);
}

/** Waits until the applier has finished. Otherwise it would work while the other server is measured. */
async function settled(node: ChildNode, entries: number): Promise<void> {
  const { keys } = await node.client.digest();
  if (keys !== entries) throw new Error(`the node has ${keys} keys, not ${entries}`);
}

function findings({ row, what, goal }: Case, rounds: readonly Pair<LoadResult, LoadResult>[]): Findings {
  const perSecond = ({ perSecond: value }: LoadResult): number => value;
  const { psyncd, beside, ratio } = compared(rounds, perSecond, perSecond);
  const busy = summary(
    rounds.map((pair) => Math.max(pair.psyncd.generatorBusy, pair.beside.generatorBusy)),
  ).median;
  const cpu = cpuRatio(rounds);
  return {
    figures: [
      {
        ...{ row, what, unit: 'requests/s', psyncd, ratio },
        beside: { name: 'bare Fastify', values: beside },
        goal: { kind: 'at least', value: goal, of: 'median ratio' },
        note:
          `${cpu === null ? '' : `CPU ratio ${hundredths(cpu)}, `}` +
          `${GENERATOR} busy ${hundredths(busy)}${busy > 0.9 ? ': it is the limit' : ''}`,
      },
    ],
    details: { generator: GENERATOR, cpuRatio: cpu, generatorBusy: busy, rounds },
  };
}

/** @returns processor time per request, psyncd / bare Fastify, all threads together; null: the system has no /proc */
function cpuRatio(rounds: readonly Pair<LoadResult, LoadResult>[]): number | null {
  const ratios = rounds.flatMap(({ psyncd, beside }) => {
    const [one, other] = [psyncd.serverMicrosPerRequest, beside.serverMicrosPerRequest];
    return one === null || other === null ? [] : [one / other];
  });
  return ratios.length === 0 ? null : summary(ratios).median;
}

export function pidOf({ process: child }: ChildNode | BareServer): number {
  if (child.pid === undefined) throw new Error('the process has no ID');
  return child.pid;
}
