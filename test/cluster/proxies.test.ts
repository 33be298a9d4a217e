/** A node behind proxies: what it believes of their headers, and the URLs that it tells clients. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { Cluster, linkState } from '../support/cluster.ts';
import { exchanged, type RawAnswer, rawRequest } from '../support/raw-http.ts';

const PUBLIC = 'https://app.example/kv';

async function asked(
  node: ChildNode,
  method: string,
  path: string,
  ...headers: readonly string[]
): Promise<RawAnswer> {
  const [answer] = await exchanged(node, [rawRequest(method, path, method === 'PUT' ? 'v' : '', ...headers)]);
  assert.ok(answer !== undefined);
  return answer;
}

test('a node tells the public URL in its documents, and answers to the names in it', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node', '--public-url', `${PUBLIC}/`, '--trust-proxy', '127.0.0.1');
  const response = await fetch(`${node.url}/openapi.json`);
  const { servers } = (await response.json()) as { servers: readonly { url: string }[] };
  assert.deepEqual(
    servers.map(({ url }) => url),
    [PUBLIC],
  );
  for (const path of ['/openapi.yaml', '/docs/yaml']) {
    const lines = (await (await fetch(node.url + path)).text()).split('\n');
    assert.ok(lines.includes(`  - url: ${PUBLIC}`), path);
  }
  const page = await fetch(`${node.url}/docs/static/index.html`, { redirect: 'manual' });
  assert.deepEqual([page.status, page.headers.get('location')], [302, `${PUBLIC}/docs/`]);
  const forwarded = (host: string) => asked(node, 'GET', '/healthz', `X-Forwarded-Host: ${host}`);
  assert.equal((await forwarded('app.example')).status, 200);
  assert.equal((await forwarded('evil.example')).status, 403);
  assert.equal((await forwarded('app.example, evil.example')).status, 403);
  const fromPage = (origin: string, ...headers: readonly string[]) =>
    asked(node, 'PUT', '/v1/keys/k', `Origin: ${origin}`, ...headers);
  const passedOn = ['X-Forwarded-Host: app.example', 'X-Forwarded-Proto: https'];
  assert.equal((await fromPage('https://app.example', ...passedOn)).status, 201);
  assert.equal((await fromPage('http://app.example', ...passedOn)).status, 403);
  assert.equal((await fromPage('https://app.example')).status, 403, 'at another address of the node');
  assert.equal(
    ((await (await fetch(`${node.url}/v1/config`)).json()) as { publicUrl: string }).publicUrl,
    PUBLIC,
  );
});

test('without a public URL the documents name the host that the request names', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node', '--allow-host', 'kv.example');
  for (const host of [`127.0.0.1:${node.port}`, 'kv.example', 'LOCALHOST:80']) {
    const [answer] = await exchanged(node, [`GET /openapi.json HTTP/1.1\r\nHost: ${host}\r\n\r\n`]);
    const { servers } = JSON.parse(answer?.body ?? '') as { servers: readonly { url: string }[] };
    assert.equal(servers[0]?.url, new URL(`http://${host}`).origin);
  }
});

test('replicas redirect writes to the public URL of their master', async (t) => {
  const cluster = await Cluster.create(t);
  let master = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await linkState(replica, 'streaming');
  const location = async (): Promise<string | undefined> =>
    (await asked(replica, 'PUT', '/v1/keys/k?ttl=60')).headers.get('location');
  assert.equal(await location(), `${master.url}/v1/keys/k?ttl=60`);
  await master.stop();
  // Nodes go on to use the address that is announced to them.
  master = await cluster.restart('master', master, '--public-url', PUBLIC, '--announce-url', master.wsUrl);
  await until(
    'the replica knows the public URL',
    async () => (await location()) === `${PUBLIC}/v1/keys/k?ttl=60`,
  );
  const { upstream } = await replica.client.replication();
  assert.deepEqual([upstream?.url, upstream?.announcedUrl], [master.wsUrl, PUBLIC]);
});

test('only addresses, networks and plain URLs are accepted', async (t) => {
  const cluster = await Cluster.create(t);
  for (const [flag, value, said] of [
    ['--trust-proxy', 'proxy.example', /addresses or networks/],
    ['--trust-proxy', '10.0.0.0/33', /addresses or networks/],
    ['--trust-proxy', '10.0.0.0/8/8', /addresses or networks/],
    ['--trust-proxy', 'fe80::1%eth0', /addresses or networks/],
    ['--public-url', 'app.example', /https:\/\/HOST/],
    ['--public-url', 'https://app.example/?x', /https:\/\/HOST/],
  ] as const) {
    await assert.rejects(cluster.start('node', flag, value), said);
  }
});

test('limits of clients count behind proxies by the address that a trusted proxy tells', async (t) => {
  const cluster = await Cluster.create(t);
  const flags = ['--rate-limit', '1/s', '--max-followers-per-token', '1'];
  const trusting = await cluster.start('trusting', '--trust-proxy', '127.0.0.1', ...flags);
  const from = (index: number): string => `X-Forwarded-For: 192.0.2.${index}`;
  const many = Array.from({ length: 6 }, (_, index) => rawRequest('GET', '/v1/keys/k', '', from(index)));
  const answers = await exchanged(trusting, [many.join('')]);
  assert.deepEqual(
    answers.map(({ status }) => status),
    Array<number>(6).fill(404),
  );
  const same = await exchanged(trusting, [many.fill(rawRequest('GET', '/v1/keys/k', '', from(9))).join('')]);
  assert.ok(same.some(({ status }) => status === 429));
  const stranger = await cluster.start('stranger', ...flags);
  const made = await exchanged(stranger, [
    Array.from({ length: 6 }, (_, index) => rawRequest('GET', '/v1/keys/k', '', from(index))).join(''),
  ]);
  assert.ok(made.some(({ status }) => status === 429));
});

test('wrong tokens count behind proxies for the client that shows them', async (t) => {
  const cluster = await Cluster.create(t);
  const tokens = join(cluster.data('node'), 'tokens.json');
  mkdirSync(cluster.data('node'));
  writeFileSync(tokens, '{"tokens":[]}');
  const node = await cluster.start('node', '--trust-proxy', '127.0.0.1', '--auth-failures', '1');
  const wrong = (index: number): Promise<RawAnswer> =>
    asked(node, 'GET', '/v1/keys/k', `X-Forwarded-For: 192.0.2.${index}`, 'Authorization: Bearer wrong');
  for (const index of [1, 2, 3]) assert.equal((await wrong(index)).status, 401);
  assert.equal((await wrong(1)).status, 429);
});
