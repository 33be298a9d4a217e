/** Joins runs of the stream. */
import type { Run } from './command.ts';

/**
 * Joins runs that follow each other in the stream.
 * @param runs at least one, in the order of the stream
 * @returns one run with all their bytes, commands, ends and boundaries; the run itself if there is only one
 */
export function concatenation(runs: readonly Run[]): Run {
  const first = runs[0] as Run;
  if (runs.length === 1) return first;
  let base = 0;
  const ends: number[] = [];
  const boundaries: number[] = [];
  for (const run of runs) {
    for (const end of run.ends) ends.push(base + end);
    for (const boundary of run.boundaries) boundaries.push(base + boundary);
    base += run.bytes.length;
  }
  return {
    bytes: Buffer.concat(runs.map((run) => run.bytes)),
    commands: runs.flatMap((run) => run.commands),
    ends,
    boundaries,
  };
}
