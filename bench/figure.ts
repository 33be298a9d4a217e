/** A line of the table: what was measured, beside what, and the goal that it is held against. */
import type { Summary } from './statistics.ts';

export interface Figure {
  /** The row of the goals that it belongs to. */
  readonly row: number;
  readonly what: string;
  readonly unit: string;
  /** Null: it could not be measured here; the note says why. */
  readonly psyncd: Summary | null;
  /** Its limit or its peer, measured in turns with it, in the same unit. */
  readonly beside?: { readonly name: string; readonly values: Summary };
  /** psyncd / beside, formed in each pair: what moves the whole machine moves both halves of it. */
  readonly ratio?: Summary;
  readonly goal?: Goal;
  /** The goal's conditions were not there, as when the load was not taken: it is not met, whatever the figure. */
  readonly isOffGoal?: boolean;
  /** What one has to know to read it. */
  readonly note?: string;
}

export interface Goal {
  readonly kind: 'at least' | 'under';
  readonly value: number;
  /**
   * What is held against it. A time that somebody waited is not made better by the times when nobody did: there it is
   * the worst round, else the median.
   */
  readonly of: 'median ratio' | 'median' | 'worst';
}

/** A node takes a load if it answers so much of it. */
export const TAKEN = 0.95;

/** @returns null if nobody can say: there is no goal, or nothing to hold against it */
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
