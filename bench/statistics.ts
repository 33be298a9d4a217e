/** Summary of many rounds. */
export interface Summary {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** @param values at least one */
export function summary(values: readonly number[]): Summary {
  const sorted = [...values].sort((one, other) => one - other);
  const middle = (sorted.length - 1) / 2;
  const low = sorted[Math.floor(middle)];
  const high = sorted[Math.ceil(middle)];
  const min = sorted[0];
  const max = sorted[sorted.length - 1];
  if (low === undefined || high === undefined || min === undefined || max === undefined) {
    throw new RangeError('there is no median of nothing');
  }
  return { median: (low + high) / 2, min, max };
}

/** @param sorted values in ascending order @param share 0.99: the value that 99 % do not exceed @returns NaN if there are none */
export function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}
