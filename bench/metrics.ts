/** `metrics`: whether somebody who scrapes a hundred times a second slows writes down, and what one scrape costs. */
import { once } from 'node:events';
import { Agent, get } from 'node:http';
import { setTimeout as wait } from 'node:timers/promises';
import type { ChildNode } from '../src/cli/child-node.ts';
import { BareServer } from './bare-server.ts';
import { cpuMicros } from './cpu-time.ts';
import type { Figure } from './figure.ts';
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

/**
 * What is asked for while somebody writes: nothing; nothing once more, which differs from that by noise alone; a text of another process,
 * which takes time of the cores and none of the node; `/healthz`, the smallest answer that there is; `/metrics`.
 */
const PARTS = ['nothing', 'again', 'elsewhere', 'health', 'metrics'] as const;
type Part = (typeof PARTS)[number];
type Round = Readonly<Record<Part, Half>>;

export const metrics: Study = {
  name: 'metrics',
  what: `p99 of ${whole(WRITES_PER_SECOND)} writes a second while somebody scrapes, ms`,
  async run(scope, options, progress) {
    const { node } = await scope.filledNode(KEYS, '--metrics-listen', '127.0.0.1:0');
    const { metricsUrl, url } = node;
    const { url: elsewhere } = await scope.start(() => BareServer.start('bare-text.ts'));
    const urls = {
      ...{ nothing: null, again: null, elsewhere },
      ...{ health: `${url}/healthz`, metrics: metricsUrl ?? '' },
    } as const;
    const writing = { port: node.port, rate: WRITES_PER_SECOND, keys: KEYS, protocol: 'put' } as const;
    const writer = await SteadyWriter.start(scope, writing);
    const rounds: Round[] = [];
    for (let number = 0; number <= (options.rounds ?? ROUNDS); number += 1) {
      const halves: Partial<Record<Part, Half>> = {};
      for (const part of inTurn(number)) {
        halves[part] = await measured(node, writer, options.seconds, urls[part]);
      }
      const round = halves as Round;
      const shown = PARTS.map((part) => `${part} ${hundredths(round[part].p99)}`).join(', ');
      progress(`metrics: ${number === 0 ? 'warm-up' : `round ${number}`}: p99 in ms: ${shown}`);
      if (number > 0) rounds.push(round);
    }
    await writer.finish();
    return { figures: [scraped(rounds), overElsewhere(rounds)], details: rounds };
  },
};

/** @returns all parts, each of them first in one of five rounds */
function inTurn(round: number): readonly Part[] {
  const first = round % PARTS.length;
  return [...PARTS.slice(first), ...PARTS.slice(0, first)];
}

function scraped(rounds: readonly Round[]): Figure {
  const ratio = summary(rounds.map(({ nothing, metrics: scrapes }) => scrapes.p99 / nothing.p99));
  return {
    row: 12,
    what: `p99 of writes, ${SCRAPES_PER_SECOND} scrapes a second`,
    unit: 'ms',
    psyncd: summary(rounds.map(({ metrics: scrapes }) => scrapes.p99)),
    beside: { name: 'no scrapes', values: summary(rounds.map(({ nothing }) => nothing.p99)) },
    ratio,
    goal: { kind: 'under', value: GOAL, of: 'median ratio' },
    note: comparedWithNoise(rounds, ratio.median),
  };
}

/** @returns how two parts without scrapes differ, and whether scrapes make more of a difference. @param ratio median of that with scrapes */
function comparedWithNoise(rounds: readonly Round[], ratio: number): string {
  const { median, min, max } = summary(rounds.map(({ nothing, again }) => again.p99 / nothing.p99));
  const place = ratio <= max ? 'within' : 'beyond';
  return `a part without scrapes has ${hundredths(median)} (${hundredths(min)}–${hundredths(max)}) of the p99 of another one: the median ratio is ${place} that`;
}

/** Who scrapes needs a core too, and so does what answers: the rest is what scrapes cost the writes of this node. */
function overElsewhere(rounds: readonly Round[]): Figure {
  return {
    row: 12,
    what: 'the same, over that with as many scrapes of another process',
    unit: 'ms',
    psyncd: summary(rounds.map(({ metrics: scrapes }) => scrapes.p99)),
    beside: { name: 'elsewhere', values: summary(rounds.map(({ elsewhere }) => elsewhere.p99)) },
    ratio: summary(rounds.map(({ elsewhere, metrics: scrapes }) => scrapes.p99 / elsewhere.p99)),
    ...costs(rounds),
  };
}

function costs(rounds: readonly Round[]): { readonly note?: string } {
  const [scrape, request] = (['metrics', 'health'] as const).map((part) =>
    rounds.flatMap(({ nothing, [part]: asked }) =>
      nothing.cpu === null || asked.cpu === null ? [] : [(asked.cpu - nothing.cpu) / asked.scrapes / 1_000],
    ),
  );
  if (scrape === undefined || request === undefined || scrape.length === 0) return {};
  const shown = [scrape, request].map((values) => hundredths(summary(values).median));
  return { note: `a scrape takes ${shown[0]} ms of processor time, a request of /healthz ${shown[1]}` };
}

/** @param url what is asked for; null: nothing */
async function measured(
  node: ChildNode,
  writer: SteadyWriter,
  seconds: number,
  url: string | null,
): Promise<Half> {
  const scraper = url === null ? null : new Scraper(url);
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
