/**
 * `restart`: the time from the start of the process until it answers the first GET, with much data, with little, and with none.
 * A start with an empty folder shows the time that Node and the modules take; the difference is the time for the data.
 *
 * `stopped`: the node before was stopped cleanly. `killed`: `kill -9` ended it under writers, so the start replays the journal.
 */
import { cp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ChildNode } from '../src/cli/child-node.ts';
import { until } from '../src/cli/until.ts';
import type { Figure } from './figure.ts';
import { whole } from './report.ts';
import type { Scope } from './scope.ts';
import { summary } from './statistics.ts';
import type { Findings, Study } from './study.ts';
import { keyAt, VALUE } from './workload.ts';

const ROUNDS = 5;
const GOAL_MS = 300;
/** Ratio of the larger amount of data to the smaller one. */
const SMALL_PART = 10;
const WRITERS = 16;
/** Smallest number of bytes that the writers leave in the journal before the kill. */
const JOURNAL_BYTES = 4 * 1024 * 1024;

interface Case {
  readonly name: string;
  /** Data folder as the process left it; null: an empty folder. */
  readonly data: string | null;
  /** Whether the case has a goal. */
  readonly held: boolean;
  readonly times: number[];
}

export const restart: Study = {
  name: 'restart',
  what: 'from the start of the process until the first GET is answered',
  async run(scope, { entries, rounds = ROUNDS }, progress) {
    const cases: Case[] = [{ name: 'empty folder', data: null, held: false, times: [] }];
    for (const count of [Math.ceil(entries / SMALL_PART), entries]) {
      progress(`restart: preparing ${whole(count)} entries`);
      const { stopped, killed } = await prepare(scope, count);
      const held = count === entries;
      cases.push({ name: `${whole(count)} entries, stopped`, data: stopped, held, times: [] });
      cases.push({ name: `${whole(count)} entries, killed`, data: killed, held, times: [] });
    }
    // The first starts do not count, because caches fill during them.
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

/** @returns the paths of two unused data folders */
async function prepare(scope: Scope, entries: number): Promise<{ stopped: string; killed: string }> {
  const stopped = await scope.filledFolder(entries);
  const { node: writing, data } = await scope.filledNode(entries);
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

/** Replaces entries until the node has ended. */
async function write(node: ChildNode, entries: number): Promise<void> {
  try {
    for (;;) await node.client.set(keyAt(Math.floor(Math.random() * entries)), VALUE);
  } catch {
    // The kill has ended the request.
  }
}

/** Starts a node on a copy of the folder, so that each start finds the same files. @returns milliseconds to the first answer */
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
  const bare = cases[0]?.times ?? [];
  return {
    figures: cases.slice(1).map(
      ({ name, held, times }): Figure => ({
        row: 8,
        what: `restart, ${name}`,
        unit: 'ms',
        psyncd: summary(times),
        beside: { name: 'an empty folder', values: summary(bare) },
        ratio: summary(times.map((time, round) => time / (bare[round] as number))),
        ...(held ? { goal: { kind: 'under', value: GOAL_MS, of: 'median' } } : {}),
      }),
    ),
    details: cases,
  };
}
