/** A study: a measurement that the command line of `npm run bench` can name. */
import type { Figure } from './figure.ts';
import type { Options } from './options.ts';
import type { Scope } from './scope.ts';

export interface Study {
  readonly name: string;
  /** Description of the measurement, for the file of results. */
  readonly what: string;
  /**
   * Runs the measurement.
   * @param scope ends the processes that the study starts in it
   * @param progress receives lines that report the progress
   */
  run(scope: Scope, options: Options, progress: (line: string) => void): Promise<Findings>;
}

/** The results of a study. */
export interface Findings {
  /** Rows for the table of goals. */
  readonly figures: readonly Figure[];
  /** Rows of another table, the headings first. */
  readonly rows?: readonly (readonly string[])[];
  /** All single measurements, for the file of results. */
  readonly details: unknown;
}
