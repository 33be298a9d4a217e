/**
 * `restart`: from the start of the process until the first GET is answered, with much data, with little, and with none.
 * A start with an empty folder is what Node and the modules take; what is more than that is the data's.
 *
 * `stopped`: it was told to stop. `killed`: `kill -9` under writers, so the journal is replayed.
 */
import { cp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type { ChildNode } from '../src/cli/child-node.ts';
import { importStream } from '../src/cli/import-file.ts';
import { until } from '../src/cli/until.ts';
import { whole } from './measurement.ts';
import { hundredths, spread } from './report.ts';
import type { Scope } from './scope.ts';
import { summary } from './statistics.ts';
import type { Findings, Study } from './study.ts';
import { keyAt, ndjson, ndjsonBytes, VALUE } from './workload.ts';

const ROUNDS = 7;
/** The smaller amount of data, of the larger. */
const SMALL_PART = 10;
const WRITERS = 16;
/** What the writers leave in the journal, at least, before the kill. */
const JOURNAL_BYTES = 4 * 1024 * 1024;

interface Case {
  readonly name: string;
  /** A data folder as the process left it; null: an empty one. */
  readonly data: string | null;
  readonly times: number[];
}

export const restart: Study = {
  name: 'restart',
  what: 'from the start of the process until the first GET is answered',
  async run(scope, { entries, rounds = ROUNDS }, progress) {
    const cases: Case[] = [{ name: 'empty folder', data: null, times: [] }];
    for (const count of [Math.ceil(entries / SMALL_PART), entries]) {
      progress(`restart: preparing ${whole(count)} entries`);
      const { stopped, killed } = await prepare(scope, count);
      cases.push({ name: `${whole(count)} entries, stopped`, data: stopped, times: [] });
      cases.push({ name: `${whole(count)} entries, killed`, data: killed, times: [] });
    }
    // Not counted: caches fill.
    for (const each of cases) await firstAnswerMs(scope, each.data);
    for (let round = 1; round <= rounds; round += 1) {
      for (const each of cases) each.times.push(await firstAnswerMs(scope, each.data));
      progress(
        `restart: round ${round} of ${rounds}: ${cases.map(({ times }) => whole(times.at(-1) ?? 0)).join(', ')} ms`,
      );
    }
    return findings(cases);
  },
};

/** @returns the paths of two data folders that nobody uses */
async function prepare(scope: Scope, entries: number): Promise<{ stopped: string; killed: string }> {
  const { node, data } = await scope.node();
  await importStream(Readable.from(ndjson(entries)), ndjsonBytes(entries), node.url);
  await node.stop();
  const stopped = `${data}-stopped`;
  await cp(data, stopped, { recursive: true });
  const writing = await scope.nodeAt(data);
  const { offset } = await writing.client.replication();
  const writers = Array.from({ length: WRITERS }, () => write(writing, entries));
  await until(
    'much has been written',
    async () => {
      return (await writing.client.replication()).offset - offset > JOURNAL_BYTES;
    },
    120_000,
  );
  await writing.stop('SIGKILL');
  await Promise.all(writers);
  return { stopped, killed: data };
}

/** Replaces entries until the node is gone. */
async function write(node: ChildNode, entries: number): Promise<void> {
  try {
    for (;;) await node.client.set(keyAt(Math.floor(Math.random() * entries)), VALUE);
  } catch {
    // It was killed.
  }
}

/** With a copy of the folder, so that each start finds the same. */
async function firstAnswerMs(scope: Scope, data: string | null): Promise<number> {
  const copy = join(scope.folder, 'start');
  if (data !== null) await cp(data, copy, { recursive: true });
  const startedAt = performance.now();
  const node = await scope.nodeAt(copy);
  const value = await node.client.get(keyAt(1));
  const tookMs = performance.now() - startedAt;
  if ((value === null) !== (data === null)) throw new Error('the node does not have what was written');
  await node.stop('SIGKILL');
  await rm(copy, { recursive: true, force: true });
  return tookMs;
}

function findings(cases: readonly Case[]): Findings {
  const of = cases.map(({ name, times }) => ({ name, times, ...summary(times) }));
  const [empty] = of;
  const bare = empty?.times ?? [];
  const rows = of.map(({ name, times, median, min, max }) => {
    const ratio = summary(times.map((time, round) => time / (bare[round] as number)));
    return [
      name,
      whole(median),
      spread({ median, min, max }, whole),
      hundredths(ratio.median),
      spread(ratio, hundredths),
    ];
  });
  return { rows: [['start with', 'ms', 'min–max', 'ratio', 'min–max'], ...rows], details: of };
}
