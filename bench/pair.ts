/** Rounds in which psyncd and its comparison take turns. */
import { type Summary, summary } from './statistics.ts';

/** Two measurements, one right after the other. */
export interface Pair<P, B> {
  readonly psyncd: P;
  readonly beside: B;
}

/**
 * Runs the rounds. The first pair does not count, because code is compiled, files grow and caches fill during it. The two halves
 * of a pair take turns at being first, so that a drift of the machine favours neither.
 * @param progress receives each pair with its number; 0: the warm-up
 */
export async function pairs<P, B>(
  rounds: number,
  psyncd: () => Promise<P>,
  beside: () => Promise<B>,
  progress: (pair: Pair<P, B>, number: number) => void,
  { warmUp = true } = {},
): Promise<Pair<P, B>[]> {
  const counted: Pair<P, B>[] = [];
  for (let number = warmUp ? 0 : 1; number <= rounds; number += 1) {
    const early = number % 2 === 0 ? await psyncd() : null;
    const other = await beside();
    const pair = { psyncd: early ?? (await psyncd()), beside: other };
    progress(pair, number);
    if (number > 0) counted.push(pair);
  }
  return counted;
}

/** @returns the summaries of one number of each half, and of the ratios of the pairs */
export function compared<P, B>(
  rounds: readonly Pair<P, B>[],
  ofPsyncd: (half: P) => number,
  ofBeside: (half: B) => number,
): { readonly psyncd: Summary; readonly beside: Summary; readonly ratio: Summary } {
  return {
    psyncd: summary(rounds.map(({ psyncd }) => ofPsyncd(psyncd))),
    beside: summary(rounds.map(({ beside }) => ofBeside(beside))),
    ratio: summary(rounds.map(({ psyncd, beside }) => ofPsyncd(psyncd) / ofBeside(beside))),
  };
}
