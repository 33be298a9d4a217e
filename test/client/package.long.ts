/** The package psyncd-client as an application has it: packed, installed without a network, imported, compiled and bundled. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cp, mkdir, readdir, readFile, rename, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { publint } from 'publint';
import { rolldown } from 'rolldown';
import { temporaryFolder } from '../support/cluster.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const run = promisify(execFile);

interface Application {
  /** Folder of the application, with the package in its `node_modules`. */
  readonly folder: string;
  /** Folder of the package there. */
  readonly installed: string;
  /** Names that it exports, such as `psyncd-client/full`. */
  readonly entries: readonly string[];
}

/** Builds and packs the package, and installs it. */
async function application(t: TestContext): Promise<Application> {
  const folder = await temporaryFolder(t);
  const [source, built, home] = [join(folder, 'source'), join(folder, 'built'), join(folder, 'application')];
  const client = join(ROOT, 'packages', 'client');
  await cp(client, source, { recursive: true, filter: (path) => !path.includes(join(client, 'dist')) });
  const flags = ['-p', 'tsconfig.client.json', '--noEmit', 'false', '--outDir', built];
  await run(join(ROOT, 'node_modules', '.bin', 'tsc'), flags, { cwd: ROOT });
  await rename(join(built, 'client'), join(source, 'dist'));
  await run('npm', ['pack', '--pack-destination', folder], { cwd: source });
  const tarball = (await readdir(folder)).find((name) => name.endsWith('.tgz')) ?? '';
  await mkdir(home);
  await writeFile(join(home, 'package.json'), '{"name":"application","type":"module"}');
  const quietly = ['--offline', '--no-audit', '--no-fund', '--cache', join(folder, 'cache')];
  await run('npm', ['install', ...quietly, join(folder, tarball)], { cwd: home });
  const installed = join(home, 'node_modules', 'psyncd-client');
  const { exports } = JSON.parse(await readFile(join(installed, 'package.json'), 'utf8'));
  const entries = Object.keys(exports)
    .filter((name) => name !== './package.json')
    .map((name) => `psyncd-client${name.slice(1)}`);
  return { folder: home, installed, entries };
}

test('an application imports and requires each entry of psyncd-client, which brings nothing but itself', async (t) => {
  const { folder, installed, entries } = await application(t);
  assert.deepEqual(
    (await readdir(join(folder, 'node_modules'))).filter((name) => !name.startsWith('.')),
    ['psyncd-client'],
  );
  assert.deepEqual((await readdir(installed)).sort(), ['LICENSE', 'README.md', 'dist', 'package.json']);
  const { messages } = await publint({ pkgDir: installed, strict: true });
  assert.deepEqual(messages, []);
  const uses: Readonly<Record<string, string>> = {
    'psyncd-client': 'mirror',
    'psyncd-client/full': 'Client',
    'psyncd-client/admin': 'AdminClient',
    'psyncd-client/collection': 'collection',
    'psyncd-client/optimistic': 'optimistic',
    'psyncd-client/react': 'useEntry',
  };
  assert.deepEqual(entries, Object.keys(uses));
  // The application brings React itself.
  await symlink(join(ROOT, 'node_modules', 'react'), join(folder, 'node_modules', 'react'));
  for (const [entry, use] of Object.entries(uses)) {
    for (const script of [
      `import { ${use} } from '${entry}'; console.log(typeof ${use})`,
      `const { ${use} } = require('${entry}'); console.log(typeof ${use})`,
    ]) {
      const type = script.startsWith('import') ? 'module' : 'commonjs';
      const { stdout } = await run(process.execPath, [`--input-type=${type}`, '-e', script], { cwd: folder });
      assert.equal(stdout, 'function\n', script);
    }
  }
});

test('psyncd-client compiles in applications with and without the types of browsers', async (t) => {
  const { folder } = await application(t);
  await writeFile(join(folder, 'application.ts'), APPLICATION);
  await writeFile(join(folder, 'common.cts'), COMMON);
  for (const [compiler, ...args] of COMPILERS) {
    for (const lib of ['es2024', 'es2024,dom']) {
      const files = args.includes('nodenext') ? ['application.ts', 'common.cts'] : ['application.ts'];
      const strict = ['--noEmit', '--strict', '--exactOptionalPropertyTypes', '--target', 'es2024'];
      const use = [...args, ...strict, '--lib', lib, ...files];
      const { stdout } = await run(join(ROOT, compiler), use, { cwd: folder }).catch((error) => error);
      assert.equal(stdout, '', `${compiler} ${args.join(' ')}, ${lib}`);
    }
  }
});

