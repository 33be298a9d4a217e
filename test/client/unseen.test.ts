/** No promise of the client rejects unseen: the runner of these tests listens, and this is the proof that it does. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { temporaryFolder } from '../support/cluster.ts';

const PROGRAMS = {
  'while a test runs': `await new Promise((resolve) => { reject(); setTimeout(resolve, 10); })`,
  'after the test': `setTimeout(reject, 10)`,
};
for (const [when, act] of Object.entries(PROGRAMS)) {
  test(`a promise that rejects unseen ${when} makes a file of tests fail`, async (t) => {
    const folder = await temporaryFolder(t);
    const file = join(folder, 'unseen.test.mjs');
    const source = `
      import test from 'node:test';
      const reject = () => void Promise.reject(new Error('unseen'));
      test('a test', async () => { ${act}; });`;
    await writeFile(file, source);
    // In a file of tests this variable says that results go to the runner.
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    const child = spawn(process.execPath, ['--test', file], { env, stdio: 'ignore' });
    assert.deepEqual(await once(child, 'close'), [1, null]);
  });
}
