/** docs/client.md: the programs whose output it shows print it, against a node. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { promisify } from 'node:util';
import { Cluster, temporaryFolder } from '../support/cluster.ts';

const run = promisify(execFile);
/** Most time of a program, in milliseconds. */
const TIME_LIMIT_MS = 60_000;
const TEXT = await readFile(new URL('../../docs/client.md', import.meta.url), 'utf8');
/** The line of each program, the program, and its output. */
const PROGRAMS = [...TEXT.matchAll(/^```ts\n((?:(?!```).*\n)*)```\n\n```text\n((?:(?!```).*\n)*)```$/gm)].map(
  ({ index, 1: program = '', 2: output = '' }) => {
    const line = TEXT.slice(0, index).split('\n').length;
    return { line, program, output };
  },
);

/** @returns the program for a folder outside the package */
function runnable(program: string, url: string): string {
  return program
    .replaceAll('http://127.0.0.1:7796', url)
    .replaceAll(/from 'psyncd-client(\/\w+)?'/g, (_all, entry = '') => {
      const source = new URL(`../../src/client${entry}/index.ts`, import.meta.url);
      return `from '${source}'`;
    });
}

test('docs/client.md has programs with their output', () => {
  assert.equal(PROGRAMS.length, 5);
});

for (const { line, program, output } of PROGRAMS) {
  test(`docs/client.md, line ${line}: the program prints what is shown`, async (t) => {
    const { url } = await (await Cluster.create(t)).start('node');
    const cwd = await temporaryFolder(t);
    await writeFile(join(cwd, 'program.mts'), runnable(program, url));
    const options = { cwd, timeout: TIME_LIMIT_MS };
    const { stdout, stderr } = await run(process.execPath, ['program.mts'], options);
    assert.deepEqual([stdout, stderr], [output, '']);
  });
}
