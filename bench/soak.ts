/**
 * `soak`: a master and one replica under full load for minutes. Their memory and files must not grow with time, so the
 * last third of the run is compared with the second. The first third is left out: heaps and files still grow to their
 * size.
 */
import { execFile } from 'node:child_process';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { ChildNode } from '../src/cli/child-node.ts';
import { until } from '../src/cli/until.ts';
import { replicaOf } from './replica.ts';
import { hundredths, spread, whole } from './report.ts';
import { residentBytes } from './resident-bytes.ts';
import type { Place } from './scope.ts';
import { type Summary, summary } from './statistics.ts';
import type { Findings, Study } from './study.ts';

const LOAD = fileURLToPath(new URL('./soak-load.ts', import.meta.url));
const SAMPLE_MS = 2_000;
const MIB = 1024 * 1024;
const CAUGHT_UP_WITHIN_MS = 60_000;

export const soak: Study = {
  name: 'soak',
  what: 'memory and files of a master and its replica under full load',
  async run(scope, { minutes }, progress) {
    const master = await scope.node();
    const replica = await replicaOf(scope, master.node);
    progress(`soak: ${minutes} minutes`);
    const flags = ['--url', master.node.url, '--seconds', String(minutes * 60)];
    const load = { done: false };
    const loading = promisify(execFile)(process.execPath, [LOAD, ...flags], { signal: scope.signal }).finally(
      () => {
        load.done = true;
      },
    );
    const samples: Sample[] = [];
    while (!load.done) {
      samples.push(await sample(master, replica));
      if (samples.length % 15 === 0) progress(`soak: ${describe(samples.at(-1) as Sample)}`);
      await Promise.race([wait(SAMPLE_MS), loading]);
    }
    const { requests } = JSON.parse((await loading).stdout) as { requests: number };
    await checkEqual(master.node, replica.node);
    return findings(samples, requests);
  },
};

/** Sizes at one moment, in bytes: resident memory of each node, each file, and the lag, by name. */
type Sample = Readonly<Record<string, number>>;

async function sample(master: Place, replica: Place): Promise<Sample> {
  const [one, other] = await Promise.all([measured(master), measured(replica)]);
  const named = (who: string, values: Sample): [string, number][] =>
    Object.entries(values).map(([what, value]) => [`${who}: ${what}`, value]);
  return {
    ...Object.fromEntries([...named('master', one), ...named('replica', other)]),
    'lag of the replica': Math.max(0, (one.offset as number) - (other.offset as number)),
  };
}

async function measured({ node, data }: Place): Promise<Sample> {
  const { offset } = await node.client.replication();
  const files: Record<string, number> = {
    'psyncd.db': 0,
    'psyncd.db-wal': 0,
    'psyncd.db-shm': 0,
    'keyspace.db': 0,
    'keyspace.db-wal': 0,
    'keyspace.db-shm': 0,
  };
  for (const file of await readdir(data)) {
    const name = file.replace(/^keyspace-\d+/, 'keyspace');
    if (name in files) files[name] = (await stat(join(data, file))).size;
  }
  return { 'resident memory': residentBytes(node.process.pid as number), ...files, offset };
}

/** @throws Error if the two nodes do not have the same data in the end */
async function checkEqual(master: ChildNode, replica: ChildNode): Promise<void> {
  await until(
    'the replica holds what its master does',
    async () => {
      const [one, other] = await Promise.all([master.client.digest(), replica.client.digest()]);
      return one.position === other.position && one.digest === other.digest;
    },
    CAUGHT_UP_WITHIN_MS,
  );
  const { syncFull, syncPartialOk } = (await master.client.replication()).counters;
  if (syncFull !== 1 || syncPartialOk !== 0) {
    throw new Error(`the replica was cut off: ${syncFull} full and ${syncPartialOk} partial resyncs`);
  }
}

function findings(samples: readonly Sample[], requests: number): Findings {
  const third = Math.floor(samples.length / 3);
  if (third === 0) throw new Error('too short: there are not three samples');
  const names = Object.keys(samples[0] as Sample).filter((name) => !name.endsWith('offset'));
  const compared = names.map((name) => {
    const of = (part: readonly Sample[]): Summary => summary(part.map((each) => each[name] as number));
    return { name, second: of(samples.slice(third, 2 * third)), last: of(samples.slice(2 * third)) };
  });
  const rows = compared.map(({ name, second, last }) => [
    ...[name, mib(second.median), spread(second, mib), mib(last.median), spread(last, mib)],
    second.median === 0 ? '' : hundredths(last.median / second.median),
  ]);
  const first = samples[0] as Sample;
  const end = samples.at(-1) as Sample;
  const streamed = (end['master: offset'] as number) - (first['master: offset'] as number);
  const headings = ['MiB', 'second third', 'min–max', 'last third', 'min–max', 'ratio'];
  const what = [`${whole(requests)} requests`, `${mib(streamed)} of stream`, '', '', '', ''];
  return {
    figures: [],
    rows: [headings, ...rows, what],
    details: { requests, streamedBytes: streamed, compared, samples },
  };
}

function describe(one: Sample): string {
  return Object.entries(one)
    .map(([name, bytes]) => `${name} ${mib(bytes)}`)
    .join(', ');
}

function mib(bytes: number): string {
  return (bytes / MIB).toFixed(bytes < 10 * MIB ? 1 : 0);
}
