/** The paths that everybody may ask for, on a node with tokens: they lead to nothing else, and what they cost has a bound. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { createToken } from '../../src/access/tokens/tokens.ts';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { Client } from '../../src/client/rest.ts';
import { Cluster } from '../support/cluster.ts';
import { document } from '../support/contract.ts';
import { exchanged, type RawAnswer, rawRequest } from '../support/raw-http.ts';

const SECRET = 'a-value-that-only-its-owner-may-see';

async function guarded(
  t: TestContext,
  ...flags: string[]
): Promise<{ readonly node: ChildNode; readonly admin: Client }> {
  const cluster = await Cluster.create(t);
  const wanted = { name: 'test', rights: ['admin'], prefixes: null, expiresAt: null } as const;
  const { text: token } = await createToken(join(cluster.data('node'), 'tokens.json'), wanted, Date.now());
  const node = await cluster.start('node', '--auth-failures', '100000', ...flags);
  return { node, admin: new Client(node.url, { token }) };
}

/** Spellings of "one folder up" that one parser or another takes for that. */
const UP = [
  '..',
  '%2e%2e',
  '%2E%2E',
  '.%2e',
  '%2e.',
  '..%2f..',
  '..\\..',
  '%252e%252e',
  '.\t.',
  '..;',
  '..%00',
];
/** What comes before them, in a path that is open. */
const OPEN = ['/docs', '/docs/static', '/docs/x', '/docs/', '/healthz', '/readyz', '/openapi.json'];

test('no spelling of a path leads from an open path to one that needs a token', async (t) => {
  const { node, admin } = await guarded(t, '--admin-listen', '127.0.0.1:0');
  await admin.set('secret', SECRET);
  const guardedPaths = Object.entries(document.paths)
    .filter(
      ([, { get }]) =>
        get !== undefined && JSON.stringify((get as { readonly security?: unknown }).security) !== '[]',
    )
    .map(([path]) => path.replace('{key}', 'secret').replace(/\{\w+\}/, '1'));
  assert.ok(guardedPaths.length > 10);
  const targets = OPEN.flatMap((open) =>
    UP.flatMap((up) =>
      ['/', '//', '\\'].flatMap((slash) =>
        guardedPaths.flatMap((path) => [
          `${open}/${up}${slash}${path.slice(1)}`,
          `http://127.0.0.1${open}/${up}/${up}${slash}${path.slice(1)}`,
        ]),
      ),
    ),
  );
  for (const { port } of [node, { port: Number(new URL(node.adminUrl ?? '').port) }]) {
    for (let at = 0; at < targets.length; at += 200) {
      const some = targets.slice(at, at + 200);
      const answers = await exchanged({ port }, [some.map((target) => rawRequest('GET', target)).join('')]);
      for (const [index, { status, body }] of answers.entries()) {
        assert.ok(
          [400, 401, 403, 404].includes(status),
          `${status} for ${some[index]}: ${body.slice(0, 200)}`,
        );
        assert.ok(!body.includes(SECRET));
      }
    }
  }
});

test('parameters of writes on open paths take no places and no lines of the log', async (t) => {
  const { node, admin } = await guarded(t, '--max-waiting', '3', '--metrics-listen', '127.0.0.1:0');
  const open = ['/healthz', '/readyz', '/', '/openapi.json', '/docs', '/docs/'];
  const ports = [node.port, Number(new URL(node.metricsUrl ?? '').port)];
  for (const port of ports) {
    const requests = [...open, '/metrics'].flatMap((path) =>
      ['acks=1', 'durable=true', 'acks=x'].map((query) => rawRequest('GET', `${path}?${query}`)),
    );
    for (const { status } of await exchanged({ port }, [requests.join('')])) assert.notEqual(status, 500);
  }
  assert.equal((await admin.set('k', 'v', { durable: true })).durable, true);
  assert.doesNotMatch(node.log, /"level":50/);
});

test('the pages of the description cost a stranger who does not read them no more memory than other answers', async (t) => {
  const { node } = await guarded(t);
  const memory = (): number => {
    const status = readFileSync(`/proc/${node.process.pid}/status`, 'utf8');
    return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024;
  };
  const large = rawRequest('GET', '/docs/static/swagger-ui-bundle.js');
  await exchanged(node, [large]);
  const before = memory();
  const sockets: Socket[] = [];
  t.after(() => {
    for (const socket of sockets) socket.destroy();
  });
  for (const path of ['/docs/static/swagger-ui-bundle.js', '/openapi.json']) {
    for (let count = 0; count < 40; count += 1) {
      const socket = connect(node.port, '127.0.0.1');
      socket.on('error', () => undefined);
      socket.pause();
      socket.write(rawRequest('GET', path).repeat(40));
      sockets.push(socket);
    }
  }
  for (let count = 0; count < 50; count += 1) {
    const [answer] = await exchanged(node, [rawRequest('GET', '/healthz')]);
    assert.equal(answer?.status, 200);
  }
  const grown = memory() - before;
  t.diagnostic(`${Math.round(grown)} MiB more`);
  assert.ok(grown < 256, `${grown} MiB more`);
});