test('a bundle has of psyncd-client what the application uses, and nothing else', async (t) => {
  const { folder } = await application(t);
  const sizes = [];
  for (const [name, source] of Object.entries({
    nothing: "import 'psyncd-client';",
    follow: "export { follow } from 'psyncd-client';",
    everything: "export * from 'psyncd-client';",
  })) {
    await writeFile(join(folder, `${name}.js`), source);
    const build = await rolldown({ input: join(folder, `${name}.js`) });
    t.after(() => build.close());
    const { output } = await build.generate({ format: 'esm', minify: true });
    assert.equal(output.length, 1);
    assert.deepEqual(output[0].imports, []);
    sizes.push(output[0].code.trim().length);
  }
  const [nothing = 0, follow = 0, everything = 0] = sizes;
  assert.equal(nothing, 0);
  assert.ok(follow > 0 && follow < everything / 2);
});

/** What is wrong in it is an error; its libraries are checked too. */
const APPLICATION = `
import { ApiError, Client, type FeedEvent, follow, mirror } from 'psyncd-client';
import { Client as FullClient } from 'psyncd-client/full';
import { AdminClient } from 'psyncd-client/admin';
import { collection } from 'psyncd-client/collection';
import { optimistic } from 'psyncd-client/optimistic';

const users = mirror({ url: 'http://node', prefix: 'user:' });
const shown: string | Uint8Array | undefined = users.get('user:1');
for await (const event of follow({ urls: ['http://node'] })) {
  const each: FeedEvent = event;
  if (each.type === 'set') each.key.length;
}
const page = new Client('http://node', { token: async () => 'token', headers: () => ({ 'x-trace': '1' }) });
const writes = optimistic(users, page);
const typed = collection(writes, { decode: (value) => value.length });
const length: number | undefined = typed.get('user:1');
if (length !== undefined) await writes.set('user:1', 'x'.repeat(length), { ifVersion: typed.getEntry('user:1')?.version });
const value = await page.get('key');
if (value !== null) await page.set('copy', value, { acks: 1 });
if (shown !== undefined) await page.set('shown', shown);
const entry = await page.entry('key');
if (entry !== null) await page.set(entry.key, entry.value, { ifVersion: entry.version });
const full = new FullClient(['http://a', 'http://b'], { retries: 5, timeoutMs: 1000, readOwnWrites: true });
await full.get('key', { timeoutMs: 100, retries: 0 });
for await (const { key, expiresAt } of full.entries({ prefix: 'user:', limit: 1000 })) key + expiresAt;
const { lines } = await full.export();
await full.import(lines);
try {
  await new AdminClient('http://node').failover();
} catch (error) {
  if (error instanceof ApiError && error.code === 'FAILOVER_REFUSED') error.problem.detail;
  // @ts-expect-error no such code
  if (error instanceof ApiError && error.code === 'NO_SUCH_CODE') error.status;
}
// @ts-expect-error only the full client gives requests a time
await page.get('key', { timeoutMs: 100 });
// @ts-expect-error an operator names one node
new AdminClient(['http://a', 'http://b']);
`;
const COMMON = `
import client = require('psyncd-client');
new client.Client('http://node').replication().then(({ role }) => role === 'master');
`;
/** The present TypeScript, and the one before, each as Node resolves and as bundlers do. */
const COMPILERS: readonly (readonly [string, ...string[]])[] = [
  ['node_modules/.bin/tsc', '--ignoreConfig', '--module', 'nodenext'],
  ['node_modules/.bin/tsc', '--ignoreConfig', '--module', 'esnext', '--moduleResolution', 'bundler'],
  ['examples/node_modules/typescript/bin/tsc', '--module', 'nodenext'],
  ['examples/node_modules/typescript/bin/tsc', '--module', 'esnext', '--moduleResolution', 'bundler'],
];
