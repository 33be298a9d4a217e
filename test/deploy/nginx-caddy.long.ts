/** The proxies of docs/deploy.md, with the configuration that stands there, in front of a real node. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { type RequestOptions, request } from 'node:https';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { WebSocket } from 'ws';
import { Cluster, temporaryFolder } from '../support/cluster.ts';
import { keptPort } from '../support/kept-port.ts';
import { ALL_INSTALLED, replaced, startProgram } from '../support/program.ts';

const DEPLOY = new URL('../../docs/deploy.md', import.meta.url);
const HOST = 'kv.example';

interface Place {
  readonly folder: string;
  readonly port: number;
  readonly node: number;
  readonly cert: string;
  readonly key: string;
}

interface Proxy {
  readonly command: string;
  /** @returns the text of the configuration file */
  readonly configuration: (place: Place) => Promise<string>;
  /** @returns the arguments of the command */
  readonly args: (file: string, folder: string) => readonly string[];
}

/** @returns the blocks of this language in docs/deploy.md */
async function blocks(language: string): Promise<readonly string[]> {
  const text = await readFile(DEPLOY, 'utf8');
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, 'gms'))].map(
    ([, block = '']) => block,
  );
}

const PROXIES: readonly Proxy[] = [
  {
    command: '/usr/sbin/nginx',
    configuration: async ({ folder, port, node, cert, key }) => {
      const [whole = '', path = ''] = await blocks('nginx');
      const server = replaced(whole, [
        ['127.0.0.1:7796', `127.0.0.1:${node}`],
        ['listen 443 ssl', `listen 127.0.0.1:${port} ssl`],
        ['/etc/ssl/kv.example.pem', cert],
        ['/etc/ssl/private/kv.example.key', key],
        [/^ *auth_basic.*\n/gm, ''],
        [/}\n*$/g, `${path}}\n`],
      ]);
      const places = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
        (name) => `${name}_temp_path ${join(folder, name)};`,
      );
      return `daemon off; pid ${join(folder, 'pid')}; error_log stderr; events {}
http { access_log off; ${places.join(' ')}
${server}}`;
    },
    args: (file, folder) => ['-p', folder, '-c', file],
  },
  {
    command: '/usr/bin/caddy',
    configuration: async ({ port, node, cert, key }) => {
      const [whole = '', path = ''] = await blocks('caddy');
      const [, inner = ''] = /^app\.example \{\n(.*)^\}$/ms.exec(path) ?? [];
      const site = replaced(whole.replace(/^ {2}basicauth \{.*?^ {2}\}\n/ms, ''), [
        ['kv.example {', `https://kv.example:${port} {\n  bind 127.0.0.1\n  tls ${cert} ${key}\n${inner}`],
      ]);
      return `{\n admin off\n auto_https disable_redirects\n}\n${replaced(site, [['127.0.0.1:7796', `127.0.0.1:${node}`]])}`;
    },
    args: (file) => ['run', '--adapter', 'caddyfile', '--config', file],
  },
];

/** Starts the proxy, and ends it after the test. */
async function started(t: TestContext, { command, configuration, args }: Proxy, place: Place): Promise<void> {
  const file = join(place.folder, 'configuration');
  await writeFile(file, await configuration(place));
  const answers = async (): Promise<boolean> => (await asked(place, 'GET', '/healthz')).status === 200;
  await startProgram(t, [command, ...args(file, place.folder)], place.folder, answers);
}

interface Answer {
  readonly status: number | undefined;
  readonly location: string | undefined;
  readonly body: string;
}

async function asked(
  { port, cert }: Place,
  method: string,
  path: string,
  headers: RequestOptions['headers'] = {},
  body = '',
): Promise<Answer> {
  const options = {
    ca: await readFile(cert),
    servername: HOST,
    host: '127.0.0.1',
    port,
    method,
    path,
    agent: false,
  };
  const sent = request({ ...options, headers: { host: `${HOST}:${port}`, ...headers } });
  sent.end(body);
  const [response] = await once(sent, 'response');
  let text = '';
  for await (const chunk of response.setEncoding('utf8')) text += chunk;
  return { status: response.statusCode, location: response.headers.location, body: text };
}

/** Follows the changes through the proxy until the change of `key` comes. */
async function followed(
  { port, cert }: Place,
  path: string,
  key: string,
  write: () => Promise<unknown>,
): Promise<void> {
  const options = { ca: await readFile(cert), servername: HOST, headers: { host: `${HOST}:${port}` } };
  const socket = new WebSocket(`wss://127.0.0.1:${port}${path}/v1/changes`, 'psync.v1.json', options);
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

for (const proxy of PROXIES) {
  const name = proxy.command.split('/').at(-1);
  const skip = !existsSync(proxy.command) && !ALL_INSTALLED && `${name} is not installed`;
  test(`a node works behind ${name} as docs/deploy.md configures it, also under a path`, {
    skip,
  }, async (t) => {
    const cluster = await Cluster.create(t);
    const folder = await temporaryFolder(t);
    const kept = await keptPort();
    t.after(() => kept.release());
    const { port } = kept;
    const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
    const subject = ['-subj', `/CN=${HOST}`, '-addext', `subjectAltName=DNS:${HOST}`];
    const made = [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      ...subject,
    ];
    execFileSync('openssl', [...made, '-keyout', key, '-out', cert], { stdio: 'ignore' });
    const origin = `https://${HOST}:${port}`;
    const node = await cluster.start('node', '--public-url', `${origin}/kv`, '--trust-proxy', '127.0.0.1');
    const place = { folder, port, node: node.port, cert, key };
    await started(t, proxy, place);
    for (const path of ['', '/kv']) {
      const put = await asked(place, 'PUT', `${path}/v1/keys/a%2Fb`, { 'content-length': 5 }, 'value');
      assert.ok(put.status === 201 || put.status === 200, put.body);
      assert.equal((await asked(place, 'GET', `${path}/v1/keys/a%2Fb`)).body, 'value');
      const large = 'x'.repeat(8 * 1024 * 1024);
      const upload = await asked(
        place,
        'PUT',
        `${path}/v1/keys/large`,
        { 'content-length': large.length },
        large,
      );
      assert.ok(upload.status === 201 || upload.status === 200, upload.body);
      assert.equal((await asked(place, 'GET', `${path}/v1/keys/large`)).body, large);
      await followed(place, path, `live${path}`, () => node.client.set(`live${path}`, '1'));
      const exported = await asked(place, 'GET', `${path}/v1/export?prefix=live`);
      assert.match(exported.body, /"key":"live/);
    }
    const page = await asked(place, 'GET', '/kv/docs/static/index.html');
    assert.deepEqual([page.status, page.location], [302, `${origin}/kv/docs/`]);
    assert.match((await asked(place, 'GET', '/kv/docs/')).body, /swagger-ui/);
    const { servers } = JSON.parse((await asked(place, 'GET', '/kv/openapi.json')).body);
    assert.equal(servers[0].url, `${origin}/kv`);
    // Pages of the site are the node's own; the same host without TLS is not.
    const write = { 'content-length': 1 };
    const own = await asked(place, 'PUT', '/kv/v1/keys/page', { ...write, origin }, 'v');
    assert.equal(own.status, 201, own.body);
    const foreign = { ...write, origin: origin.replace('https', 'http') };
    assert.equal((await asked(place, 'PUT', '/kv/v1/keys/page', foreign, 'v')).status, 403);
    const stream = { connection: 'Upgrade', upgrade: 'websocket' };
    assert.equal((await asked(place, 'GET', '/v1/replication/stream', stream)).status, 403);
  });
}