test('strangers who do not read open answers keep no large values from clients with tokens', async (t) => {
  const { node, admin } = await guarded(t, '--request-memory', '8mb');
  await admin.set('large', 'x'.repeat(1_000_000));
  const sockets = Array.from({ length: 40 }, () => connect(node.port, '127.0.0.1'));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
  });
  for (const socket of sockets) {
    socket.on('error', () => undefined);
    socket.pause();
    socket.write(rawRequest('GET', '/docs/static/swagger-ui-bundle.js').repeat(5));
  }
  for (let count = 0; count < 10; count += 1) {
    assert.equal((await exchanged(node, [rawRequest('GET', '/healthz')]))[0]?.status, 200);
  }
  assert.equal((await admin.get('large'))?.length, 1_000_000);
});

test('a page of another origin learns nothing from whether a value loads, and makes the node do nothing', async (t) => {
  const node = await (await Cluster.create(t)).start('node');
  await new Client(node.url).set('k', 'v');
  const asked = async (path: string, ...more: string[]): Promise<number | undefined> => {
    const [answer] = await exchanged(node, [
      rawRequest('GET', path, '', 'Sec-Fetch-Site: cross-site', ...more),
    ]);
    return answer?.status;
  };
  for (const path of [
    '/v1/keys/k',
    '/v1/keys/none',
    '/v1/snapshot',
    '/v1/export',
    '/v1/digest',
    '/v1/config',
    '/readyz?role=replica&maxLag=100b',
  ]) {
    assert.equal(await asked(path), 403, path);
  }
  for (const path of ['/', '/docs', '/openapi.json', '/healthz'])
    assert.notEqual(await asked(path), 403, path);
  // It navigates a window of its own, and sees whether a value is downloaded or a problem shown.
  for (const path of ['/v1/keys/k', '/v1/keys/none', '/v1/snapshot']) {
    assert.equal(await asked(path, 'Sec-Fetch-Mode: navigate', 'Sec-Fetch-Dest: document'), 403, path);
  }
});

test('a page of another site changes nothing, though it has the host of the node', async (t) => {
  const node = await (await Cluster.create(t)).start('node');
  const put = async (...headers: string[]): Promise<number | undefined> =>
    (await exchanged(node, [rawRequest('PUT', '/v1/keys/k', 'v', ...headers)]))[0]?.status;
  for (const site of ['cross-site', 'same-site']) {
    assert.equal(await put(`Sec-Fetch-Site: ${site}`, 'Origin: https://localhost'), 403, site);
    assert.equal(await put(`Sec-Fetch-Site: ${site}`), 403, site);
  }
  assert.equal(await put('Sec-Fetch-Site: same-origin', 'Origin: http://localhost'), 201);
  assert.equal(await put('Sec-Fetch-Site: same-origin'), 200);
});

test('somebody who types the URL of a value gets it', async (t) => {
  const node = await (await Cluster.create(t)).start('node');
  await new Client(node.url).set('k', 'v');
  const typed = ['Sec-Fetch-Site: none', 'Sec-Fetch-Mode: navigate', 'Sec-Fetch-Dest: document'];
  const answered = async (...headers: string[]): Promise<RawAnswer | undefined> =>
    (await exchanged(node, [rawRequest('GET', '/v1/keys/k', '', ...headers)]))[0];
  const answer = await answered(...typed);
  assert.equal(answer?.status, 200);
  assert.equal(answer.headers.get('content-type'), 'text/plain; charset=utf-8');
  // The browser of a page asks in the background, and says of which page.
  assert.equal((await answered('Sec-Fetch-Site: none', 'Origin: https://evil.example'))?.status, 403);
});

test('a browser that asks ahead of a visit gets no value, whatever it says about the page that makes it ask', async (t) => {
  const node = await (await Cluster.create(t)).start('node');
  await new Client(node.url).set('k', 'v');
  const asked = async (path: string, ...headers: string[]): Promise<number | undefined> =>
    (await exchanged(node, [rawRequest('GET', path, '', ...headers)]))[0]?.status;
  for (const ahead of ['Sec-Purpose: prefetch', 'Sec-Purpose: prefetch;prerender', 'Purpose: prefetch']) {
    for (const path of ['/v1/keys/k', '/v1/keys/none', '/v1/keys/k?']) {
      for (const site of [['Sec-Fetch-Site: none'], []]) {
        assert.equal(await asked(path, ahead, ...site), 403, `${path} ${ahead} ${site}`);
      }
    }
    assert.equal(await asked('/v1/keys/k', ahead, 'Sec-Fetch-Site: same-origin'), 200);
  }
});
