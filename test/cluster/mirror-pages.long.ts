/** Mirrors in pages of a real browser: what they store, which tab stores, and that the page stays responsive meanwhile. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import type { BrowserContext, Page } from 'playwright-core';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { builtClient, launched, WITHOUT_BROWSER } from '../support/browser.ts';
import { Cluster, linkState, temporaryFolder, textOf } from '../support/cluster.ts';
import { staticFiles } from '../support/static-files.ts';

interface Site {
  readonly node: ChildNode;
  /** Starts a replica of the node. */
  replica(): Promise<ChildNode>;
  readonly context: BrowserContext;
  /** Opens a page of the site. */
  page(): Promise<Page>;
}

/** A node, a browser, and a web server with an empty page and the client library. */
async function site(t: TestContext): Promise<Site> {
  const folder = await temporaryFolder(t);
  await writeFile(join(folder, 'page.html'), '<!doctype html><title>page</title>');
  const origin = await staticFiles(t, [
    ['/dist/', await builtClient(t)],
    ['/', folder],
  ]);
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node', '--allow-origin', origin);
  const context = await (await launched(t)).newContext();
  return {
    node,
    replica: async () => {
      const replica = await cluster.start('replica', '--allow-origin', origin, '--replica-of', node.wsUrl);
      await linkState(replica, 'streaming');
      return replica;
    },
    context,
    page: async () => {
      const page = await context.newPage();
      await page.goto(`${origin}/page.html`);
      return page;
    },
  };
}

/** Opens a stored mirror in the page as `window.copy`, and waits until it is ready. */
async function mirrored(page: Page, node: ChildNode): Promise<void> {
  await page.evaluate(`(async () => {
    const { indexedDbStorage, mirror } = await import('/dist/client/index.js');
    window.errors = [];
    window.copy = mirror({ url: ${JSON.stringify(node.url)}, storage: indexedDbStorage('copy') });
    window.copy.on('storage-error', ({ error }) => window.errors.push(String(error)));
    await window.copy.ready;
  })()`);
}

/** Waits until a page of the site would load this value. */
async function stored(page: Page, key: string, value: string): Promise<void> {
  await until(`${key} is stored`, async () => {
    const found = await page.evaluate(`(async () => {
      const { indexedDbStorage } = await import('/dist/client/index.js');
      const storage = indexedDbStorage('copy');
      const loaded = await storage.load();
      await storage.close();
      return [...(loaded?.entries ?? [])].find(({ key }) => key === ${JSON.stringify(key)})?.value;
    })()`);
    return found === value;
  });
}

test('of two tabs one stores; the other one takes over when that one is closed', {
  skip: WITHOUT_BROWSER,
}, async (t) => {
  const { node, page } = await site(t);
  await node.client.set('a', '1');
  const [first, second] = [await page(), await page()];
  await mirrored(first, node);
  await stored(first, 'a', '1');
  await mirrored(second, node);
  const locks = await second.evaluate(`navigator.locks.query()
    .then(({ held, pending }) => [held.length, pending.length])`);
  assert.deepEqual(locks, [1, 1]);
  await node.client.set('a', '2');
  await stored(second, 'a', '2');
  await first.close();
  await node.client.set('a', '3');
  await stored(second, 'a', '3');
  assert.deepEqual(await second.evaluate('errors'), []);
});

test('a tab whose site data is deleted stores everything anew', { skip: WITHOUT_BROWSER }, async (t) => {
  const { node, context, page } = await site(t);
  await node.client.set('a', '1');
  await node.client.set('b', '1');
  const tab = await page();
  await mirrored(tab, node);
  await stored(tab, 'b', '1');
  const session = await context.newCDPSession(tab);
  await session.send('Storage.clearDataForOrigin', {
    origin: new URL(tab.url()).origin,
    storageTypes: 'all',
  });
  await node.client.set('b', '2');
  await stored(tab, 'b', '2');
  await stored(tab, 'a', '1');
});

