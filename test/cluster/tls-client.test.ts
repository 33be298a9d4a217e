/** Commands and psyncd/client on nodes with certificates of their own. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import test, { type TestContext } from 'node:test';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { follow } from '../../src/client/follow.ts';
import { mirror } from '../../src/client/mirror/mirror.ts';
import type { Transport } from '../../src/client/request/token.ts';
import { Client } from '../../src/client/rest.ts';
import { nodeTransport } from '../../src/client-node/transport.ts';
import { Certificates, type Pair, tlsFlags } from '../support/certificates.ts';
import { Cluster } from '../support/cluster.ts';
import { MAIN } from '../support/main-file.ts';

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

interface Stage {
  readonly certificates: Certificates;
  readonly node: ChildNode;
  readonly ca: string;
  readonly pair: Pair;
  readonly transport: Transport;
  readonly psyncd: (words: readonly string[], environment?: Record<string, string>) => Promise<Outcome>;
}

/** A node that requires a certificate, and a client that has one. */
async function staged(t: TestContext): Promise<Stage> {
  const [cluster, certificates] = [await Cluster.create(t), await Certificates.create(t)];
  const ca = certificates.path('ca.crt');
  const required = ['--tls-client-ca', ca, '--tls-client-auth', 'required'];
  const node = await cluster.start('node', ...tlsFlags(certificates.make('node')), ...required);
  const pair = certificates.make('client', { san: null });
  const [cert, key] = [readFileSync(pair.cert), readFileSync(pair.key)];
  const psyncd: Stage['psyncd'] = (words, environment = {}) =>
    new Promise((resolve) => {
      const env = { ...process.env, PSYNCD_NODE: node.url, ...environment };
      const child = execFile(process.execPath, [MAIN, ...words], { env }, (_error, stdout, stderr) =>
        resolve({ code: child.exitCode, stdout, stderr }),
      );
    });
  return {
    certificates,
    node,
    ca,
    pair,
    psyncd,
    transport: nodeTransport({ ca: readFileSync(ca), cert, key }),
  };
}

test('commands reach a node that requires a certificate, by flags and by variables', async (t) => {
  const { psyncd, ca, pair, certificates } = await staged(t);
  const flags = ['--ca', ca, '--cert', pair.cert, '--key', pair.key];
  const variables = { PSYNCD_CA: ca, PSYNCD_CERT: pair.cert, PSYNCD_KEY: pair.key };
  const set = await psyncd(['set', 'a', 'hello', ...flags]);
  assert.equal(set.code, 0, set.stderr);
  assert.equal((await psyncd(['get', 'a'], variables)).stdout, 'hello');
  assert.match((await psyncd(['info'], variables)).stdout, /role +master/);
  const lines = certificates.path('entries.ndjson');
  assert.equal((await psyncd(['export', lines], variables)).code, 0);
  assert.match((await psyncd(['import', lines], variables)).stdout, /^1 entry imported/);
});

test('psyncd follow shows the changes of a node that requires a certificate', async (t) => {
  const { psyncd, ca, pair, transport, node } = await staged(t);
  await new Client(node.url, { transport }).set('a', 'hello');
  const variables = { PSYNCD_CA: ca, PSYNCD_CERT: pair.cert, PSYNCD_KEY: pair.key };
  const env = { ...process.env, PSYNCD_NODE: node.url, ...variables };
  const child = execFile(process.execPath, [MAIN, 'follow', '--json'], { env });
  t.after(() => child.kill('SIGKILL'));
  let text = '';
  child.stdout?.on('data', (chunk) => {
    text += chunk;
  });
  await until('the entry is shown', () => text.includes('"hello"') && text.includes('synced'));
  assert.ok((await psyncd(['info'])).code === 1);
});

test('psyncd follow shows its new certificate when the old one is exchanged and its CA is removed', async (t) => {
  const [cluster, certificates] = [await Cluster.create(t), await Certificates.create(t)];
  const ca = certificates.path('ca.crt');
  certificates.ca('second');
  const trusted = certificates.bundle('trusted', ca, certificates.path('second.crt'));
  const required = [
    '--tls-client-ca',
    trusted,
    '--tls-client-auth',
    'required',
    '--tls-reload-interval',
    '20ms',
  ];
  const node = await cluster.start('node', ...tlsFlags(certificates.make('node')), ...required);
  const pair = certificates.copy(certificates.make('one', { san: null }), 'client');
  const other = certificates.make('two', { ca: 'second', san: null });
  const words = ['follow', '--json', '--node', node.url, '--ca', ca, '--cert', pair.cert, '--key', pair.key];
  const child = execFile(process.execPath, [MAIN, ...words]);
  t.after(() => child.kill('SIGKILL'));
  let text = '';
  child.stdout?.on('data', (chunk) => {
    text += chunk;
  });
  await until('it follows', () => text.includes('synced'));
  certificates.replace(pair, other);
  certificates.bundle('trusted', certificates.path('second.crt'));
  await until('it follows again', () => text.includes('"continue"'));
});

test('a command says in one line why TLS does not work, and what would help', async (t) => {
  const { psyncd, ca, pair, certificates } = await staged(t);
  writeFileSync(certificates.path('bad.key'), 'garbage');
  for (const [words, code, line] of [
    [['info'], 1, /^psyncd: cannot trust the node: .*; --ca FILE names its CA\n$/],
    [
      ['info', '--ca', ca],
      1,
      /^psyncd: .*; if it requires certificates, --cert FILE and --key FILE show one\n$|does not let this client in/,
    ],
    [['info', '--ca', certificates.path('none')], 2, /^psyncd: --ca \S+none: there is no such file\n$/],
    [['info', '--cert', pair.cert], 2, /^psyncd: --cert and --key need each other\n$/],
    [
      ['info', '--ca', ca, '--cert', pair.cert, '--key', certificates.path('bad.key')],
      2,
      /^psyncd: --key \S+bad\.key: it has no private key in PEM\n$/,
    ],
  ] as const) {
    const outcome = await psyncd(words);
    assert.deepEqual([outcome.code, outcome.stdout], [code, ''], outcome.stderr);
    assert.match(outcome.stderr, line);
  }
});

test('psyncd/client calls, follows and mirrors over a transport with certificates', async (t) => {
  const { node, transport } = await staged(t);
  const client = new Client(node.url, { transport });
  await client.set('a', 'one');
  const gone = new AbortController();
  const seen: string[] = [];
  for await (const event of follow({ url: node.url, transport, signal: gone.signal })) {
    seen.push(event.type);
    if (event.type === 'synced') await client.set('a', 'two');
    if (event.type === 'set') gone.abort();
  }
  assert.deepEqual(seen, ['reset', 'entry', 'synced', 'set']);
  const copy = mirror({ url: node.url, transport });
  const { position } = await client.set('a', 'three');
  await copy.waitFor(position);
  assert.equal(copy.get('a'), 'three');
  await copy.close();
  await assert.rejects(new Client(node.url).get('a'), /fetch failed/);
});
