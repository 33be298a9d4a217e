/** What a measurement is: a name, and rounds in which psyncd and its limit take turns. */
import type { Options } from './options.ts';
import type { Scope } from './scope.ts';
import { type Summary, summary } from './statistics.ts';

/** One pair, measured one right after the other. */
export interface Round {
  readonly psyncd: number;
  readonly limit: number;
  /** The processor time of one unit of work, psyncd / limit; null: not asked, or the system does not tell. */
  readonly cpuRatio: number | null;
  /** The share of the time in which the load generator was at work, at most; null: there is none. */
  readonly generatorBusy: number | null;
  /** Everything else that was seen. */
  readonly details: unknown;
}

export interface Measurement {
  readonly name: string;
  /** What is counted, for the table. */
  readonly what: string;
  readonly unit: string;
  readonly limitName: string;
  readonly better: 'higher' | 'lower';
  /** How many rounds if nobody says. */
  readonly rounds: number;
  /** Prepares, and answers what runs one round. @param scope what is started in there ends with it */
  prepare(scope: Scope, options: Options): Promise<MeasureRound>;
}

/** @param psyncdFirst who begins: it changes from round to round, so that a drift of the machine favours nobody */
export type MeasureRound = (psyncdFirst: boolean) => Promise<Round>;

export interface Outcome {
  readonly measurement: Measurement;
  readonly warmUp: Round;
  readonly rounds: readonly (Round & { readonly ratio: number })[];
  readonly psyncd: Summary;
  readonly limit: Summary;
  /** psyncd / limit, of each pair: what moves the whole machine moves both halves of it. */
  readonly ratio: Summary;
  readonly cpuRatio: Summary | null;
  readonly generatorBusy: Summary | null;
}

/** @param progress gets a line for each round */
export async function measure(
  measurement: Measurement,
  scope: Scope,
  options: Options,
  progress: (line: string) => void,
): Promise<Outcome> {
  const { name, unit, limitName } = measurement;
  const count = options.rounds ?? measurement.rounds;
  progress(`${name}: preparing`);
  const run = await measurement.prepare(scope, options);
  const one = async (label: string, psyncdFirst: boolean): Promise<Round & { ratio: number }> => {
    const round = await run(psyncdFirst);
    const ratio = round.psyncd / round.limit;
    const numbers = `psyncd ${whole(round.psyncd)} ${unit}, ${limitName} ${whole(round.limit)} ${unit}`;
    progress(`${name}: ${label}: ${numbers}, ratio ${ratio.toFixed(2)}`);
    return { ...round, ratio };
  };
  // Not counted: code gets compiled, files get their size, caches fill.
  const warmUp = await one('warm-up', true);
  const rounds: (Round & { ratio: number })[] = [];
  for (let number = 1; number <= count; number += 1) {
    rounds.push(await one(`round ${number} of ${count}`, number % 2 === 0));
  }
  return {
    measurement,
    warmUp,
    rounds,
    psyncd: summary(rounds.map(({ psyncd }) => psyncd)),
    limit: summary(rounds.map(({ limit }) => limit)),
    ratio: summary(rounds.map(({ ratio }) => ratio)),
    cpuRatio: summaryOfKnown(rounds.map(({ cpuRatio }) => cpuRatio)),
    generatorBusy: summaryOfKnown(rounds.map(({ generatorBusy }) => generatorBusy)),
  };
}

function summaryOfKnown(values: readonly (number | null)[]): Summary | null {
  const known = values.filter((value) => value !== null);
  return known.length === 0 ? null : summary(known);
}

export function whole(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}
