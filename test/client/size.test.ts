/** What a page has to load: the built client without comments, each file compressed as a server would. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { temporaryFolder } from '../support/cluster.ts';

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** As one file, compressed. A minifier brings it to about two thirds: 7 kB. */
const MAX_CLIENT_BYTES = 10.5 * 1024;

test('the client is small, imports nothing but itself, and carries its types', async (t) => {
  const folder = await temporaryFolder(t);
  const flags = ['-p', 'tsconfig.client.json', '--noEmit', 'false', '--removeComments', '--outDir', folder];
  await run(join(ROOT, 'node_modules', '.bin', 'tsc'), flags, { cwd: ROOT });
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
  await writeFile(join(folder, 'package.json'), '{"type":"module"}');
  await writeFile(join(folder, 'application.ts'), APPLICATION);
  for (const [compiler, ...args] of COMPILERS) {
    const strict = ['--noEmit', '--strict', '--target', 'es2024', '--lib', 'es2024,dom'];
    const use = [...args, ...strict, '--typeRoots', folder, join(folder, 'application.ts')];
    const { stdout } = await run(join(ROOT, compiler), use, { cwd: folder }).catch((error) => error);
    assert.equal(stdout, '', compiler);
  }
});

/** An application with the types of browsers alone; what is wrong in it is an error. */
const APPLICATION = `
import { Client, type FeedEvent, follow, indexedDbStorage, type Mirror, mirror } from './client/index.js';
const copy: Mirror = mirror({
  url: 'http://node',
  storage: indexedDbStorage('name'),
  onChange: ({ changes }) => changes.map(({ key, entry }) => [key, entry?.value]),
});
const value: string | Uint8Array | undefined = copy.get('key');
for await (const event of follow({ urls: ['http://node'], prefix: ['a', 'b'] })) {
  const each: FeedEvent = event;
  if (each.type === 'set') console.log(each.key.length, value);
}
copy.on('reset', ({ reason }) => reason === 'first-sync');
await new Client('http://node').replication();
// @ts-expect-error one or the other
mirror({ url: 'a', urls: ['b'] });
// @ts-expect-error neither
follow({});
`;
/** The present TypeScript, as Node resolves, and the one before, as bundlers do. */
const COMPILERS = [
  ['node_modules/.bin/tsc', '--ignoreConfig', '--module', 'nodenext'],
  ['examples/node_modules/typescript/bin/tsc', '--module', 'esnext', '--moduleResolution', 'bundler'],
] as const;
