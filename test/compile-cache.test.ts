/** Compiled code comes from folders only in which nobody else may write: who can put code there runs it as this user. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { temporaryFolder } from './support/cluster.ts';
import { MAIN } from './support/main-file.ts';

/** Runs a command of psyncd with this home and no other place for compiled code. */
function ran(home: string, environment: Readonly<Record<string, string>> = {}): void {
  const { PATH = '' } = process.env;
  const env = { PATH, HOME: home, TMPDIR: join(home, 'tmp'), ...environment };
  mkdirSync(env.TMPDIR, { recursive: true });
  const { status, stderr } = spawnSync(process.execPath, [MAIN, '--version'], { env, encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  assert.deepEqual(readdirSync(env.TMPDIR), [], 'something is in the folder for temporary files');
}

test('the folder is within the home, or where XDG_CACHE_HOME says, for this user alone', async (t) => {
  const place = await temporaryFolder(t);
  ran(place);
  assert.notDeepEqual(readdirSync(join(place, '.cache', 'psyncd', 'compiled')), []);
  ran(place, { XDG_CACHE_HOME: join(place, 'elsewhere') });
  assert.notDeepEqual(readdirSync(join(place, 'elsewhere', 'psyncd', 'compiled')), []);
});

test('nothing is kept in a folder that others may write, nor without a home', async (t) => {
  const home = await temporaryFolder(t);
  mkdirSync(join(home, '.cache'));
  chmodSync(join(home, '.cache'), 0o777);
  ran(home);
  assert.deepEqual(readdirSync(join(home, '.cache', 'psyncd', 'compiled')), []);
  ran(home, { HOME: '/nonexistent' });
});
