/**
 * Runs the tests. `npm test` runs the short ones, in less than three minutes on two idle cores; `npm run test:all` runs the long
 * ones (`*.long.ts`) too, and with `--only-long` only those. A file or a folder after `--` selects its tests, short and long;
 * options go to Node's test runner:
 *
 *   npm test -- test/node
 *   npm test -- test/cluster/acks.long.ts --test-name-pattern=majority
 *   PSYNCD_SEED=17 npm test -- test/cluster/fuzz.long.ts
 */
import { spawnSync } from 'node:child_process';
import { globSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const SHORT = 'test/**/*.test.ts';
const LONG = 'test/**/*.long.ts';
/** Options of Node's test runner. Four files run at a time on two cores, because many of them wait for nodes. */
const OPTIONS = ['--test', '--test-concurrency=4', '--test-timeout=300000'];

/** @returns the test files at a path, which is a file or a folder, as the caller wrote it or from the project's root */
function filesAt(path: string): string[] {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) usage(`there is no test at ${path}`);
  if (found.isFile()) return [path];
  const files = globSync(['**/*.test.ts', '**/*.long.ts'], { cwd: path }).map((name) => `${path}/${name}`);
  if (files.length === 0) usage(`there is no test in ${path}`);
  return files;
}

function usage(problem: string): never {
  process.stderr.write(`${problem}\n`);
  process.exit(2);
}

function run(command: string, args: readonly string[]): void {
  const { status, error } = spawnSync(command, args, { cwd: ROOT, stdio: 'inherit' });
  if (error !== undefined) throw error;
  if (status !== 0) process.exit(status ?? 1);
}

const given = process.argv.slice(2);
const flags = new Set(['--all', '--only-long']);
const options = given.filter((each) => each.startsWith('--') && !flags.has(each));
const paths = given.filter((each) => !each.startsWith('--'));
const onlyLong = given.includes('--only-long');
const wanted = onlyLong ? [LONG] : given.includes('--all') ? [SHORT, LONG] : [SHORT];
const files = (paths.length > 0 ? paths.flatMap(filesAt) : globSync(wanted, { cwd: ROOT })).sort();
if (paths.length === 0 && !onlyLong) run('npm', ['run', 'check']);
run(process.execPath, [...OPTIONS, ...options, ...files]);
