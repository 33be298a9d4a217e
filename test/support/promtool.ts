/** Prometheus' own checker, of Debian's package `prometheus`; `.ci/run` installs it. */
import { spawnSync } from 'node:child_process';

/** For the option `skip` of a test; false: promtool is there. */
export const NO_PROMTOOL =
  spawnSync('promtool', ['--version']).status === 0 ? false : 'promtool is not installed';

/** @returns the exit code, and everything that was printed */
export function promtool(
  args: readonly string[],
  input = '',
): { readonly status: number | null; readonly output: string } {
  const { status, stdout, stderr } = spawnSync('promtool', args, { input, encoding: 'utf8' });
  return { status, output: `${stdout}${stderr}` };
}
