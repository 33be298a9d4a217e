/** A page whose policy forbids the node: the browser says so little that a client may wait for more. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { builtClient, launched, WITHOUT_BROWSER } from '../support/browser.ts';
import { temporaryFolder } from '../support/cluster.ts';
import { FeedModel } from '../support/feed-model.ts';
import { scriptedFeed } from '../support/scripted-feed.ts';
import { staticFiles } from '../support/static-files.ts';

test('an attempt ends at once if the policy of the page forbids the URL, and the next node is asked', {
  skip: WITHOUT_BROWSER,
}, async (t) => {
  const history = new FeedModel();
  history.set('a', '1');
  const [forbidden, allowed] = [
    await scriptedFeed(t, () => []),
    await scriptedFeed(t, () => history.from(undefined)),
  ];
  const folder = await temporaryFolder(t);
  const policy = `connect-src ${allowed.url.replace('http', 'ws')}`;
  await writeFile(
    join(folder, 'page.html'),
    `<!doctype html><meta http-equiv="Content-Security-Policy" content="${policy}"><title>page</title>`,
  );
  const origin = await staticFiles(t, [
    ['/dist/', await builtClient(t)],
    ['/', folder],
  ]);
  const page = await (await launched(t)).newPage();
  await page.goto(`${origin}/page.html`);
  const urls = [forbidden.url, allowed.url];
  const told = await page.evaluate(`(async () => {
    const { mirror } = await import('/dist/client/index.js');
    const told = [];
    const copy = mirror({ urls: ${JSON.stringify(urls)}, connectMs: 1e9 });
    copy.on('state', ({ kind, url, detail }) => { if (kind === 'waiting') told.push([url, detail]); });
    await copy.ready;
    told.push(copy.get('a'));
    await copy.close();
    return told;
  })()`);
  assert.deepEqual(told, [[forbidden.url, 'cannot connect'], '1']);
  assert.equal(forbidden.requests.length, 0);
});
