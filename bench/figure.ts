/** One row of the table: the measurement, its comparison, and the goal. */
import type { Summary } from './statistics.ts';

export interface Figure {
  /** Number of the row in the table of goals (README.md). */
  readonly row: number;
  readonly what: string;
  readonly unit: string;
  /** The measurement; null: impossible here, for the reason in the note. */
  readonly psyncd: Summary | null;
  /** The limit or the peer, measured in turns with psyncd, in the same unit. */
  readonly beside?: { readonly name: string; readonly values: Summary };
  /** psyncd / comparison, computed for each pair, so that disturbances of the whole machine cancel out. */
  readonly ratio?: Summary;
  readonly goal?: Goal;
  /**
   * The conditions of the goal were not met, for example because the load was refused; then the goal is not met either.
   */
  readonly isOffGoal?: boolean;
  /** A remark that a reader needs. */
  readonly note?: string;
}

export interface Goal {
  readonly kind: 'at least' | 'under';
  readonly value: number;
  /**
   * Value to compare with the goal. For waiting times it is the worst round, because good rounds do not shorten a bad
   * one; otherwise the median.
   */
  readonly of: 'median ratio' | 'median' | 'worst';
}

/** Share of a load that a node must answer to count as taking it. */
export const TAKEN = 0.95;

/** @returns null if there is no goal or no value to compare */
export function isMet({ psyncd, ratio, goal, isOffGoal = false }: Figure): boolean | null {
  if (goal === undefined) return null;
  if (isOffGoal) return false;
  const value = {
    'median ratio': ratio?.median,
    median: psyncd?.median,
    worst: goal.kind === 'under' ? psyncd?.max : psyncd?.min,
  }[goal.of];
  if (value === undefined) return null;
  return goal.kind === 'under' ? value < goal.value : value >= goal.value;
}
