/** Bugs that are planted into the archive, one at a time: its tests find each of them, so they would find others too. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { cp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Mutation } from '../simulation/mutations.ts';
import { plant } from '../simulation/plant.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** @param tests the file that finds the bug, and a part of the names of its tests */
const BUGS: readonly (Mutation & { readonly tests: readonly [file: string, names: string] })[] = [
  {
    name: 'an archive with a gap',
    in: 'Archiver.#archive',
    find: 'chain.from = piece.end;',
    replace: 'chain.from = stream.offset;',
    tests: ['archiver.test', 'everything is archived'],
  },
  {
    name: 'the journal drops what the archive does not have yet',
    in: 'Archiver.pinned',
    find: 'this.#chain.from ?? this.#givenUpTo',
    replace: 'stream.offset',
    tests: ['archiver.test', 'comes back in time'],
  },
  {
    name: 'an archive that began anew has no new base',
    in: 'newChain',
    find: 'hasBase: false',
    replace: 'hasBase: from !== null',
    tests: ['archiver.test', 'while the target is away'],
  },
  {
    name: 'an archive that began anew lacks only what comes after that',
    in: 'Archiver.#missing',
    find: 'Math.max(0, offset - end)',
    replace: 'this.#lag',
    tests: ['archiver-gaps.test', 'all counts as missing'],
  },
  {
    name: 'a restore to a moment within a segment makes a gap',
    in: 'resumed',
    find: 'isContinued ? begin : proven',
    replace: 'proven',
    tests: ['archiver-gaps.test', 'within a segment, and wrote 4 times'],
  },
  {
    name: 'the journal waits for the archive without a limit',
    in: 'Archiver.pinned',
    find: 'stream.offset - limitBytes',
    replace: '0 - limitBytes',
    tests: ['archiver.test', 'while the target is away'],
  },
  {
    name: 'an ancestor counts beyond what is shared with it',
    in: 'Coverage.constructor',
    find: 'limits.set(runId, Math.max(limitOf(runId), validTo))',
    replace: 'limits.set(runId, Number.MAX_SAFE_INTEGER)',
    tests: ['restore-to.long', 'over a change of the run ID'],
  },
  {
    name: 'a gap before a position is overlooked',
    in: 'routeOf',
    find: 'if (at < offset) throw',
    replace: 'if (at < 0) throw',
    tests: ['restore-to.long', 'lacks something'],
  },
  {
    name: 'the hash at the end of a segment is not compared',
    in: 'checkEnd',
    find: 'hashAfter !== reached.hash',
    replace: 'hashAfter === 1n',
    tests: ['restore-to.long', 'by its hash'],
  },
  {
    name: 'the hash of a segment is not compared where it begins before the backup',
    in: 'taken',
    find: 'if (at + before.length === begin) checkJoin',
    replace: 'if (at + before.length === -1) checkJoin',
    tests: ['restore-to.long', 'wrong bytes of a segment'],
  },
  {
    name: 'the hash at the end of a segment is not compared if the goal is inside of it',
    in: 'taken',
    find: 'if (isCut && after.length > 0) hasher.push(after);',
    replace: 'if (isCut) return;',
    tests: ['restore-to.long', 'wrong bytes of a segment'],
  },
  {
    name: 'a restore to a time has the write after it',
    in: 'Stops.wantedOf',
    find: 'if ((ms > time || isDoubtful) && !isPassed)',
    replace: 'if (ms > time) upTo = at; if ((ms > time || isDoubtful) && !isPassed)',
    tests: ['restore-to.long', 'at a time'],
  },
];

function run(
  folder: string,
  [file, names]: readonly [string, string],
): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve) => {
    const path = join('test', 'archive', `${file}.ts`);
    const args = ['--test', '--test-timeout=60000', `--test-name-pattern=${names}`, path];
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    const child = spawn(process.execPath, args, { cwd: folder, env });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (text) => {
        output += text;
      });
    }
    child.on('close', (code) => resolve({ code, output }));
  });
}

/** Runs tests in a copy of the code that has the bug. */
async function outcomeOf(
  t: TestContext,
  bug: Mutation,
  tests: readonly [file: string, names: string],
): Promise<{ code: number | null; output: string }> {
  const folder = await plant(bug);
  t.after(() => rm(folder, { recursive: true, force: true }));
  for (const each of ['test/archive', 'test/support', 'tools', 'migrations', 'openapi.yaml']) {
    await cp(join(ROOT, each), join(folder, each), { recursive: true });
  }
  return run(folder, tests);
}

for (const { tests, ...bug } of BUGS) {
  test(`planted: ${bug.name}`, async (t) => {
    const { code, output } = await outcomeOf(t, bug, tests);
    assert.notEqual(code, 0, `the tests have not found it:\n${output}`);
  });
}

test('without a bug the same tests pass', async (t) => {
  const [{ tests, ...bug }] = BUGS as [(typeof BUGS)[number]];
  const found = BUGS.filter((each) => each.tests[0] === tests[0]).map((each) => each.tests[1]);
  const names = [...new Set(found)];
  const { code, output } = await outcomeOf(t, { ...bug, replace: bug.find }, [tests[0], names.join('|')]);
  assert.equal(code, 0, output);
  assert.match(output, new RegExp(`^ℹ pass ${names.length}$`, 'm'), output);
});