test('a page that is reloaded continues from its position, with the stored entries', {
  skip: WITHOUT_BROWSER,
}, async (t) => {
  const { node, page } = await site(t);
  await node.client.set('a', '1');
  await node.client.set('b', '1');
  const tab = await page();
  await mirrored(tab, node);
  await stored(tab, 'b', '1');
  const { feed } = await node.client.replication();
  await tab.reload();
  await node.client.set('b', '2');
  await mirrored(tab, node);
  assert.deepEqual(await tab.evaluate('[copy.get("a"), copy.get("b"), errors]'), ['1', '2', []]);
  const { counters } = (await node.client.replication()).feed;
  assert.deepEqual(counters, { ...feed.counters, continued: feed.counters.continued + 1 });
});

test('a page over its quota says so, and its mirror stays live', { skip: WITHOUT_BROWSER }, async (t) => {
  const { node, context, page } = await site(t);
  for (let index = 0; index < 20; index += 1) await node.client.set(`k${index}`, 'x'.repeat(500_000));
  const tab = await page();
  const session = await context.newCDPSession(tab);
  const { origin } = new URL(tab.url());
  await session.send('Storage.overrideQuotaForOrigin', { origin, quotaSize: 1_000_000 });
  await mirrored(tab, node);
  await until('the error is told', () => tab.evaluate('errors.length === 1'));
  assert.match(String(await tab.evaluate('errors[0]')), /Quota/);
  const { position } = await node.client.set('k0', 'small');
  await tab.evaluate(`copy.waitFor(${JSON.stringify(position)})`);
  assert.deepEqual(await tab.evaluate('[copy.get("k0"), copy.state.kind, errors.length]'), [
    'small',
    'live',
    1,
  ]);
});

test('an entry expires in a page at its time, with an event, while the node is away', {
  skip: WITHOUT_BROWSER,
}, async (t) => {
  const { node, page } = await site(t);
  const tab = await page();
  await mirrored(tab, node);
  const changed = tab.evaluate(
    `new Promise((resolve) => copy.subscribe(() => resolve(copy.get('k')), { key: 'k' }))`,
  );
  const { position } = await node.client.set('k', 'v', { ttl: 8 });
  assert.equal(await changed, 'v');
  const gone = tab.evaluate(
    `new Promise((resolve) => copy.subscribe(() => resolve(copy.snapshot()), { key: 'k' }))`,
  );
  await node.stop('SIGKILL');
  assert.deepEqual(await gone, []);
  assert.equal(await tab.evaluate('copy.position'), position);
});

test('a mirror in a worker stores and follows as in a page', { skip: WITHOUT_BROWSER }, async (t) => {
  const { node, page } = await site(t);
  await node.client.set('a', '1');
  const tab = await page();
  const script = `
    const { indexedDbStorage, mirror } = await import(self.name + '/dist/client/index.js');
    const copy = mirror({ url: ${JSON.stringify(node.url)}, storage: indexedDbStorage('copy') });
    copy.subscribe(() => postMessage(copy.get('a')), { key: 'a' });
  `;
  await tab.evaluate(`{
    window.told = [];
    const script = URL.createObjectURL(new Blob([${JSON.stringify(script)}], { type: 'text/javascript' }));
    window.worker = new Worker(script, { type: 'module', name: location.origin });
    worker.onmessage = ({ data }) => window.told.push(data);
  }`);
  await until('the worker has the entry', () => tab.evaluate('told.includes("1")'));
  await node.client.set('a', '2');
  await until('the worker has the change', () => tab.evaluate('told.includes("2")'));
  await stored(tab, 'a', '2');
});

test('a page that comes online again connects at once', { skip: WITHOUT_BROWSER }, async (t) => {
  const { node, context, page } = await site(t);
  await node.client.set('a', '1');
  const tab = await page();
  await tab.evaluate(`import('/dist/client/index.js').then((client) => { window.client = client; })`);
  await context.setOffline(true);
  await tab.evaluate(`{
    window.copy = client.mirror({ url: ${JSON.stringify(node.url)}, retryBaseMs: 1e9, retryMaxMs: 1e9 });
  }`);
  // The second pause is a long one.
  await until('the page waits', () =>
    tab.evaluate('copy.state.kind === "waiting" && copy.state.delayMs > 1000'),
  );
  await context.setOffline(false);
  await tab.evaluate('copy.ready');
  assert.equal(await tab.evaluate('copy.get("a")'), '1');
});

