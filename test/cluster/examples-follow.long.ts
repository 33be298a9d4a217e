/** examples/follow.py and examples/page.html as they stand there, with a network that breaks. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Page } from 'playwright-core';
import { createToken } from '../../src/access/tokens/tokens.ts';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { Client } from '../../src/client/rest.ts';
import { builtClient, launched, WITHOUT_BROWSER } from '../support/browser.ts';
import { Cluster, temporaryFolder } from '../support/cluster.ts';
import { PYTHON, WITHOUT_PYTHON } from '../support/python.ts';
import { staticFiles } from '../support/static-files.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** Writes `user:counter` = from … to-1, one after the other. */
async function count(node: ChildNode, from: number, to: number): Promise<void> {
  for (let value = from; value < to; value += 1) await node.client.set('user:counter', String(value));
}

function numbers(from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, index) => String(from + index));
}

class Program {
  readonly child: ChildProcess;
  #output = '';

  constructor(t: TestContext, python: string, node: string, ...args: readonly string[]) {
    this.child = spawn(python, [join(ROOT, 'examples', 'follow.py'), ...args], {
      env: { ...process.env, PSYNCD_NODE: node },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.child.stdout?.on('data', (chunk: Buffer) => {
      this.#output += chunk.toString();
    });
    t.after(() => this.child.kill('SIGKILL'));
  }

  get lines(): string[] {
    return this.#output.split('\n').slice(0, -1);
  }

  /** The values of the counter that it has been told. */
  get counted(): string[] {
    return this.lines.flatMap((line) => /^set user:counter (\d+)$/.exec(line)?.[1] ?? []);
  }

  kinds(...kinds: readonly string[]): string[] {
    return this.lines.map((line) => line.split(' ')[0] ?? '').filter((kind) => kinds.includes(kind));
  }

  shows(text: string): Promise<unknown> {
    return until(`follow.py shows ${text}`, () => this.lines.some((line) => line.startsWith(text)));
  }

  async stop(): Promise<void> {
    const exited = once(this.child, 'exit');
    this.child.kill('SIGINT');
    assert.deepEqual((await exited)[0], 0);
  }
}

test('follow.py loses nothing and has nothing twice after cuts and restarts', {
  skip: WITHOUT_PYTHON,
}, async (t) => {
  const cluster = await Cluster.create(t);
  const [node, other] = [await cluster.start('node'), await cluster.start('other')];
  const proxy = await cluster.proxy(node);
  const file = join(await temporaryFolder(t), 'copy.json');
  const url = proxy.wsUrl.replace('ws', 'http');
  await node.client.set('user:old', 'ü');
  const first = new Program(t, PYTHON, url, 'user:', file);
  await first.shows('synced');
  await count(node, 0, 20);
  await first.shows('set user:counter 9');
  proxy.cut();
  await count(node, 20, 40);
  proxy.restore();
  await first.shows('set user:counter 39');
  await node.client.delete('user:old');
  await first.shows('delete user:old');
  assert.deepEqual(first.counted, numbers(0, 40));
  assert.deepEqual(first.kinds('reset', 'synced'), ['reset', 'synced']);
  await first.stop();

  await count(node, 40, 45);
  await node.client.set('user:bytes', new Uint8Array([255]));
  const second = new Program(t, PYTHON, url, 'user:', file);
  await second.shows('set user:bytes');
  assert.deepEqual(second.counted, numbers(40, 45));
  assert.deepEqual(second.kinds('reset', 'continue'), ['continue']);
  await second.stop();
  const { position } = await node.client.replication();
  const stored = JSON.parse(await readFile(file, 'utf8'));
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  assert.equal(stored.position, position);
  assert.deepEqual(Object.keys(stored.entries), ['user:counter', 'user:bytes']);
  assert.equal(stored.entries['user:bytes'].encoding, 'base64');

  // A node of another history: everything is replaced.
  await other.client.set('user:else', 'where');
  const third = new Program(t, PYTHON, other.url, 'user:', file);
  await third.shows('synced');
  await third.stop();
  assert.match(third.lines[0] ?? '', /^reset unknown-run-id /);
  assert.deepEqual(Object.keys(JSON.parse(await readFile(file, 'utf8')).entries), ['user:else']);
});

test('follow.py has --help, and refuses a file that is no copy in one line, without overwriting it', {
  skip: WITHOUT_PYTHON,
}, async (t) => {
  const script = join(ROOT, 'examples', 'follow.py');
  const help = await promisify(execFile)(PYTHON, [script, '--help']);
  assert.match(help.stdout, /PSYNCD_NODE/);
  const file = join(await temporaryFolder(t), 'copy.json');
  for (const text of ['{"prefix":', '[]', '{}', '{"prefix":"user:"}']) {
    await writeFile(file, text);
    await assert.rejects(promisify(execFile)(PYTHON, [script, 'user:', file]), {
      code: 1,
      stdout: '',
      stderr: `${file} was not written by follow.py; remove it, or name another file\n`,
    });
    assert.equal(await readFile(file, 'utf8'), text);
  }
});

/** What the page shows, oldest change first. */
async function shown(
  page: Page,
): Promise<{ state: string; snapshots: string; changes: string[]; rows: string[] }> {
  const texts = (selector: string): Promise<string[]> => page.locator(selector).allTextContents();
  const [[state = ''], [snapshots = ''], changes, rows] = await Promise.all([
    texts('#state'),
    texts('#snapshots'),
    texts('#changes li'),
    texts('#entries tr'),
  ]);
  return { state, snapshots, changes: changes.reverse(), rows };
}

function showsChange(page: Page, text: string): Promise<unknown> {
  return until(`the page shows ${text}`, async () => (await shown(page)).changes.includes(text));
}

test('page.html in Chromium loses and doubles nothing in a cut and a reload, and needs no second snapshot', {
  skip: WITHOUT_BROWSER,
}, async (t) => {
  const origin = await served(t);
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node', '--allow-origin', origin);
  const proxy = await cluster.proxy(node);
  await node.client.set('user:old', '<b>ü</b>');
  await node.client.set('other', 'x');
  const page = await (await launched(t)).newPage();
  const problems: string[] = [];
  page.on('pageerror', (error) => problems.push(String(error)));
  const url = proxy.wsUrl.replace('ws', 'http');
  await page.goto(`${origin}/page.html?prefix=user:`);
  await choose(page, url, '');
  await until('the page is live', async () => (await shown(page)).state === 'live');
  await count(node, 0, 20);
  await showsChange(page, 'user:counter = 19');

  proxy.cut();
  await until('the page notices', async () => (await shown(page)).state.startsWith('waiting'));
  await count(node, 20, 40);
  await node.client.delete('user:old');
  await node.client.set('user:bytes', new Uint8Array([255, 0]));
  proxy.restore();
  await showsChange(page, 'user:bytes = 2 bytes');
  const before = await shown(page);
  const expected = ['user:old = <b>ü</b>', ...numbers(0, 40).map((value) => `user:counter = ${value}`)];
  assert.deepEqual(before.changes, [...expected, 'user:old is gone', 'user:bytes = 2 bytes']);
  assert.deepEqual([before.snapshots, before.rows], ['1', ['user:counter39', 'user:bytes2 bytes']]);

  await t.test('a reload goes on from what was stored', async () => {
    const { position } = await node.client.replication();
    await until('the page has stored it', () => stored(page, url, position));
    await page.reload();
    await until('the page is live', async () => (await shown(page)).state === 'live');
    assert.deepEqual((await shown(page)).rows.sort(), ['user:bytes2 bytes', 'user:counter39']);
    await count(node, 40, 45);
    await showsChange(page, 'user:counter = 44');
    const after = await shown(page);
    // What was stored comes first, as changes of an empty page.
    assert.deepEqual(after.changes.slice(0, 2).sort(), ['user:bytes = 2 bytes', 'user:counter = 39']);
    assert.deepEqual(
      after.changes.slice(2),
      numbers(40, 45).map((value) => `user:counter = ${value}`),
    );
    assert.equal(after.snapshots, '0');
  });

  await t.test('without a network the page shows what it has', async () => {
    const { position } = await node.client.replication();
    await until('the page has stored it', () => stored(page, url, position));
    proxy.cut();
    await page.reload();
    await until('the page has noticed', async () => (await shown(page)).state.startsWith('waiting'));
    assert.deepEqual((await shown(page)).rows.sort(), ['user:bytes2 bytes', 'user:counter44']);
  });
  assert.deepEqual(problems, []);
});

test('page.html on a node with tokens takes one in a field, and shows it in no URL', {
  skip: WITHOUT_BROWSER,
}, async (t) => {
  const origin = await served(t);
  const cluster = await Cluster.create(t);
  const wanted = { name: 'page', rights: ['read', 'write'], prefixes: null, expiresAt: null } as const;
  const { text: token } = await createToken(join(cluster.data('node'), 'tokens.json'), wanted, Date.now());
  const node = await cluster.start('node', '--allow-origin', origin);
  await new Client(node.url, { token }).set('user:a', 'v');
  const page = await (await launched(t)).newPage();
  const urls: string[] = [];
  page.on('request', (request) => urls.push(request.url()));
  page.on('framenavigated', (frame) => urls.push(frame.url()));
  await page.goto(`${origin}/page.html?prefix=user:`);
  await choose(page, node.url, '');
  await until('the page has failed', async () => (await shown(page)).state === 'failed');
  await choose(page, node.url, token);
  await until('the page is live', async () => (await shown(page)).state === 'live');
  assert.deepEqual((await shown(page)).rows, ['user:av']);
  assert.deepEqual(
    urls.filter((url) => url.includes(token)),
    [],
  );
});

test('page.html takes neither code nor nodes from its URL, and shows a token only to the node for which it was entered', {
  skip: WITHOUT_BROWSER,
}, async (t) => {
  const origin = await served(t);
  const cluster = await Cluster.create(t);
  const wanted = { name: 'page', rights: ['read', 'write'], prefixes: null, expiresAt: null } as const;
  const { text: token } = await createToken(join(cluster.data('node'), 'tokens.json'), wanted, Date.now());
  const node = await cluster.start('node', '--allow-origin', origin);
  const heard: string[] = [];
  const foreign = createServer((request, response) => {
    heard.push(`${request.url} ${JSON.stringify(request.headers)}`);
    response.writeHead(200, { 'access-control-allow-origin': '*', 'content-type': 'text/javascript' }).end();
  });
  foreign.on('upgrade', (request, connection) => {
    heard.push(`${request.url} ${JSON.stringify(request.headers)}`);
    connection.destroy();
  });
  await once(foreign.listen(0, '127.0.0.1'), 'listening');
  t.after(() => {
    foreign.close();
    foreign.closeAllConnections();
  });
  const elsewhere = `http://127.0.0.1:${(foreign.address() as AddressInfo).port}`;
  const page = await (await launched(t)).newPage();
  await page.goto(`${origin}/page.html`);
  await choose(page, node.url, token);
  await until('the page is live', async () => (await shown(page)).state === 'live');

  const query = new URLSearchParams({ node: elsewhere, url: elsewhere, client: `${elsewhere}/client.js` });
  await page.goto(`${origin}/page.html?${query}`);
  await until('the page is live', async () => (await shown(page)).state === 'live');
  assert.equal(heard.join('\n'), '');

  await choose(page, elsewhere, '');
  await until('the page asks the other node', () => heard.length > 0);
  assert.deepEqual(
    heard.filter((request) => request.includes(token)),
    [],
  );
});

/** Serves the page as examples/README.md says. @returns the origin */
async function served(t: TestContext): Promise<string> {
  return staticFiles(t, [
    ['/client/', join(await builtClient(t), 'client')],
    ['/', join(ROOT, 'examples')],
  ]);
}

/** Enters a node and a token into the fields of the page, which begins anew then. */
async function choose(page: Page, node: string, token: string): Promise<void> {
  await page.fill('#address', node);
  await page.fill('#token', token);
  await Promise.all([page.waitForEvent('load'), page.click('#access button')]);
}

/** Whether the page's storage for this node has got to this position. */
function stored(page: Page, node: string, position: string): Promise<boolean> {
  return page.evaluate(
    async ([url = '', wanted]) => {
      const { indexedDB } = globalThis as unknown as { indexedDB: BrowserDatabases };
      const database = (await indexedDB.databases()).find(({ name }) => name.includes(url));
      const opening = indexedDB.open(database?.name ?? '');
      await new Promise((resolve) => {
        opening.onsuccess = resolve;
      });
      const reading = opening.result.transaction(['meta']).objectStore('meta').get('current');
      await new Promise((resolve) => {
        reading.onsuccess = resolve;
      });
      opening.result.close();
      return reading.result?.position === wanted;
    },
    [node, position],
  );
}

/** As much of IndexedDB as the test needs; types of browsers are not known here. */
interface BrowserDatabases {
  databases(): Promise<readonly { readonly name: string }[]>;
  open(name: string): BrowserRequest<{
    close(): void;
    transaction(stores: string[]): {
      objectStore(name: string): { get(key: string): BrowserRequest<{ position: string } | undefined> };
    };
  }>;
}
interface BrowserRequest<T> {
  readonly result: T;
  onsuccess: (event: unknown) => void;
}
