/** A measurement without a limit beside it: it is compared with itself, and has a table of its own. */
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
  /** The headings first. */
  readonly rows: readonly (readonly string[])[];
  /** Everything that was seen. */
  readonly details: unknown;
}
