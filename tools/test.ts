/**
 * Runs the tests. `npm test` runs the short ones, in about four minutes on two idle cores; `npm run test:all` runs the long
 * ones (`*.long.ts`) too, and with `--only-long` only those; of the heaviest ones `--by-day` runs a third, so that each has its turn
 * within three days. A file or a folder after `--` selects its tests, short and long; options go to Node's test runner:
 *
 *   npm test -- test/node
 *   npm test -- test/cluster/acks.long.ts --test-name-pattern=majority
 *   PSYNCD_SEED=17 npm test -- test/cluster/fuzz.long.ts
 */
import { spawnSync } from 'node:child_process';
import { globSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { buildProgram, isBuilt } from './program.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const SHORT = 'test/**/*.test.ts';
const LONG = 'test/**/*.long.ts';
/** Options of Node's test runner. Four files run at a time on two cores, because many of them wait for nodes. */
const OPTIONS = ['--test', '--test-concurrency=4', '--test-timeout=300000'];

/** Some hundred processes are started with the same modules, and half of a start is compiling them. */
const ENVIRONMENT = { NODE_COMPILE_CACHE: `${ROOT}node_modules/.cache/compile`, ...process.env };

/** The test files that take most processor time, in groups; one of each group runs on a day. */
const HEAVIEST = [
  ['test/cluster/damage.long.ts', 'test/chaos/chaos.long.ts', 'test/cluster/acks.long.ts'],
  ['test/cluster/failover.long.ts', 'test/cluster/fairness.long.ts', 'test/cluster/chain.long.ts'],
  ['test/cluster/copies.long.ts', 'test/cluster/flow.long.ts', 'test/cluster/guard.long.ts'],
  ['test/cluster/changes-pressure.long.ts', 'test/cluster/cuts.long.ts', 'test/cluster/aside.long.ts'],
  ['test/cluster/stale-wal.long.ts', 'test/cluster/kill.long.ts', 'test/cluster/start-faults.long.ts'],
  ['test/cluster/memory.long.ts', 'test/cluster/mirror-load.long.ts', 'test/cluster/repoint.long.ts'],
  ['test/cluster/restore-kill.long.ts', 'test/cluster/backup-input.long.ts', 'test/archive/planted.long.ts'],
  [
    'test/archive/point-in-time.long.ts',
    'test/cluster/backup-schedule.long.ts',
    'test/cluster/backup-full-disk.long.ts',
  ],
  ['test/cluster/archive-kill.long.ts', 'test/cluster/resume.long.ts', 'test/cluster/archive-load.long.ts'],
  [
    'test/cluster/docs-page.long.ts',
    'test/cluster/examples-react.long.ts',
    'test/cluster/mirror-pages.long.ts',
  ],
  ['test/cluster/verify.long.ts', 'test/cluster/status.long.ts', 'test/cluster/trouble.long.ts'],
  ['test/cluster/resync.long.ts', 'test/cluster/faults.long.ts', 'test/cluster/json.long.ts'],
  ['test/cluster/replica-auth.long.ts', 'test/cluster/tls-removal.long.ts', 'test/cluster/renewal.long.ts'],
  ['test/cluster/mirror.long.ts', 'test/cluster/history.long.ts', 'test/client/package.long.ts'],
  ['test/cluster/archive.long.ts', 'test/cli/backup-node.long.ts', 'test/cluster/backup.long.ts'],
  [
    'test/cluster/examples-drill.long.ts',
    'test/cluster/backup-room.long.ts',
    'test/cluster/kept-file.long.ts',
  ],
] as const;
const DAY_MS = 86_400_000;

/** @returns the heaviest files that do not run today */
function restingToday(): ReadonlySet<string> {
  const day = Math.floor(Date.now() / DAY_MS);
  const resting = HEAVIEST.map((group, index) => {
    const running = group[(day + index) % group.length];
    return group.filter((path) => path !== running);
  });
  return new Set(resting.flat());
}

/** `npm run sdk` installs the generators of SDKs in a folder below `test`. */
const exclude = ['**/node_modules/**'];

/** @returns the test files at a path, which is a file or a folder, as the caller wrote it or from the project's root */
function filesAt(path: string): string[] {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) usage(`there is no test at ${path}`);
  if (found.isFile()) return [path];
  const files = globSync(['**/*.test.ts', '**/*.long.ts'], { cwd: path, exclude }).map(
    (name) => `${path}/${name}`,
  );
  if (files.length === 0) usage(`there is no test in ${path}`);
  return files;
}

function usage(problem: string): never {
  process.stderr.write(`${problem}\n`);
  process.exit(2);
}

function run(command: string, args: readonly string[]): void {
  const { status, error } = spawnSync(command, args, { cwd: ROOT, stdio: 'inherit', env: ENVIRONMENT });
  if (error !== undefined) throw error;
  if (status !== 0) process.exit(status ?? 1);
}

const given = process.argv.slice(2);
const flags = new Set(['--all', '--only-long', '--by-day']);
const options = given.filter((each) => each.startsWith('--') && !flags.has(each));
const paths = given.filter((each) => !each.startsWith('--'));
const onlyLong = given.includes('--only-long');
const wanted = onlyLong ? [LONG] : given.includes('--all') ? [SHORT, LONG] : [SHORT];
const resting = given.includes('--by-day') ? restingToday() : new Set();
const files = (paths.length > 0 ? paths.flatMap(filesAt) : globSync(wanted, { cwd: ROOT, exclude }))
  .filter((path) => !resting.has(path))
  .sort();
if (paths.length === 0 && !onlyLong) run('npm', ['run', 'check']);
// The tests start hundreds of nodes.
if (!isBuilt()) await buildProgram();
run(process.execPath, [...OPTIONS, ...options, ...files]);
