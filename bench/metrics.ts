/** `metrics`: whether somebody who scrapes a hundred times a second slows writes down, and what one scrape costs. */
import { once } from 'node:events';
import { Agent, get } from 'node:http';
import { setTimeout as wait } from 'node:timers/promises';
import type { ChildNode } from '../src/cli/child-node.ts';
import { cpuMicros } from './cpu-time.ts';
import { hundredths, whole } from './report.ts';
import { pidOf } from './requests.ts';
import { percentile, summary } from './statistics.ts';
import { SteadyWriter } from './steady-writer.ts';
import type { Study } from './study.ts';
import { KEYS } from './workload.ts';

const ROUNDS = 5;
const WRITES_PER_SECOND = 2_000;
const SCRAPES_PER_SECOND = 100;
/** Prometheus scrapes every 15 seconds, so this leaves much room. */
const GOAL = 1.25;

interface Half {
  /** Milliseconds that 99 % of the writes did not exceed. */
  readonly p99: number;
  readonly scrapes: number;
  /** Processor time of the node, in microseconds; null: the system has no /proc. */
  readonly cpu: number | null;
}

interface Round {
  readonly plain: Half;
  readonly scraped: Half;
}

export const metrics: Study = {
  name: 'metrics',
  what: `p99 of ${whole(WRITES_PER_SECOND)} writes a second while somebody scrapes, ms`,
  async run(scope, options, progress) {
    const { node } = await scope.filledNode(KEYS, '--metrics-listen', '127.0.0.1:0');
    const writing = { port: node.port, rate: WRITES_PER_SECOND, keys: KEYS, protocol: 'put' } as const;
    const writer = await SteadyWriter.start(scope, writing);
    const rounds: Round[] = [];
    for (let number = 0; number <= (options.rounds ?? ROUNDS); number += 1) {
      const half = (isScraped: boolean): Promise<Half> => measured(node, writer, options.seconds, isScraped);
      // In turns, and each of them first in every other round.
      const first = await half(number % 2 === 1);
      const second = await half(number % 2 === 0);
      const round = number % 2 === 1 ? { scraped: first, plain: second } : { plain: first, scraped: second };
      progress(
        `metrics: ${number === 0 ? 'warm-up' : `round ${number}`}: p99 ${hundredths(round.plain.p99)} ms, ` +
          `with ${round.scraped.scrapes} scrapes ${hundredths(round.scraped.p99)} ms`,
      );
      if (number > 0) rounds.push(round);
    }
    await writer.finish();
    const cost = rounds.flatMap(({ plain, scraped }) =>
      plain.cpu === null || scraped.cpu === null ? [] : [(scraped.cpu - plain.cpu) / scraped.scrapes / 1_000],
    );
    return {
      figures: [
        {
          row: 12,
          what: `p99 of writes, ${SCRAPES_PER_SECOND} scrapes a second`,
          unit: 'ms',
          psyncd: summary(rounds.map(({ scraped }) => scraped.p99)),
          beside: { name: 'no scrapes', values: summary(rounds.map(({ plain }) => plain.p99)) },
          ratio: summary(rounds.map(({ plain, scraped }) => scraped.p99 / plain.p99)),
          goal: { kind: 'under', value: GOAL, of: 'median ratio' },
          ...(cost.length === 0
            ? {}
            : { note: `a scrape takes ${hundredths(summary(cost).median)} ms of processor time` }),
        },
      ],
      details: rounds,
    };
  },
};

async function measured(
  node: ChildNode,
  writer: SteadyWriter,
  seconds: number,
  isScraped: boolean,
): Promise<Half> {
  const scraper = isScraped ? new Scraper(node.metricsUrl ?? '') : null;
  await writer.measured();
  const before = cpuMicros(pidOf(node));
  await wait(seconds * 1_000);
  const after = cpuMicros(pidOf(node));
  const { latencies } = await writer.measured();
  const scrapes = (await scraper?.stop()) ?? 0;
  const cpu = before === null || after === null ? null : after - before;
  return { p99: percentile(latencies, 0.99), scrapes, cpu };
}

/** Scrapes at a steady rate on one connection, as Prometheus does. */
class Scraper {
  readonly #agent = new Agent({ keepAlive: true });
  readonly #timer: NodeJS.Timeout;
  readonly #url: string;
  #done = 0;
  #last: Promise<void> = Promise.resolve();

  constructor(url: string) {
    this.#url = url;
    this.#timer = setInterval(() => {
      this.#last = this.#last.then(() => this.#scrape());
    }, 1_000 / SCRAPES_PER_SECOND);
  }

  /** @returns the number of scrapes that were answered */
  async stop(): Promise<number> {
    clearInterval(this.#timer);
    await this.#last;
    this.#agent.destroy();
    return this.#done;
  }

  async #scrape(): Promise<void> {
    const [answer] = await once(get(this.#url, { agent: this.#agent }), 'response');
    if (answer.statusCode !== 200) throw new Error(`a scrape was answered with ${answer.statusCode}`);
    await once(answer.resume(), 'end');
    this.#done += 1;
  }
}
