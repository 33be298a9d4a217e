/** What a long task of a node does to the writes that it answers meanwhile. */
import { setTimeout as wait } from 'node:timers/promises';
import type { Figure } from './figure.ts';
import { TAKEN } from './figure.ts';
import { whole } from './report.ts';
import type { Scope } from './scope.ts';
import { percentile, summary } from './statistics.ts';
import { SteadyWriter, type Writing } from './steady-writer.ts';
import type { Written } from './steady-writes.ts';

/** Milliseconds for which a writer runs before it is measured, so that its code is compiled. */
const LEAD_MS = 1_000;
/** Goal: p99 of the writes during the task, as a multiple of the p99 before it. */
const GOAL_P99_RATIO = 2;

export interface BesideWrites {
  /** How long the task took, in milliseconds. */
  readonly ms: number;
  /** p99 of the writes before and during the task, in milliseconds. */
  readonly p99Before: number;
  readonly p99During: number;
  /** Writes per second that the node answered during the task. */
  readonly writesPerSecond: number;
}

/** Runs a task while somebody writes. @param seconds for which the writes are measured before it */
export async function besideWrites(
  scope: Scope,
  writing: Writing,
  seconds: number,
  task: () => Promise<unknown>,
): Promise<BesideWrites> {
  const writer = await SteadyWriter.start(scope, writing);
  await wait(LEAD_MS);
  await writer.measured();
  await wait(seconds * 1_000);
  const before = await writer.measured();
  const startedAt = performance.now();
  await task();
  const ms = performance.now() - startedAt;
  const { last: during } = await writer.finish();
  return { ms, ...latencies(before, during) };
}

function latencies(before: Written, during: Written): Omit<BesideWrites, 'ms'> {
  return {
    p99Before: percentile(before.latencies, 0.99),
    p99During: percentile(during.latencies, 0.99),
    writesPerSecond: during.writes / during.seconds,
  };
}

/** @param rate of the writer, in writes per second @returns the figure for the p99 of the writes during the task */
export function p99Figure(row: number, what: string, rate: number, rounds: readonly BesideWrites[]): Figure {
  const taken = summary(rounds.map(({ writesPerSecond }) => writesPerSecond)).median;
  return {
    row,
    what,
    unit: 'ms',
    psyncd: summary(rounds.map(({ p99During }) => p99During)),
    beside: { name: 'its p99 before', values: summary(rounds.map(({ p99Before }) => p99Before)) },
    ratio: summary(rounds.map(({ p99During, p99Before }) => p99During / p99Before)),
    goal: { kind: 'under', value: GOAL_P99_RATIO, of: 'median ratio' },
    isOffGoal: taken < rate * TAKEN,
    note: `${whole(taken)} writes/s meanwhile`,
  };
}
