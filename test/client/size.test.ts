/** What a page has to load: the client as a bundler makes it of the built files, compressed as a server would. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { rolldown } from 'rolldown';
import { temporaryFolder } from '../support/cluster.ts';

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** Most bytes of what each page imports: minified, without unused code, and compressed. */
const MAX_BYTES: readonly (readonly [entry: string, exported: string, most: number, outside?: string[]])[] = [
  ['index.js', 'export *', 10 * 1024],
  ['index.js', 'export { follow }', 3.2 * 1024],
  ['full/index.js', 'export *', 4.5 * 1024],
  ['admin/index.js', 'export *', 5 * 1024],
  ['collection/index.js', 'export *', 2 * 1024],
  ['optimistic/index.js', 'export *', 4 * 1024],
  // All hooks for React, without React.
  ['react/index.js', 'export *', 1024, ['react']],
];

test('the client is small, imports nothing but itself, and carries its types', async (t) => {
  const folder = await temporaryFolder(t);
  const flags = ['-p', 'tsconfig.client.json', '--noEmit', 'false', '--outDir', folder];
  await run(join(ROOT, 'node_modules', '.bin', 'tsc'), flags, { cwd: ROOT });
  for (const [entry, exported, most, outside = []] of MAX_BYTES) {
    const { code, imports } = await bundled(join(folder, 'client', entry), exported);
    const bytes = gzipSync(code).length;
    const what = `${entry}, ${exported}: ${bytes} of ${most} bytes`;
    t.diagnostic(what);
    assert.ok(bytes <= most, what);
    assert.deepEqual(imports, outside);
  }
  const names = await readdir(join(folder, 'client'), { recursive: true });
  for (const name of names.filter((each) => each.endsWith('.js'))) {
    assert.ok(names.includes(name.replace(/js$/, 'd.ts')), name);
  }
  await writeFile(join(folder, 'package.json'), '{"type":"module"}');
  await writeFile(join(folder, 'application.ts'), APPLICATION);
  await compiles(folder, 'application.ts');
  // From here on React's types can be found.
  await mkdir(join(folder, 'node_modules', '@types'), { recursive: true });
  for (const name of ['@types/react', 'csstype']) {
    await symlink(join(ROOT, 'node_modules', name), join(folder, 'node_modules', name));
  }
  await writeFile(join(folder, 'react.ts'), REACT_APPLICATION);
  await compiles(folder, 'react.ts');
});

/** Asserts that no compiler finds an error in an application. */
async function compiles(folder: string, name: string): Promise<void> {
  for (const [compiler, ...args] of COMPILERS) {
    const strict = ['--noEmit', '--strict', '--target', 'es2024', '--lib', 'es2024,dom'];
    const use = [...args, ...strict, '--typeRoots', join(folder, 'none'), join(folder, name)];
    const { stdout } = await run(join(ROOT, compiler), use, { cwd: folder }).catch((error) => error);
    assert.equal(stdout, '', `${compiler} ${name}`);
  }
}

/** Makes one minified file of what a page uses of the client: `exported` is the statement without its `from`. */
async function bundled(
  client: string,
  exported: string,
): Promise<{ readonly code: string; readonly imports: readonly string[] }> {
  const page = 'page.js';
  const source = `${exported} from ${JSON.stringify(client)};`;
  const build = await rolldown({
    input: page,
    external: ['react'],
    // Bundlers that know what the directive `use client` means keep it.
    checks: { moduleLevelDirective: false },
    plugins: [
      {
        name: 'page',
        resolveId: (id) => (id === page ? id : null),
        load: (id) => (id === page ? source : null),
      },
    ],
  });
  try {
    const { output } = await build.generate({ format: 'esm', minify: true });
    const [chunk] = output;
    assert.equal(output.length, 1);
    return chunk;
  } finally {
    await build.close();
  }
}

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
/** An application with React's types too: the hooks return what the mirror has. */
const REACT_APPLICATION = `
import { createElement, type ReactNode } from 'react';
import { type Entry, mirror } from './client/index.js';
import { InitialEntries, type LiveMirror, useEntries, useEntry, useMirrorState } from './client/react/index.js';
const copy = mirror({ url: 'http://node' });
interface User { readonly key: string; readonly value: { readonly name: string } }
declare const users: LiveMirror<User>;
export function App({ entries }: { entries: readonly Entry[] }): ReactNode {
  const entry: Entry | undefined = useEntry(copy, 'key');
  const all: readonly Entry[] = useEntries(copy, { prefix: 'a' });
  const names: readonly string[] = useEntries(users).map(({ value }) => value.name);
  const name: string | undefined = useEntry(users, 'key')?.value.name;
  const state = useMirrorState(copy);
  const waits: string = state.kind === 'waiting' ? state.detail : '';
  useMirrorState(users);
  useEntry<Entry>(null, 'key');
  // @ts-expect-error the mirror has other entries
  const wrong: User | undefined = useEntry(copy, 'key');
  // @ts-expect-error an entry may be missing
  useEntry(copy, 'key').value;
  // @ts-expect-error a mirror is needed
  useEntries({ prefix: 'a' });
  return createElement(InitialEntries, { entries }, entry?.key, all.length, names, name, waits, wrong?.key);
}
`;
/** The present TypeScript, as Node resolves, and the one before, as bundlers do. */
const COMPILERS = [
  ['node_modules/.bin/tsc', '--ignoreConfig', '--module', 'nodenext'],
  ['examples/node_modules/typescript/bin/tsc', '--module', 'esnext', '--moduleResolution', 'bundler'],
] as const;
