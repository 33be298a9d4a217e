/** What pages in a real browser can do with a node: what it lets them, and nothing else. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import type { Page } from 'playwright-core';
import { createToken, revokeToken } from '../../src/access/tokens/tokens.ts';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { Client } from '../../src/client/rest.ts';
import { builtClient, launched, WITHOUT_BROWSER } from '../support/browser.ts';
import { Cluster, temporaryFolder } from '../support/cluster.ts';
import { staticFiles, webServer } from '../support/static-files.ts';

/** A web server with an empty page and the client library. @returns its origin */
async function site(t: TestContext): Promise<string> {
  const folder = await temporaryFolder(t);
  await writeFile(join(folder, 'page.html'), '<!doctype html><title>page</title>');
  return staticFiles(t, [
    ['/dist/', await builtClient(t)],
    ['/', folder],
  ]);
}

/** What a page can do with the node: each attempt says `done`, or why not. */
async function attempts(page: Page, node: string): Promise<Readonly<Record<string, string>>> {
  return page.evaluate(`(async () => {
    const said = {};
    const attempt = async (name, act) => {
      said[name] = await act().then((value) => value ?? 'done', (error) => String(error));
    };
    const url = (path) => ${JSON.stringify(node)} + path;
    await attempt('read', async () => (await fetch(url('/v1/keys/secret'))).text());
    await attempt('write', async () => (await fetch(url('/v1/keys/from-page'), { method: 'PUT', body: 'x' })).status);
    await attempt('simple write', async () => {
      await fetch(url('/v1/keys/from-page/increment'), { method: 'POST', mode: 'no-cors' });
    });
    await attempt('delete', async () => (await fetch(url('/v1/keys/secret'), { method: 'DELETE' })).status);
    const socket = (path, protocol) => () => new Promise((resolve, reject) => {
      const ws = new WebSocket(url(path).replace('http', 'ws'), protocol);
      ws.onmessage = (message) => resolve(message.data);
      ws.onclose = () => reject('closed');
    });
    await attempt('changes', socket('/v1/changes', 'psync.v1.json'));
    await attempt('replication', socket('/v1/replication/stream', 'psync.v1'));
    await attempt('events', () => new Promise((resolve, reject) => {
      const source = new EventSource(url('/v1/changes'));
      source.onmessage = (message) => { source.close(); resolve(message.data); };
      source.onerror = () => { source.close(); reject('error'); };
    }));
    return said;
  })()`);
}

/** Whether the node still has just the one entry. */
async function isUntouched(node: ChildNode): Promise<boolean> {
  const page = (await (await fetch(`${node.url}/v1/keys`)).json()) as { keys: readonly { key: string }[] };
  return page.keys.length === 1 && page.keys[0]?.key === 'secret';
}

function assertShutOut(said: Readonly<Record<string, string>>): void {
  for (const [name, result] of Object.entries(said)) {
    assert.ok(!String(result).includes('hidden'), `${name} shows the value: ${result}`);
    const isRefused = /TypeError|closed|error|403|"code":"FORBIDDEN"/.test(String(result));
    // The page is not told how such a request ended; the node refuses it.
    assert.ok(isRefused || name === 'simple write', `${name}: ${result}`);
  }
}

test('a page of another origin can neither read, write nor follow', { skip: WITHOUT_BROWSER }, async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await node.client.set('secret', 'hidden');
  const page = await (await launched(t)).newPage();
  await page.goto(`${await site(t)}/page.html`);
  assertShutOut(await attempts(page, node.url));
  assert.ok(await isUntouched(node));
});

test('a page of another origin that sends a window to a key cannot tell whether the key is there', {
  skip: WITHOUT_BROWSER,
}, async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await node.client.set('secret', 'hidden');
  const page = await (await launched(t)).newPage();
  await page.goto(`${await site(t)}/page.html`);
  // The window of a value would be downloading, and stay the page's own.
  const becameForeign = (key: string): Promise<unknown> =>
    page.evaluate(`(async () => {
      const opened = window.open('about:blank', ${JSON.stringify(key)});
      opened.location = ${JSON.stringify(`${node.url}/v1/keys/${key}`)};
      for (let looks = 0; looks < 500; looks += 1) {
        await new Promise((resolve) => setTimeout(resolve, 10));
        try {
          void opened.location.href;
        } catch {
          return true;
        }
      }
      return false;
    })()`);
  assert.ok(await becameForeign('none'));
  assert.ok(await becameForeign('secret'));
});