test('a page shows its writes at once, also offline, and after a reload what the nodes have', {
  skip: WITHOUT_BROWSER,
}, async (t) => {
  const { node, context, page, replica: started } = await site(t);
  const replica = await started();
  await node.client.set('a', '1');
  const tab = await page();
  const open = `(async () => {
    const [{ Client, mirror }, { optimistic }] = await Promise.all([
      import('/dist/client/index.js'),
      import('/dist/client/optimistic/index.js'),
    ]);
    window.copy = mirror({ url: ${JSON.stringify(replica.url)}, retryBaseMs: 10, retryMaxMs: 100 });
    await copy.ready;
    window.writes = optimistic(copy, new Client(${JSON.stringify(node.url)}));
  })()`;
  await tab.evaluate(open);
  const [shown, pending] = (await tab.evaluate(`(() => {
    window.all = [writes.set('a', '2'), writes.set('b', '{}'), writes.delete('nobody')];
    return [writes.get('a'), writes.pending];
  })()`)) as unknown[];
  assert.deepEqual([shown, pending], ['2', 3]);
  await tab.evaluate('Promise.all(all)');
  assert.deepEqual(await tab.evaluate('[copy.get("a"), writes.pending]'), ['2', 0]);
  const refusal = tab.evaluate(`writes.set('a', '3', { ifVersion: 1 }).catch(({ code }) => code)`);
  assert.equal(await refusal, 'PRECONDITION_FAILED');
  await context.setOffline(true);
  await tab.evaluate('copy.reconnect()');
  await until('the page is offline', () => tab.evaluate('copy.state.kind === "waiting"'));
  await tab.evaluate(`void (window.late = writes.patch('b', { late: true }))`);
  assert.deepEqual(await tab.evaluate('[writes.get("b"), copy.get("b")]'), ['{"late":true}', '{}']);
  await context.setOffline(false);
  await tab.evaluate('late');
  assert.equal(await textOf(node, 'b'), '{"late":true}');
  await context.setOffline(true);
  await tab.evaluate('copy.reconnect()');
  await until('the page is offline', () => tab.evaluate('copy.state.kind === "waiting"'));
  await tab.evaluate(`void writes.set('a', 'never sent')`);
  await tab.evaluate('copy.close()');
  await context.setOffline(false);
  await tab.reload();
  await tab.evaluate(open);
  assert.deepEqual(await tab.evaluate('[writes.get("a"), writes.pending]'), ['2', 0]);
});

test('a page that stores and loads 100,000 entries stays responsive', {
  skip: WITHOUT_BROWSER,
}, async (t) => {
  const { page } = await site(t);
  const tab = await page();
  const [saved, loaded, entries, longest] = (await tab.evaluate(`(async () => {
    const { indexedDbStorage } = await import('/dist/client/index.js');
    const entries = Array.from({ length: 100_000 }, (_, index) => {
      return { key: 'key:' + index, value: 'v'.repeat(100), version: index, expiresAt: null };
    });
    const storage = indexedDbStorage('large');
    // Counts how often something else has its turn meanwhile.
    let turns = 0, longest = 0, last = 0;
    const channel = new MessageChannel();
    channel.port1.onmessage = () => {
      const now = performance.now();
      longest = Math.max(longest, now - last);
      last = now;
      turns += 1;
      channel.port2.postMessage(null);
    };
    const during = async (act) => {
      const before = turns;
      await act();
      return turns - before;
    };
    last = performance.now();
    channel.port2.postMessage(null);
    const saved = await during(() => storage.save({ kind: 'replace', scope: 's', position: 'p', entries }));
    let copy;
    const loaded = await during(async () => { copy = await storage.load(); });
    channel.port1.close();
    return [saved, loaded, copy.entries.length, Math.round(longest)];
  })()`)) as readonly number[];
  t.diagnostic(`turns while saving: ${saved}, while loading: ${loaded}; the longest pause: ${longest} ms`);
  assert.equal(entries, 100_000);
  assert.ok(Number(saved) > 50, `${saved} turns while saving`);
  assert.ok(Number(loaded) > 50, `${loaded} turns while loading`);
});
