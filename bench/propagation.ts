/** `propagation`: time from the master's answer to a write until a follower of the replica sees it. */
import { setTimeout as wait } from 'node:timers/promises';
import { TAKEN } from './figure.ts';
import { replicaOf } from './replica.ts';
import { whole } from './report.ts';
import { percentile, summary } from './statistics.ts';
import { SteadyWriter } from './steady-writer.ts';
import type { Study } from './study.ts';
import { KEYS } from './workload.ts';

const ROUNDS = 5;
const WRITES_PER_SECOND = 10_000;

/** Times in milliseconds. */
interface Round {
  readonly writesPerSecond: number;
  /** Time from the master's answer until a follower saw the write, for half of the writes. */
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
  /** Time from sending the write until a follower saw it, for half of the writes. */
  readonly visibleP50: number;
  readonly visibleP99: number;
}

export const propagation: Study = {
  name: 'propagation',
  what: 'from an answered write until it is visible on the replica, ms',
  async run(scope, { seconds, rounds: count = ROUNDS }, progress) {
    const { node: master } = await scope.filledNode(KEYS);
    const { node: replica } = await replicaOf(scope, master);
    const writer = await SteadyWriter.start(scope, {
      ...{ port: master.port, follow: replica.port, keys: KEYS },
      ...{ rate: WRITES_PER_SECOND, protocol: 'put' },
    });
    const rounds: Round[] = [];
    for (let number = 0; number <= count; number += 1) {
      await wait(seconds * 1000);
      const { writes, seconds: took, propagation: times, visible } = await writer.measured();
      const round: Round = {
        writesPerSecond: writes / took,
        p50: percentile(times, 0.5),
        p99: percentile(times, 0.99),
        max: percentile(times, 1),
        visibleP50: percentile(visible, 0.5),
        visibleP99: percentile(visible, 0.99),
      };
      progress(
        `propagation: ${number === 0 ? 'warm-up' : `round ${number}`}: ${whole(round.writesPerSecond)} writes/s, ` +
          `p50 ${round.p50.toFixed(2)} ms, p99 ${round.p99.toFixed(2)} ms, max ${round.max.toFixed(1)} ms`,
      );
      if (number > 0) rounds.push(round);
    }
    const rate = summary(rounds.map(({ writesPerSecond }) => writesPerSecond)).median;
    const isEnough = rate >= WRITES_PER_SECOND * TAKEN;
    const note = isEnough ? `${whole(rate)} writes/s` : `only ${whole(rate)} writes/s were taken`;
    const one = { row: 7, unit: 'ms', isOffGoal: !isEnough } as const;
    const visible = (of: (round: Round) => number): string =>
      `${note}; from when it was sent ${summary(rounds.map(of)).median.toFixed(1)} ms`;
    return {
      figures: [
        {
          ...one,
          what: 'propagation at 10,000 writes/s, p50',
          psyncd: summary(rounds.map(({ p50 }) => p50)),
          goal: { kind: 'under', value: 1, of: 'median' },
          note: visible(({ visibleP50 }) => visibleP50),
        },
        {
          ...one,
          what: 'the same, p99',
          psyncd: summary(rounds.map(({ p99 }) => p99)),
          goal: { kind: 'under', value: 5, of: 'median' },
          note: visible(({ visibleP99 }) => visibleP99),
        },
      ],
      details: rounds,
    };
  },
};
