/** The page of the tutorial in docs/client.md, in a real browser. */
import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { builtClient, launched, WITHOUT_BROWSER } from '../support/browser.ts';
import { Cluster, temporaryFolder } from '../support/cluster.ts';
import { staticFiles } from '../support/static-files.ts';

test('the page of the tutorial shows and saves entries, and keeps them while the node is away', {
  skip: WITHOUT_BROWSER,
}, async (t) => {
  const folder = await temporaryFolder(t);
  const origin = await staticFiles(t, [
    ['/node_modules/psyncd-client/dist/', join(await builtClient(t), 'client')],
    ['/', folder],
  ]);
  const cluster = await Cluster.create(t);
  let node = await cluster.start('node', '--allow-origin', origin);
  await node.client.set('user:1', 'Ada');
  const tutorial = await readFile(new URL('../../docs/client.md', import.meta.url), 'utf8');
  const [, html = ''] = /^```html\n([\s\S]*?)^```$/m.exec(tutorial) ?? [];
  assert.match(html, /http:\/\/127\.0\.0\.1:7796/);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'index.html'), html.replaceAll('http://127.0.0.1:7796', node.url));

  const page = await (await launched(t)).newPage();
  const shows = (state: string, ...users: string[]): Promise<unknown> =>
    until(`the page is ${state} and shows ${users.join(', ')}`, async () => {
      const shown = await page.locator('#users li').allTextContents();
      const isState = (await page.locator('#state').textContent()) === state;
      return isState && shown.sort().join() === users.sort().join();
    });
  await page.goto(`${origin}/index.html`);
  await shows('live', 'user:1: Ada');
  await node.client.set('user:2', 'Grace');
  await shows('live', 'user:1: Ada', 'user:2: Grace');
  await page.fill('[name=id]', '3');
  await page.fill('[name=name]', 'Barbara');
  await page.click('button');
  await shows('live', 'user:1: Ada', 'user:2: Grace', 'user:3: Barbara');
  assert.equal((await node.client.entry('user:3'))?.value, 'Barbara');

  await until('the browser has stored the last entry', () => page.evaluate(HAS_STORED));

  const before: ChildNode = node;
  await before.stop('SIGTERM');
  await until('the page waits', async () => (await page.locator('#state').textContent()) === 'waiting');
  await page.fill('[name=id]', '4');
  await page.fill('[name=name]', 'Edsger');
  await page.click('button');
  await until('the page says what it could not save', async () =>
    /^4 was not saved: ./.test((await page.locator('#problem').textContent()) ?? ''),
  );
  assert.equal(await page.inputValue('[name=name]'), 'Edsger');
  await page.reload();
  await until('the page has its entries', async () => (await page.locator('#users li').count()) === 3);
  node = await cluster.restart('node', before, '--allow-origin', origin);
  await node.client.delete('user:1');
  await shows('live', 'user:2: Grace', 'user:3: Barbara');
});

/** Run in the page: whether IndexedDB has the entry. */
const HAS_STORED = `new Promise((resolve, reject) => {
  const opening = indexedDB.open('psyncd:users');
  opening.onerror = () => reject(opening.error);
  opening.onsuccess = () => {
    const asking = opening.result.transaction('entries').objectStore('entries').get('user:3');
    asking.onerror = () => reject(asking.error);
    asking.onsuccess = () => {
      opening.result.close();
      resolve(asking.result !== undefined);
    };
  };
})`;
