/** examples/react as a project of its own: compiled, built by Vite, and used in a real browser. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cp, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Page } from 'playwright-core';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { builtClient, launched, WITHOUT_BROWSER } from '../support/browser.ts';
import { Cluster, temporaryFolder, textOf } from '../support/cluster.ts';
import { replaced } from '../support/program.ts';
import { staticFiles } from '../support/static-files.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const run = promisify(execFile);
/** Stands in the built page for the node, which is not there yet. */
const NODE = 'http://node.invalid';
/** What the project installs beside psyncd-client. */
const PACKAGES = [
  'react',
  'react-dom',
  'scheduler',
  'vite',
  '@vitejs/plugin-react',
  '@types/react',
  '@types/react-dom',
  'csstype',
];

/** Builds the example in a folder where psyncd-client is installed as applications have it. @returns the folder with the page */
async function built(t: TestContext): Promise<string> {
  const folder = await temporaryFolder(t);
  const modules = join(folder, 'node_modules');
  await cp(join(ROOT, 'examples', 'react'), folder, {
    recursive: true,
    filter: (path) => !path.endsWith('dist'),
  });
  const client = join(modules, 'psyncd-client');
  await mkdir(client, { recursive: true });
  await cp(join(ROOT, 'packages', 'client', 'package.json'), join(client, 'package.json'));
  await cp(join(await builtClient(t), 'client'), join(client, 'dist'), { recursive: true });
  for (const name of PACKAGES) {
    await mkdir(join(modules, name, '..'), { recursive: true });
    await symlink(join(ROOT, 'node_modules', name), join(modules, name));
  }
  const compiler = join(ROOT, 'examples', 'node_modules', 'typescript', 'bin', 'tsc');
  const { stdout } = await run(process.execPath, [compiler, '-p', folder]).catch((error) => error);
  assert.equal(stdout, '');
  const vite = join(modules, 'vite', 'bin', 'vite.js');
  await run(process.execPath, [vite, 'build', folder], { env: { ...process.env, VITE_PSYNCD_NODES: NODE } });
  return join(folder, 'dist');
}

interface Live {
  readonly cluster: Cluster;
  readonly node: ChildNode;
  readonly page: Page;
  readonly origin: string;
}

/** Opens the page, with a node that it shows, and waits until it is live. */
async function opened(t: TestContext, folder: string): Promise<Live> {
  const site = await temporaryFolder(t);
  const origin = await staticFiles(t, [['/', site]]);
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node', '--allow-origin', origin);
  await cp(folder, site, { recursive: true });
  for (const name of await readdir(join(site, 'assets'))) {
    if (!name.endsWith('.js')) continue;
    const file = join(site, 'assets', name);
    await writeFile(file, replaced(await readFile(file, 'utf8'), [[NODE, node.url]]));
  }
  await node.client.set('task:1', 'first');
  await node.client.set('other', 'not shown');
  const page = await (await launched(t)).newPage();
  const problems: string[] = [];
  page.on('pageerror', (error) => problems.push(String(error)));
  t.after(() => assert.deepEqual(problems, []));
  // The URL does not choose the node.
  await page.goto(`${origin}/index.html?node=http://other.invalid`);
  await shows(page, 'live', 'first');
  return { cluster, node, page, origin };
}

/** Waits until the page is in this state and shows exactly these tasks. */
async function shows(page: Page, state: string, ...tasks: readonly string[]): Promise<void> {
  await until(`the page shows ${state}, ${tasks}`, async () => {
    const shown = await page.locator('li > span').allTextContents();
    const said = (await page.locator('#state').textContent()) ?? '';
    return said.startsWith(state) && JSON.stringify(shown) === JSON.stringify(tasks);
  });
}

/** Writes with curl, as a user of the node does. */
async function curl(node: ChildNode, key: string, value: string): Promise<void> {
  await run('curl', [
    '--silent',
    '--show-error',
    '--fail',
    '-X',
    'PUT',
    '--data-binary',
    value,
    `${node.url}/v1/keys/${key}`,
  ]);
}

test('the page of examples/react shows what others write, and writes itself', {
  skip: WITHOUT_BROWSER,
}, async (t) => {
  const folder = await built(t);

  await t.test('a change made with curl shows, also after a restart of the node', async (t) => {
    const { cluster, node, page, origin } = await opened(t, folder);
    const before = performance.now();
    await curl(node, 'task:1', 'changed');
    await shows(page, 'live', 'changed');
    t.diagnostic(`curl, and until the page showed it: ${Math.round(performance.now() - before)} ms`);
    await curl(node, 'task:0', '<b>before</b>');
    await shows(page, 'live', '<b>before</b>', 'changed');

    await node.stop('SIGKILL');
    await shows(page, 'not connected', '<b>before</b>', 'changed');
    const again = await cluster.restart('node', node, '--allow-origin', origin);
    await curl(again, 'task:2', 'after');
    await shows(page, 'live', '<b>before</b>', 'changed', 'after');
    const { counters } = (await again.client.replication()).feed;
    assert.deepEqual([counters.continued, counters.resets], [1, {}]);
  });

  await t.test('a user adds, edits and removes tasks, and sees when somebody else was first', async (t) => {
    const { node, page } = await opened(t, folder);
    await page.getByLabel('New task').fill('second');
    await page.getByRole('button', { name: 'Add' }).click();
    await shows(page, 'live', 'first', 'second');
    assert.equal(await page.getByLabel('New task').inputValue(), '');

    const button = (name: string): Promise<void> => page.getByRole('button', { name }).first().click();
    await button('Edit');
    await page.getByLabel('Task', { exact: true }).fill('mine');
    await button('Save');
    await shows(page, 'live', 'mine', 'second');
    assert.equal(await textOf(node, 'task:1'), 'mine');

    await button('Edit');
    await page.getByLabel('Task', { exact: true }).fill('too late');
    await curl(node, 'task:1', 'theirs');
    await page.getByText('Now it is: theirs').waitFor();
    await button('Save');
    await page.getByText('Somebody else has changed this task meanwhile.').waitFor();
    assert.equal(await textOf(node, 'task:1'), 'theirs');
    await button('Cancel');
    await shows(page, 'live', 'theirs', 'second');

    await button('Remove');
    await shows(page, 'live', 'second');
    await node.stop('SIGKILL');
    await shows(page, 'not connected', 'second');
    await page.getByLabel('New task').fill('not sent');
    await page.getByRole('button', { name: 'Add' }).click();
    await page.getByRole('alert').waitFor();
    assert.equal(await page.getByLabel('New task').inputValue(), 'not sent');
  });
});