test('a page that has a window go back to an address that leads to a key now cannot tell whether the key is there', {
  skip: WITHOUT_BROWSER,
}, async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await node.client.set('text', 'hidden');
  await node.client.set('bytes', Buffer.from([0xff, 0xfe, 0]));
  const browser = await launched(t);
  for (const key of ['none', 'text', 'bytes']) {
    let leadsTo: string | null = null;
    const origin = await webServer(t, (request, response) => {
      const isBack = request.url === '/first' && leadsTo !== null;
      response.writeHead(isBack ? 302 : 200, {
        'content-type': 'text/html',
        'cache-control': 'no-store',
        ...(isBack && leadsTo !== null ? { location: leadsTo } : {}),
      });
      response.end('<!doctype html><title>page</title>');
    });
    const page = await browser.newPage();
    await page.goto(`${origin}/first`);
    const [opened] = await Promise.all([
      page.waitForEvent('popup'),
      page.evaluate(`void window.open('/opened')`),
    ]);
    await page.evaluate(`void (location.href = '/second')`);
    await page.waitForURL(`${origin}/second`);
    leadsTo = `${node.url}/v1/keys/${key}`;
    await opened.evaluate(`void window.opener.history.back()`);
    // The window of a value that is downloaded would stay the page's own.
    await opened.waitForFunction(`(() => {
      try {
        return void window.opener.location.href;
      } catch {
        return true;
      }
    })()`);
    await page.close();
    await opened.close();
  }
});

test('a page whose name was pointed at the node (DNS rebinding) can neither read, write nor follow', {
  skip: WITHOUT_BROWSER,
}, async (t) => {
  const cluster = await Cluster.create(t);
  for (const flags of [[], ['--trust-proxy', '127.0.0.1', '--public-url', 'https://kv.example']]) {
    const node = await cluster.start(`node${flags.length}`, ...flags);
    await node.client.set('secret', 'hidden');
    const page = await (await launched(t, '--host-resolver-rules=MAP evil.example 127.0.0.1')).newPage();
    const evil = `http://evil.example:${node.port}`;
    // A page of this origin, in which the attacker's script would run: the node's refusal, which has a body like any page.
    await page.goto(`${evil}/page.html`);
    assertShutOut(await attempts(page, evil));
    const forwarded = await page.evaluate(`fetch('/v1/keys/secret', {
      headers: { 'x-forwarded-host': 'kv.example', 'x-forwarded-for': '1.2.3.4', 'x-forwarded-proto': 'https' },
    }).then((response) => response.status)`);
    assert.equal(forwarded, 403);
    assert.ok(await isUntouched(node));
  }
});

test('a page with a token follows its prefix, loses it with the token, and continues with a new one', {
  skip: WITHOUT_BROWSER,
}, async (t) => {
  const cluster = await Cluster.create(t);
  const file = join(cluster.data('node'), 'tokens.json');
  const make = async (rights: readonly ['read' | 'admin'], prefixes: readonly string[] | null) =>
    createToken(file, { name: 'page', rights, prefixes, expiresAt: null }, Date.now());
  const admin = (await make(['admin'], null)).text;
  const first = await make(['read'], ['user:']);
  const origin = await site(t);
  const node = await cluster.start('node', '--allow-origin', origin, '--auth-failures', '100000');
  const client = new Client(node.url, { token: admin });
  const page = await (await launched(t)).newPage();
  await page.goto(`${origin}/page.html`);
  const shows = (expression: string): Promise<unknown> => page.evaluate(expression);
  const isShown = (what: string, expression: string): Promise<unknown> =>
    until(what, async () => (await shows(expression)) === true);

  await page.evaluate(`(async () => {
    const { follow } = await import('/dist/client/index.js');
    Object.assign(window, { seen: [], states: [], token: null, ended: null });
    // As an application does: while it has no token that the node takes, it waits for one.
    let refused = null;
    const token = async () => {
      while (window.token === null || window.token === refused) {
        await new Promise((resolve) => { window.wake = resolve; });
      }
      return (refused = window.token);
    };
    window.give = (text) => { window.token = text; window.wake?.(); };
    const onConnection = ({ kind, detail }) => window.states.push(detail ?? kind);
    (async () => {
      for await (const event of follow({ url: ${JSON.stringify(node.url)}, prefix: 'user:', token, onConnection })) {
        if (event.type === 'set' || event.type === 'entry') window.seen.push(event.key + '=' + event.value);
      }
    })().catch((error) => { window.ended = String(error); });
  })()`);
  await shows(`give(${JSON.stringify(first.text)})`);
  await isShown('the page is connected', `states.includes('open')`);
  await client.set('user:1', 'a');
  await client.set('other', 'x');
  await isShown('the first change', `seen.includes('user:1=a')`);

  await revokeToken(file, first.record.id);
  await isShown(
    'the page asks for another token',
    `states.filter((kind) => kind === 'connecting').length === 2`,
  );
  for (const value of ['b', 'c', 'd']) await client.set('user:1', value);
  const second = await make(['read'], ['user:']);
  await until('the node knows the token', async () => {
    const headers = { authorization: `Bearer ${second.text}` };
    return (await fetch(`${node.url}/v1/keys?prefix=user:`, { headers })).status === 200;
  });
  await shows(`give(${JSON.stringify(second.text)})`);
  await client.set('user:1', 'e');
  await isShown('the last change', `seen.includes('user:1=e')`);
  assert.deepEqual(
    await shows('seen'),
    ['a', 'b', 'c', 'd', 'e'].map((value) => `user:1=${value}`),
  );
  assert.equal(await shows('ended'), null);

  await t.test('a page that shows no valid token is told why on the open WebSocket', async () => {
    const told = await page.evaluate(`new Promise((resolve) => {
      const said = [];
      const bearer = btoa(${JSON.stringify(first.text)}).replace(/\\+/g, '-').replace(/\\//g, '_').replace(/=+$/, '');
      const ws = new WebSocket(${JSON.stringify(`${node.wsUrl}/v1/changes?prefix=user:`)}, ['psync.v1.json', 'bearer.' + bearer]);
      ws.onmessage = ({ data }) => said.push(JSON.parse(data).code);
      ws.onclose = ({ code }) => resolve([...said, code]);
    })`);
    assert.deepEqual(told, ['UNAUTHORIZED', 4401]);
  });
});

