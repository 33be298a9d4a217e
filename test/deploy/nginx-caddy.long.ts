/** nginx and Caddy as examples/deploy configures them, in front of a real node. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { type RequestOptions, request } from 'node:https';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { type ClientOptions, WebSocket } from 'ws';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { openssl } from '../support/certificates.ts';
import { Cluster, samePosition, temporaryFolder } from '../support/cluster.ts';
import { keptPort } from '../support/kept-port.ts';
import { ALL_INSTALLED, replaced, startProgram } from '../support/program.ts';

const EXAMPLES = new URL('../../examples/deploy/', import.meta.url);

/** The two ways to reach the node through a proxy. */
interface Site {
  readonly host: string;
  readonly path: string;
}
const OWN: Site = { host: 'kv.example', path: '' };
const UNDER_A_PATH: Site = { host: 'app.example', path: '/kv' };

/** Who gets in, as the examples say it. */
const USER = 'ada';
const PASSWORD = 'a password';
const AUTHORIZATION = `Basic ${Buffer.from(`${USER}:${PASSWORD}`).toString('base64')}`;

interface Place {
  readonly folder: string;
  readonly port: number;
  readonly node: number;
  readonly cert: string;
  readonly key: string;
  /** File with the password of USER, as nginx reads it. */
  readonly passwords: string;
  /** @returns the same for Caddy, which makes it by itself */
  readonly hash: () => string;
}

interface Proxy {
  readonly command: string;
  /** Name of the example. */
  readonly example: string;
  /** Keys under a path of the site that the proxy refuses, because it would change them. */
  readonly refuses: RegExp;
  /** @returns the text of the configuration file */
  readonly configuration: (example: string, place: Place) => string;
  /** @returns the arguments of the command */
  readonly args: (file: string, folder: string) => readonly string[];
}

const PROXIES: readonly Proxy[] = [
  {
    command: '/usr/sbin/nginx',
    example: 'nginx.conf',
    refuses: /(?!)/,
    configuration: (example, { folder, port, node, cert, key, passwords }) => {
      const servers = replaced(example, [
        ['127.0.0.1:7796', `127.0.0.1:${node}`],
        ['listen 443 ssl', `listen 127.0.0.1:${port} ssl`],
        [/\/etc\/ssl\/\w+\.example\.pem/g, cert],
        [/\/etc\/ssl\/private\/\w+\.example\.key/g, key],
        ['/etc/nginx/psyncd.htpasswd', passwords],
      ]);
      const places = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
        (name) => `${name}_temp_path ${join(folder, name)};`,
      );
      // Workers of a master that is root would be somebody else, who cannot read the test's folder.
      const user = process.getuid?.() === 0 ? 'user root; ' : '';
      return `${user}daemon off; pid ${join(folder, 'pid')}; error_log stderr; events {}
http { access_log off; ${places.join(' ')}
${servers}}`;
    },
    args: (file, folder) => ['-p', folder, '-c', file],
  },
  {
    command: '/usr/bin/caddy',
    example: 'Caddyfile',
    refuses: /\/\/|\/\.\.\//,
    configuration: (example, { port, node, cert, key, hash }) => {
      const sites = replaced(example, [
        ['127.0.0.1:7796', `127.0.0.1:${node}`],
        [/^(\w+\.example) \{/gm, `https://$1:${port} {\n  bind 127.0.0.1\n  tls ${cert} ${key}`],
        ['HASH_FROM_caddy_hash-password', hash()],
      ]);
      return `{\n admin off\n auto_https disable_redirects\n}\n${sites}`;
    },
    args: (file) => ['run', '--adapter', 'caddyfile', '--config', file],
  },
];

/** Starts the proxy, and ends it after the test. */
async function started(t: TestContext, proxy: Proxy, place: Place): Promise<void> {
  const file = join(place.folder, 'configuration');
  const example = await readFile(new URL(proxy.example, EXAMPLES), 'utf8');
  await writeFile(file, proxy.configuration(example, place));
  const command = [proxy.command, ...proxy.args(file, place.folder)] as const;
  await startProgram(
    t,
    command,
    place.folder,
    async () => (await asked(place, OWN, 'GET', '/healthz')).status === 200,
  );
}

interface Answer {
  readonly status: number | undefined;
  readonly location: string | undefined;
  readonly body: string;
}

/** How to reach the site: options of a request and of a WebSocket. */
async function options({ port, cert }: Place, { host }: Site): Promise<RequestOptions & { host: string }> {
  const headers = { host: `${host}:${port}`, authorization: AUTHORIZATION };
  return { ca: await readFile(cert), servername: host, host: '127.0.0.1', port, agent: false, headers };
}

