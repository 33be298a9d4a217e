/** `put` and `get`: requests a second, beside a Fastify that does nothing with them. */
import { Readable } from 'node:stream';
import type { ChildNode } from '../src/cli/child-node.ts';
import { importStream } from '../src/cli/import-file.ts';
import { BareServer } from './bare-server.ts';
import { type Target, underLoad } from './generator.ts';
import type { LoadResult } from './load.ts';
import type { Measurement, MeasureRound } from './measurement.ts';
import type { Options } from './options.ts';
import type { Scope } from './scope.ts';
import { KEYS, ndjson, ndjsonBytes } from './workload.ts';

const ROUNDS = 5;

export const put: Measurement = requests('put', 'PUT', 'PUT of 100 bytes');
export const get: Measurement = requests('get', 'GET', 'GET of 100 bytes');

function requests(name: string, method: 'PUT' | 'GET', what: string): Measurement {
  return {
    name,
    what,
    unit: 'requests/s',
    limitName: 'bare Fastify',
    better: 'higher',
    rounds: ROUNDS,
    prepare: (scope, options) => prepare(scope, options, method),
  };
}

/** The keys are there from the beginning, for PUT too: so every round does the same, replacing. */
async function prepare(scope: Scope, options: Options, method: 'PUT' | 'GET'): Promise<MeasureRound> {
  const { node } = await scope.node();
  const bare = await scope.start(() => BareServer.start('bare-fastify.ts'));
  await importStream(Readable.from(ndjson(KEYS)), ndjsonBytes(KEYS), node.url);
  await settled(node);

  const load = (target: Target): Promise<LoadResult> =>
    underLoad(target, method, options.seconds, scope.signal);
  const ofPsyncd = async (): Promise<LoadResult> => {
    const result = await load({ url: node.url, pid: pidOf(node) });
    await settled(node);
    return result;
  };
  const ofBare = (): Promise<LoadResult> => load({ url: bare.url, pid: pidOf(bare) });

  return async (psyncdFirst) => {
    const early = psyncdFirst ? await ofPsyncd() : null;
    const limit = await ofBare();
    const psyncd = early ?? (await ofPsyncd());
    return {
      psyncd: psyncd.perSecond,
      limit: limit.perSecond,
      cpuRatio: cpuRatio(psyncd, limit),
      generatorBusy: Math.max(psyncd.generatorBusy, limit.generatorBusy),
      details: { psyncd, limit },
    };
  };
}

/** Waits until the applier has nothing left to do: it would work on through the other server's turn. */
async function settled(node: ChildNode): Promise<void> {
  const { keys } = await node.client.digest();
  if (keys !== KEYS) throw new Error(`the node has ${keys} keys, not ${KEYS}`);
}

function cpuRatio(psyncd: LoadResult, limit: LoadResult): number | null {
  const one = psyncd.serverMicrosPerRequest;
  const other = limit.serverMicrosPerRequest;
  return one === null || other === null ? null : one / other;
}

function pidOf({ process: child }: ChildNode | BareServer): number {
  if (child.pid === undefined) throw new Error('the process has no ID');
  return child.pid;
}
