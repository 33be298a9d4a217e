/** `resync`: how long a full resync takes, beside copying the file that it transfers. */
import { copyFile, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type { ChildNode } from '../src/cli/child-node.ts';
import { importStream } from '../src/cli/import-file.ts';
import { until } from '../src/cli/until.ts';
import type { DigestAnswer } from '../src/client/rest.ts';
import type { Measurement, MeasureRound } from './measurement.ts';
import type { Options } from './options.ts';
import type { Scope } from './scope.ts';
import { ndjson, ndjsonBytes } from './workload.ts';

const ROUNDS = 3;
const RESYNC_WITHIN_MS = 300_000;

export const resync: Measurement = {
  name: 'resync',
  what: 'full resync',
  unit: 'ms',
  limitName: 'file copy',
  better: 'lower',
  rounds: ROUNDS,
  prepare,
};

async function prepare(scope: Scope, { entries }: Options): Promise<MeasureRound> {
  const { node: master, data } = await scope.node();
  await importStream(Readable.from(ndjson(entries)), ndjsonBytes(entries), master.url);
  // Also leaves the applier with nothing to do.
  const expected = await master.client.digest();
  if (expected.keys !== entries) throw new Error(`the master has ${expected.keys} keys, not ${entries}`);
  const file = await keyspaceFile(data);

  return async (psyncdFirst) => {
    const early = psyncdFirst ? await resyncMs(scope, master, expected) : null;
    const limit = await copyMs(file, join(scope.folder, 'copy.db'));
    const psyncd = early ?? (await resyncMs(scope, master, expected));
    const { size } = await stat(file);
    if (size !== psyncd.bytes) {
      throw new Error(`the file has ${size} bytes, the snapshot ${psyncd.bytes}: they cannot be compared`);
    }
    return {
      psyncd: psyncd.durationMs,
      limit,
      cpuRatio: null,
      generatorBusy: null,
      details: { bytes: size, linkMs: psyncd.linkMs },
    };
  };
}

interface Resync {
  /** From REPLICAOF until the replica says that it stands where its master does. */
  readonly durationMs: number;
  /** The same as the replica's link has measured it. */
  readonly linkMs: number;
  readonly bytes: number | null;
}

/** With a fresh replica, which is gone afterwards. */
async function resyncMs(scope: Scope, master: ChildNode, expected: DigestAnswer): Promise<Resync> {
  const { node: replica, data } = await scope.node();
  const startedAt = performance.now();
  await replica.client.replicaOf(master.wsUrl);
  const upstream = await until(
    'the full resync',
    async () => {
      scope.signal.throwIfAborted();
      const answer = await replica.client.replication();
      const there = answer.upstream?.state === 'streaming' && answer.position === expected.position;
      return there ? answer.upstream : null;
    },
    RESYNC_WITHIN_MS,
  );
  const durationMs = performance.now() - startedAt;
  const sync = upstream.lastSync;
  if (sync?.kind !== 'full') throw new Error(`expected a full resync, got ${sync?.kind}`);
  const { digest } = await replica.client.digest();
  if (digest !== expected.digest) throw new Error('the replica does not hold what its master does');
  await replica.stop();
  await rm(data, { recursive: true, force: true });
  return { durationMs, linkMs: sync.durationMs, bytes: sync.bytes };
}

async function copyMs(file: string, copy: string): Promise<number> {
  const startedAt = performance.now();
  await copyFile(file, copy);
  const durationMs = performance.now() - startedAt;
  await rm(copy);
  return durationMs;
}

async function keyspaceFile(data: string): Promise<string> {
  const name = (await readdir(data)).find((each) => /^keyspace-\d+\.db$/.test(each));
  if (name === undefined) throw new Error(`there is no keyspace file in ${data}`);
  return join(data, name);
}
