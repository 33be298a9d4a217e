/** What can be named on the command line: it measures something, and says what came of it. */
import type { Figure } from './figure.ts';
import type { Options } from './options.ts';
import type { Scope } from './scope.ts';

export interface Study {
  readonly name: string;
  /** What it looks at, for the result's file. */
  readonly what: string;
  /**
   * @param scope what is started in there ends with it
   * @param progress gets a line now and then
   */
  run(scope: Scope, options: Options, progress: (line: string) => void): Promise<Findings>;
}

export interface Findings {
  /** For the table of the goals. */
  readonly figures: readonly Figure[];
  /** A table of its own, the headings first. */
  readonly rows?: readonly (readonly string[])[];
  /** Everything that was seen. */
  readonly details: unknown;
}
