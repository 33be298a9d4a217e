/** Standard output: lines and JSON of a command, and what happens when nobody reads them. */
import { printableJson, printableLines } from './printable.ts';

/** Exit code that shells report for a program ended by SIGPIPE; Node ignores that signal. */
export const SIGPIPE_CODE = 141;

/** Prints lines for people; text from nodes and their peers is made printable. */
export function print(...lines: readonly string[]): void {
  process.stdout.write(`${printableLines(lines)}\n`);
}

/**
 * Prints JSON, safe for a terminal.
 * @param space like `JSON.stringify`
 */
export function printJson(value: unknown, space?: number): void {
  process.stdout.write(`${printableJson(value, space)}\n`);
}

/** Ends the process when its output cannot be written. */
export function endWithOutput(): void {
  process.stdout.on('error', outputFailed);
}

/** Undoes `endWithOutput`, for a command that notices by itself that nobody reads. */
export function outliveOutput(): void {
  process.stdout.off('error', outputFailed);
}

/** The reader of the output has gone (`| head`), which is no failure; or the output cannot be written. */
function outputFailed(error: NodeJS.ErrnoException): void {
  if (error.code === 'EPIPE') process.exit(SIGPIPE_CODE);
  process.stderr.write(`psyncd: cannot write to standard output: ${error.message}\n`);
  process.exit(1);
}