test('a stored page runs no script in a browser, by whatever URL of the node', {
  skip: WITHOUT_BROWSER,
}, async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const script = `fetch('/v1/keys/pwned', { method: 'PUT', body: 'x' }); parent.postMessage('pwned', '*'); self.pwned = true;`;
  const html = `<!doctype html><script>${script}</script><img src=x onerror="${script}">`;
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" onload="${script}"><script>${script}</script></svg>`;
  const key = encodeURIComponent(html.slice(0, 900));
  const type = (contentType: string) => ({ method: 'PUT', headers: { 'content-type': contentType } });
  await fetch(`${node.url}/v1/keys/page.html`, { ...type('text/html'), body: html });
  await fetch(`${node.url}/v1/keys/image.svg`, { ...type('image/svg+xml'), body: svg });
  await fetch(`${node.url}/v1/keys/script.js`, { ...type('text/javascript'), body: script });
  await fetch(`${node.url}/v1/keys/${key}`, { ...type('text/html'), body: html });
  const paths = [
    '/v1/keys/page.html',
    '/v1/keys/page.html?x=<script>1</script>',
    '/v1/keys/image.svg',
    `/v1/keys/${key}`,
    `/v1/keys/${key}?position=${key}`,
    `/v1/keys/${key}/increment`,
    `/v1/keys?prefix=${key}`,
    '/v1/keys?values=true',
    '/v1/export',
    '/v1/changes',
    `/v1/changes?prefix=${key}`,
    `/${key}`,
    `/docs/${key}`,
    '/docs/../v1/keys/page.html',
    '/docs/%2e%2e/v1/keys/page.html',
    '/docs/static/..%2f..%2fv1/keys/page.html',
    `/v1/digest?against=${key}`,
    '/v1/info',
    '/v1/config',
  ];
  const browser = await launched(t);
  const context = await browser.newContext();
  const origin = await site(t);
  for (const path of paths) {
    const page = await context.newPage();
    // A download ends the navigation with an error, and a stream does not end it.
    await page.goto(node.url + path, { waitUntil: 'commit', timeout: 10_000 }).catch(() => undefined);
    const ran = await page.evaluate(
      'self.pwned === true || performance.getEntriesByType("resource").some(({ name }) => /pwned/.test(name))',
    );
    assert.equal(ran, false, path);
    await page.close();
  }
  // In a page of somebody else: as a frame, an object, a script, a style sheet, a worker.
  const page = await context.newPage();
  await page.goto(`${origin}/page.html`);
  await page.evaluate(`(async () => {
    self.messages = [];
    self.onmessage = ({ data }) => self.messages.push(data);
    const node = ${JSON.stringify(node.url)};
    const loaded = [];
    const add = (name, attributes) => {
      const element = Object.assign(document.createElement(name), attributes);
      loaded.push(new Promise((resolve) => { element.onload = element.onerror = resolve; }));
      document.body.append(element);
    };
    for (const path of ['/v1/keys/page.html', '/v1/keys/image.svg', '/docs/', ${JSON.stringify(`/v1/keys/${key}`)}]) {
      add('iframe', { src: node + path });
    }
    add('object', { data: node + '/v1/keys/page.html', type: 'text/html' });
    add('script', { src: node + '/v1/keys/script.js' });
    add('link', { rel: 'stylesheet', href: node + '/v1/keys/script.js' });
    await Promise.race([Promise.all(loaded), new Promise((resolve) => setTimeout(resolve, 3000))]);
  })()`);
  assert.equal(await page.evaluate('self.pwned === true || self.messages.length > 0'), false);
  // In the node's own page, whose policy allows only its own scripts.
  await page.goto(`${node.url}/docs/`);
  const own = await page.evaluate(`(async () => {
    const said = await navigator.serviceWorker.register('/v1/keys/script.js').then(() => 'registered', () => 'refused');
    const script = Object.assign(document.createElement('script'), { src: '/v1/keys/script.js' });
    const result = new Promise((resolve) => { script.onload = () => resolve('ran'); script.onerror = () => resolve('blocked'); });
    document.body.append(script);
    return [said, await result, self.pwned === true];
  })()`);
  assert.deepEqual(own, ['refused', 'blocked', false]);
  assert.equal((await fetch(`${node.url}/v1/keys/pwned`)).status, 404);
});
