/** Programs of other projects, which a test configures as an example of psyncd does. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { TestContext } from 'node:test';
import { until } from '../../src/cli/until.ts';

/** CI installs the programs, and says so; elsewhere what is not there cannot be tested. */
export const ALL_INSTALLED = process.env.PSYNCD_TEST_EXAMPLES === 'all';

/**
 * @param pairs texts that must stand in `text`, each with what takes its place
 * @returns the text with all of them replaced
 */
export function replaced(text: string, pairs: readonly (readonly [string | RegExp, string])[]): string {
  return pairs.reduce((before, [from, to]) => {
    const after = before.replaceAll(from, to);
    assert.notEqual(after, before, `the text has ${from}`);
    return after;
  }, text);
}

/**
 * Starts a program that serves, and ends it after the test.
 * @param command the program and its arguments
 * @param folder home of the program
 * @param answers tells whether it serves already; what it throws means that it does not
 */
export async function startProgram(
  t: TestContext,
  [file, ...args]: readonly [string, ...string[]],
  folder: string,
  answers: () => Promise<boolean>,
): Promise<void> {
  const child = spawn(file, args, {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, HOME: folder, XDG_CONFIG_HOME: folder, XDG_DATA_HOME: folder },
  });
  let output = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    output = (output + text).slice(-4_000);
  });
  t.after(async () => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGTERM');
      await once(child, 'exit');
    }
  });
  await until('the program answers', () => {
    assert.equal(child.exitCode, null, output);
    return answers().catch(() => false);
  });
}
