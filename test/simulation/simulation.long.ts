/**
 * The simulation, as long as a test may take: as many seeds as fit, and the proof that it would find something, for every second planted
 * bug: the others have their turn on the next day. `PSYNCD_SEED=N` says where to begin; `npm run simulate` runs as many as you like.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { rm } from 'node:fs/promises';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { MUTATIONS } from './mutations.ts';
import { plant } from './plant.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const DAY_MS = 86_400_000;
/** Every day other ones. */
const FROM = Number(process.env.PSYNCD_SEED ?? Math.floor(Date.now() / DAY_MS) * 10_000);
const SECONDS = 10;
/** A planted bug has to be found within so many. */
const MUTATION_SEEDS = 400;
/** For all of them together; each takes some seconds, and many on a busy machine. */
const MUTATIONS_MS = 1_200_000;

interface Run {
  readonly code: number;
  readonly text: string;
}

/** In a process of its own: what a broken promise leaves behind ends with it. */
function run(folder: string, flags: readonly string[]): Promise<Run> {
  const options = { cwd: folder, maxBuffer: 64 * 1024 * 1024 };
  return new Promise((resolve) => {
    execFile(process.execPath, ['test/simulation/run.ts', ...flags], options, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), text: stdout + stderr });
    });
  });
}

function lastLine(text: string): string {
  return text.trimEnd().split('\n').at(-1) ?? '';
}

test('every promise is kept, whatever fails in whatever order', async (t) => {
  t.diagnostic(`seeds from ${FROM}`);
  const { code, text } = await run(ROOT, [
    '--from',
    `${FROM}`,
    '--seeds',
    '100000',
    '--seconds',
    `${SECONDS}`,
  ]);
  assert.equal(code, 0, text);
  t.diagnostic(lastLine(text));
});

test('the same seed is the same run', async () => {
  const { code, text } = await run(ROOT, ['--from', `${FROM}`, '--seeds', '8', '--twice']);
  assert.equal(code, 0, text);
});

test('a planted bug is found', { timeout: MUTATIONS_MS }, async (t) => {
  const first = Math.floor(FROM / 10_000) % 2;
  for (const mutation of MUTATIONS.filter((_, index) => index % 2 === first)) {
    await t.test(mutation.name, async (each) => {
      const folder = await plant(mutation);
      each.after(() => rm(folder, { recursive: true, force: true }));
      const { code, text } = await run(folder, [
        '--from',
        `${mutation.from ?? 1}`,
        '--seeds',
        `${MUTATION_SEEDS}`,
      ]);
      assert.equal(code, 1, `nothing was found: ${lastLine(text)}`);
      // By the simulation, and not because the code does not even run.
      const found = /^seed \d+: .*$/m.exec(text)?.[0];
      assert.ok(found !== undefined, text);
      each.diagnostic(found.slice(0, 200));
    });
  }
});
