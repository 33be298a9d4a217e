/** What a metric is, before anybody scrapes it: a name, what it means, and where its values come from. */
import type { Durations } from '../node/ports/counts.ts';
import type { Snapshot } from './snapshot.ts';

export type Labels = Readonly<Record<string, string>>;

export interface Sample {
  readonly labels?: Labels;
  readonly value: number;
}

interface Described {
  /** Ends with its unit, and with `_total` if it only grows. */
  readonly name: string;
  /** One sentence without a full stop, for `# HELP` and docs/metrics.md. */
  readonly help: string;
  /** Names of its own labels; `cluster` comes on top. */
  readonly labels?: readonly string[];
}

/** A number that goes up and down, one that only grows until the process ends, or quantiles under the label `quantile`. */
export interface Single extends Described {
  readonly kind: 'gauge' | 'counter' | 'summary';
  /** @returns the values now; none: the metric means nothing on this node now */
  readonly read: (snapshot: Snapshot) => readonly Sample[];
}

export interface Histogram extends Described {
  readonly kind: 'histogram';
  readonly read: (snapshot: Snapshot) => readonly { readonly labels?: Labels; readonly took: Durations }[];
}

export type Metric = Single | Histogram;

/** @returns one value without labels, or none */
export function value(of: number | null): readonly Sample[] {
  return of === null ? [] : [{ value: of }];
}

/** @returns 1 or 0 */
export function flag(of: boolean): readonly Sample[] {
  return value(of ? 1 : 0);
}

/** @returns a value for each name, under the label */
export function named(label: string, counts: Iterable<readonly [string, number]>): readonly Sample[] {
  return [...counts].map(([name, count]) => ({ labels: { [label]: name }, value: count }));
}
