/** What is published: `npm run build`, packed, and unpacked into an empty folder. */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, cp, mkdir, readdir, readFile, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { temporaryFolder } from './support/cluster.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const run = promisify(execFile);
/** Paths of a checkout that no build needs. */
const BUILT_OR_FOREIGN = /(?:^|\/)(?:node_modules|dist|\.git|psyncd-data[^/]*)$/;

test('the packed tarball runs `npx psyncd serve` in an empty folder', async (t) => {
  const folder = await temporaryFolder(t);
  // npm builds before it packs, and other tests use what is built in the checkout.
  const source = await temporaryFolder(t);
  await cp(ROOT, source, {
    recursive: true,
    filter: (path) => !BUILT_OR_FOREIGN.test(path.slice(ROOT.length)),
  });
  await symlink(join(ROOT, 'node_modules'), join(source, 'node_modules'));
  await run('npm', ['pack', '--pack-destination', folder], { cwd: source });
  const [tarball = ''] = await readdir(folder);
  await mkdir(join(folder, 'node_modules', '.bin'), { recursive: true });
  await run('tar', ['-xzf', join(folder, tarball), '-C', join(folder, 'node_modules')]);
  const home = join(folder, 'node_modules', 'psyncd');
  await run('mv', [join(folder, 'node_modules', 'package'), home]);
  // What npm would fetch for it is here already; a test has no network. Only what it declares is linked,
  // and React, which applications have.
  const { dependencies, bin } = JSON.parse(await readFile(join(home, 'package.json'), 'utf8'));
  for (const name of [...Object.keys(dependencies), 'react']) {
    await mkdir(join(folder, 'node_modules', name, '..'), { recursive: true });
    await symlink(join(ROOT, 'node_modules', name), join(folder, 'node_modules', name));
  }
  await symlink(join(home, bin.psyncd), join(folder, 'node_modules', '.bin', 'psyncd'));

  // What applications import, under the name that they import it by.
  const script =
    "import { Client, follow, mirror, indexedDbStorage } from 'psyncd/client'; console.log(typeof mirror)";
  const imported = await run(process.execPath, ['--input-type=module', '-e', script], { cwd: folder });
  assert.equal(imported.stdout, 'function\n');

  // The package psyncd-client is the same client.
  const built = join(source, 'packages', 'client', 'dist');
  assert.deepEqual(
    (await readdir(built, { recursive: true })).sort(),
    (await readdir(join(home, 'dist', 'client'), { recursive: true })).sort(),
  );
  for (const entry of ['full', 'admin']) {
    const use = `import { Client } from 'psyncd/client/${entry}'; console.log(typeof Client)`;
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', use], { cwd: folder });
    assert.equal(stdout, 'function\n');
  }

  const transport =
    "import { nodeTransport } from 'psyncd/client/node'; console.log(typeof nodeTransport({}).fetch)";
  const inNode = await run(process.execPath, ['--input-type=module', '-e', transport], { cwd: folder });
  assert.equal(inNode.stdout, 'function\n');

  const hooks = "import { useEntry } from 'psyncd/client/react'; console.log(typeof useEntry)";
  const withReact = await run(process.execPath, ['--input-type=module', '-e', hooks], { cwd: folder });
  assert.equal(withReact.stdout, 'function\n');

  const child = spawn('npx', ['--no-install', 'psyncd', 'serve', '--port', '0'], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'inherit'],
    // npx is a parent that passes no signals on: both end as one group.
    detached: true,
  });
  t.after(() => {
    try {
      process.kill(-(child.pid as number), 'SIGKILL');
    } catch {
      // It has ended, as it should.
    }
  });
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  const url = /^psyncd listening on (http:\S+) role=master/.exec(line)?.[1];
  assert.ok(url !== undefined, line);
  assert.equal((await fetch(`${url}/v1/keys/k`, { method: 'PUT', body: 'v' })).status, 201);
  assert.equal(await (await fetch(`${url}/v1/keys/k`)).text(), 'v');
  assert.deepEqual((await readdir(join(folder, 'psyncd-data'))).includes('psyncd.db'), true);
  const exited = once(child, 'exit');
  process.kill(-(child.pid as number), 'SIGTERM');
  await exited;
});

test('without the packages for building, as after `npm ci --omit=dev`, `npm ci` builds nothing and does not fail', async (t) => {
  const folder = await temporaryFolder(t);
  await copyFile(join(ROOT, 'package.json'), join(folder, 'package.json'));
  await mkdir(join(folder, 'src'));
  await run('npm', ['run', 'prepare'], { cwd: folder });
  assert.deepEqual((await readdir(folder)).sort(), ['package.json', 'src']);
});