async function sent(
  place: Place,
  site: Site,
  method: string,
  path: string,
  headers: Readonly<Record<string, string | undefined>> = {},
  body = '',
): Promise<IncomingMessage> {
  const reach = await options(place, site);
  const length = { 'content-length': String(body.length) };
  const all = { ...reach.headers, ...(method === 'PUT' ? length : {}), ...headers };
  const given = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
  const call = request({ ...reach, method, path: site.path + path, headers: given });
  call.end(body);
  const [response] = (await once(call, 'response')) as [IncomingMessage];
  return response;
}

async function asked(...call: Parameters<typeof sent>): Promise<Answer> {
  const response = await sent(...call);
  let text = '';
  for await (const chunk of response.setEncoding('utf8')) text += chunk;
  return { status: response.statusCode, location: response.headers.location, body: text };
}

/** Follows the changes over a WebSocket until the change of `key` comes. */
async function followed(place: Place, site: Site, key: string, write: () => Promise<unknown>): Promise<void> {
  const { ca, servername, headers } = await options(place, site);
  const url = `wss://127.0.0.1:${place.port}${site.path}/v1/changes`;
  const socket = new WebSocket(url, 'psync.v1.json', { ca, servername, headers } as ClientOptions);
  try {
    const came = new Promise<void>((resolve, reject) => {
      socket.on('error', reject);
      socket.on('close', (code) => reject(new Error(`closed with ${code}`)));
      socket.on('message', (data) => {
        if (JSON.parse(String(data)).key === key) resolve();
      });
    });
    await Promise.all([came, once(socket, 'open').then(write)]);
  } finally {
    socket.removeAllListeners('close');
    socket.terminate();
  }
}

/** The same over a stream of this type, which does not end: a proxy that kept events back would never pass them on. */
async function streamed(
  place: Place,
  site: Site,
  type: string,
  key: string,
  write: () => Promise<unknown>,
): Promise<void> {
  const response = await sent(place, site, 'GET', '/v1/changes', { accept: type });
  try {
    assert.equal(response.statusCode, 200);
    assert.match(String(response.headers['content-type']), new RegExp(type));
    await write();
    let text = '';
    for await (const chunk of response.setEncoding('utf8')) {
      text += chunk;
      if (text.includes(`"key":"${key}"`)) return;
    }
    assert.fail(`the stream has ended: ${text}`);
  } finally {
    response.destroy();
  }
}

/** Nobody reaches the node through the site without the password, also not what a node with tokens would tell everybody. */
async function refusesStrangers(place: Place, site: Site): Promise<void> {
  const wrong = `Basic ${Buffer.from(`${USER}:wrong`).toString('base64')}`;
  for (const authorization of [undefined, wrong, 'Bearer token']) {
    for (const [method, path] of [
      ['GET', '/v1/keys/a'],
      ['PUT', '/v1/keys/a'],
      ['GET', '/v1/changes'],
      ['GET', '/v1/config'],
      ['GET', '/healthz'],
      ['GET', '/docs/'],
      ['GET', '/'],
    ] as const) {
      const { status } = await asked(place, site, method, path, { authorization });
      assert.equal(status, 401, `${method} ${site.path}${path} with ${authorization}`);
    }
  }
}

/** Each key reaches the node as the client has written it: else a token's prefixes would be asked about another key. */
async function keepsKeys(place: Place, site: Site, { refuses }: Proxy, node: ChildNode): Promise<void> {
  for (const [written, key] of [
    ['a%2Fb', 'a/b'],
    ['a/b', 'a/b'],
    ['a//b', 'a//b'],
    ['a%2F%2Fb', 'a//b'],
    ['a/../b', 'a/../b'],
    ['a%2F..%2Fb', 'a/../b'],
    ['a/%2E%2E/b', 'a/../b'],
    ['a%252Fb', 'a%2Fb'],
    ['a%3Fb', 'a?b'],
    ['user:7:/../user:8:secret', 'user:7:/../user:8:secret'],
  ] as const) {
    // `client` reaches the node past the proxy.
    await node.client.delete(key);
    const { status, body } = await asked(place, site, 'PUT', `/v1/keys/${written}`, {}, 'kept');
    const what = `${site.path} ${written}: ${body}`;
    if (site.path !== '' && refuses.test(written)) {
      assert.equal(status, 400, what);
      continue;
    }
    assert.equal(status, 201, what);
    assert.equal((JSON.parse(body) as { key: string }).key, key, what);
  }
}

/** @returns the password as Caddy's configuration has it */
function hashOf(caddy: string): string {
  return execFileSync(caddy, ['hash-password', '--plaintext', PASSWORD], { encoding: 'utf8' }).trim();
}

