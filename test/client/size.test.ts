/** What a page has to load: the built client without comments, each file compressed as a server would. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { temporaryFolder } from '../support/cluster.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** As one file, compressed. A minifier brings it to about two thirds. */
const MAX_CLIENT_BYTES = 10 * 1024;

test('the client is small, imports nothing but itself, and carries its types', async (t) => {
  const folder = await temporaryFolder(t);
  const flags = ['-p', 'tsconfig.client.json', '--noEmit', 'false', '--removeComments', '--outDir', folder];
  await promisify(execFile)(join(ROOT, 'node_modules', '.bin', 'tsc'), flags, { cwd: ROOT });
  const names = await readdir(join(folder, 'client'));
  const scripts = names.filter((name) => name.endsWith('.js'));
  const texts = await Promise.all(scripts.map((name) => readFile(join(folder, 'client', name), 'utf8')));
  const bytes = gzipSync(texts.join('')).length;
  assert.ok(bytes <= MAX_CLIENT_BYTES, `${bytes} bytes`);
  t.diagnostic(`${bytes} of ${MAX_CLIENT_BYTES} bytes`);
  for (const [, specifier = ''] of texts.join('').matchAll(/(?:from|import) '([^']*)'/g)) {
    assert.ok(scripts.includes(specifier.slice(2)) && specifier.startsWith('./'), specifier);
  }
  for (const name of scripts) assert.ok(names.includes(name.replace(/js$/, 'd.ts')), name);
});