/** A self-signed certificate for both sites. */
function certificate(folder: string): { readonly cert: string; readonly key: string } {
  const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
  const names = [OWN, UNDER_A_PATH].map(({ host }) => `DNS:${host}`).join();
  const made = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  const subject = ['-subj', '/CN=proxy', '-addext', `subjectAltName=${names}`];
  openssl(...made, ...subject, '-keyout', key, '-out', cert);
  return { cert, key };
}

for (const proxy of PROXIES) {
  const name = proxy.command.split('/').at(-1);
  const skip = !existsSync(proxy.command) && !ALL_INSTALLED && `${name} is not installed`;
  test(`a node works behind ${name} as the example configures it, also under a path`, { skip }, async (t) => {
    const cluster = await Cluster.create(t);
    const folder = await temporaryFolder(t);
    const kept = await keptPort();
    t.after(() => kept.release());
    const { port } = kept;
    const origin = `https://${UNDER_A_PATH.host}:${port}`;
    const trusting = ['--trust-proxy', '127.0.0.1', '--allow-host', OWN.host];
    const node = await cluster.start('node', '--public-url', `${origin}/kv`, ...trusting);
    const replica = await cluster.start('replica', '--replica-of', node.wsUrl);
    const passwords = join(folder, 'passwords');
    await writeFile(passwords, `${USER}:{PLAIN}${PASSWORD}\n`);
    const hash = (): string => hashOf(proxy.command);
    const place = { folder, port, node: node.port, ...certificate(folder), passwords, hash };
    await started(t, proxy, place);
    for (const site of [OWN, UNDER_A_PATH]) {
      await refusesStrangers(place, site);
      const put = await asked(place, site, 'PUT', '/v1/keys/a%2Fb', {}, 'value');
      assert.ok(put.status === 201 || put.status === 200, put.body);
      assert.equal((await asked(place, site, 'GET', '/v1/keys/a%2Fb')).body, 'value');
      // What a client claims about the host does not reach the node, which would refuse a name that it does not have.
      const claimed = { 'x-forwarded-host': 'other.example' };
      assert.equal((await asked(place, site, 'GET', '/v1/keys/a%2Fb', claimed)).body, 'value');
      const large = 'x'.repeat(8 * 1024 * 1024);
      const upload = await asked(place, site, 'PUT', '/v1/keys/large', {}, large);
      assert.ok(upload.status === 201 || upload.status === 200, upload.body);
      assert.equal((await asked(place, site, 'GET', '/v1/keys/large')).body, large);
      await node.client.delete('large');
      await followed(place, site, `live:${site.host}`, () => node.client.set(`live:${site.host}`, '1'));
      for (const type of ['text/event-stream', 'application/x-ndjson']) {
        const key = `${type}:${site.host}`;
        await streamed(place, site, type, key, () => node.client.set(key, '1'));
      }
      const exported = await asked(place, site, 'GET', '/v1/export?prefix=live');
      assert.match(exported.body, /"key":"live/);
      await keepsKeys(place, site, proxy, node);
      const stream = { connection: 'Upgrade', upgrade: 'websocket' };
      assert.equal((await asked(place, site, 'GET', '/v1/replication/stream', stream)).status, 403);
    }
    const page = await asked(place, UNDER_A_PATH, 'GET', '/docs/static/index.html');
    assert.deepEqual([page.status, page.location], [302, `${origin}/kv/docs/`]);
    assert.match((await asked(place, UNDER_A_PATH, 'GET', '/docs/')).body, /swagger-ui/);
    // Without the slash at its end the path leads there too.
    const bare = await asked(place, UNDER_A_PATH, 'GET', '');
    assert.ok(bare.status === 301 || bare.status === 302, `${bare.status}`);
    assert.match(bare.location ?? '', /\/kv\/$/);
    const { servers } = JSON.parse((await asked(place, UNDER_A_PATH, 'GET', '/openapi.json')).body);
    assert.equal(servers[0].url, `${origin}/kv`);
    // A replica sends writers to its master through the proxy.
    await samePosition(node, replica);
    const call = { method: 'PUT', body: 'v', redirect: 'manual' } as const;
    const { status, headers } = await fetch(`${replica.url}/v1/keys/redirected`, call);
    assert.deepEqual([status, headers.get('location')], [307, `${origin}/kv/v1/keys/redirected`]);
    assert.equal((await asked(place, UNDER_A_PATH, 'PUT', '/v1/keys/redirected', {}, 'v')).status, 201);
    // Pages of the site are the node's own; the same host without TLS is not.
    const own = await asked(place, UNDER_A_PATH, 'PUT', '/v1/keys/page', { origin }, 'v');
    assert.equal(own.status, 201, own.body);
    const foreign = { origin: origin.replace('https', 'http') };
    assert.equal((await asked(place, UNDER_A_PATH, 'PUT', '/v1/keys/page', foreign, 'v')).status, 403);
  });
}
