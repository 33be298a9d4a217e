/** Certificates as credentials: they have rights like tokens, on every path into a node. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { WebSocket } from 'ws';
import { addCertificate, createToken, listTokens, revokeToken } from '../../src/access/tokens/tokens.ts';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { Certificates, type Pair, tlsFlags } from '../support/certificates.ts';
import { Cluster, linkState } from '../support/cluster.ts';
import { MAIN } from '../support/main-file.ts';
import { type Identity, tlsCall, tlsConnected, tlsOptions } from '../support/tls-call.ts';

interface Stage {
  readonly cluster: Cluster;
  readonly certificates: Certificates;
  readonly node: ChildNode;
  /** The list of tokens and certificates. */
  readonly file: string;
  readonly client: Identity;
  /** Makes a certificate. */
  readonly owner: (name: string, san?: string | null) => Identity & { readonly pair: Pair };
  /** Gives rights to a name. @returns the ID of the entry */
  readonly allow: (san: string, rights: readonly string[], prefixes?: readonly string[]) => Promise<string>;
}

async function staged(t: TestContext, auth = 'required', ...flags: string[]): Promise<Stage> {
  const [cluster, certificates] = [await Cluster.create(t), await Certificates.create(t)];
  const file = join(cluster.data('node'), 'tokens.json');
  const client = { ca: certificates.path('ca.crt') };
  const wanted = { name: 'test', prefixes: null, expiresAt: null };
  await createToken(file, { ...wanted, rights: ['admin'] }, Date.now());
  const asked = ['--tls-client-ca', client.ca, '--tls-client-auth', auth, '--tls-reload-interval', '20ms'];
  const node = await cluster.start('node', ...tlsFlags(certificates.make('node')), ...asked, ...flags);
  return {
    cluster,
    certificates,
    node,
    file,
    client,
    owner: (name, san = null) => ({ ...client, pair: certificates.make(name, { san }) }),
    allow: async (san, rights, prefixes) =>
      (await addCertificate(file, { ...wanted, rights, prefixes: prefixes ?? null }, san, Date.now())).id,
  };
}

function key(node: ChildNode, name = 'a'): string {
  return `${node.url}/v1/keys/${name}`;
}

/** Waits until the node has read the list again. */
async function answers(node: ChildNode, identity: Identity, status: number): Promise<void> {
  await until(`the answer is ${status}`, async () => (await tlsCall(key(node), identity)).status === status);
}

async function followed(node: ChildNode, identity: Identity): Promise<WebSocket> {
  const url = `${node.wsUrl}/v1/changes?prefix=a`;
  const ws = new WebSocket(url, 'psync.v1.json', tlsOptions(identity));
  await once(ws, 'message');
  return ws;
}

for (const [what, san, name] of [
  ['a URI', 'URI:spiffe://cluster/Backend', 'spiffe://cluster/Backend'],
  ['a DNS name', 'DNS:Backend.example', 'backend.EXAMPLE'],
  ['the common name', null, 'backend'],
] as const) {
  test(`a certificate has the rights that the list gives to ${what} in it, on the short and the long way`, async (t) => {
    const { node, owner, allow } = await staged(t);
    const backend = owner('backend', san);
    await allow(name, ['write', 'read'], ['a']);
    await answers(node, backend, 404);
    assert.equal((await tlsCall(key(node), backend, 'PUT', 'x')).status, 201);
    assert.equal((await tlsCall(key(node), backend)).body, 'x');
    assert.equal((await tlsCall(`${node.url}/v1/keys?prefix=a`, backend)).status, 200);
    const other = await tlsCall(key(node, 'b'), backend, 'PUT', 'x');
    assert.equal(other.status, 403);
    assert.match(other.body, /the certificate \S+ has the right write only for keys that begin with/);
    const ws = await followed(node, backend);
    ws.terminate();
    assert.equal((await tlsCall(`${node.url}/v1/config`, backend)).status, 403);
  });
}

test('of several names in the list the first one counts, also when it has expired, and the next one when it is revoked', async (t) => {
  const { node, owner, allow, file } = await staged(t);
  const both = owner('both', 'DNS:two.example,URI:spiffe://cluster/one');
  await allow('two.example', ['read']);
  const first = await allow('spiffe://cluster/one', ['read', 'write']);
  const put = async (): Promise<number> => (await tlsCall(key(node), both, 'PUT', 'x')).status;
  await until('the first one counts', async () => (await put()) < 400);
  const list = JSON.parse(readFileSync(file, 'utf8')) as { tokens: { id: string; expiresAt?: string }[] };
  for (const entry of list.tokens) if (entry.id === first) entry.expiresAt = '2026-01-01T00:00:00Z';
  writeFileSync(file, JSON.stringify(list));
  await answers(node, both, 403);
  await revokeToken(file, first);
  await answers(node, both, 200);
  assert.equal(await put(), 403);
});

test('a certificate that is not in the list gets 403, and the log says once who it is', async (t) => {
  const { node, owner } = await staged(t);
  const stranger = owner('stranger', 'URI:spiffe://cluster/stranger');
  const socket = await tlsConnected(node.port, tlsOptions(stranger));
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk;
  });
  for (const count of [1, 2]) {
    socket.write('GET /v1/keys/a HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await until('the answer has come', () => text.split('"code":"FORBIDDEN"').length > count);
  }
  socket.destroy();
  assert.equal((await tlsCall(`${node.url}/healthz`, stranger)).status, 200);
  const lines = node.log.split('\n').filter((line) => line.includes('certificate-refused'));
  assert.equal(lines.length, 1);
  assert.deepEqual(JSON.parse(lines[0] ?? '').names, ['spiffe://cluster/stranger']);
});

test('a client cannot fill the log with certificates that are not in the list', async (t) => {
  const { node, owner } = await staged(t);
  const hosts = Array.from({ length: 300 }, (_, index) => `DNS:host-${index}.example`);
  const stranger = owner('stranger', hosts.join(','));
  for (let count = 0; count < 20; count += 1) {
    assert.equal((await tlsCall(key(node), stranger)).status, 403);
  }
  const lines = node.log.split('\n').filter((line) => line.includes('certificate-refused'));
  assert.ok(lines.length >= 1 && lines.length < 20);
  for (const line of lines) assert.equal(JSON.parse(line).names.length, 10);
});

test('a token in a request counts more than the certificate of its connection', async (t) => {
  // Until the node has read the list again, the new token counts as one that is no good.
  const { node, owner, allow, file } = await staged(t, 'required', '--auth-failures', '1000');
  await allow('reader', ['read']);
  const reader = owner('reader');
  await answers(node, reader, 404);
  const wanted = { name: 'writer', rights: ['write'], prefixes: null, expiresAt: null };
  const { text: token } = await createToken(file, wanted, Date.now());
  assert.equal((await tlsCall(key(node), reader, 'PUT', 'x')).status, 403);
  await until(
    'the token writes',
    async () => (await tlsCall(key(node), { ...reader, token }, 'PUT', 'x')).status === 201,
  );
  assert.equal((await tlsCall(key(node), { ...reader, token })).status, 403);
  assert.equal((await tlsCall(key(node), { ...reader, token: `${token}x` })).status, 401);
  assert.equal((await tlsCall(key(node), reader)).status, 200);
});

test('a client without a certificate needs a token where certificates are optional', async (t) => {
  const { node, client, owner, allow } = await staged(t, 'optional');
  await allow('backend', ['read']);
  await answers(node, owner('backend'), 404);
  assert.equal((await tlsCall(key(node), client)).status, 401);
});

test('an entry that is removed ends the streams of its certificate, and the others go on', async (t) => {
  const { node, owner, allow, file } = await staged(t);
  const [first, second] = [owner('first'), owner('second')];
  const id = await allow('first', ['read']);
  await allow('second', ['read']);
  await answers(node, first, 404);
  await answers(node, second, 404);
  const [lost, kept] = [await followed(node, first), await followed(node, second)];
  await revokeToken(file, id);
  const [code, reason] = await once(lost, 'close');
  assert.equal(code, 4401);
  assert.equal(String(reason), 'the certificate has lost its entry in the list of tokens');
  assert.equal((await tlsCall(key(node), first)).status, 403);
  assert.equal(kept.readyState, WebSocket.OPEN);
  kept.terminate();
});

test('a replica follows with its certificate, and its link says when the master no longer wants it', async (t) => {
  const { cluster, node, owner, allow, file, client } = await staged(t);
  const { pair } = owner('replica');
  const id = await allow('replica', ['replicate']);
  const shown = ['--upstream-ca', client.ca, '--upstream-cert', pair.cert, '--upstream-key', pair.key];
  const replica = await cluster.start('replica', '--replica-of', node.wsUrl, ...shown);
  await linkState(replica, 'streaming');
  await revokeToken(file, id);
  const { upstream } = await linkState(replica, 'unauthorized');
  assert.match(upstream?.detail ?? '', /certificate/);
  await allow('replica', ['replicate']);
  await linkState(replica, 'streaming');
});

test('without a list everybody whose certificate the CA has signed may do everything', async (t) => {
  const [cluster, certificates] = [await Cluster.create(t), await Certificates.create(t)];
  const ca = certificates.path('ca.crt');
  const required = ['--tls-client-ca', ca, '--tls-client-auth', 'required'];
  const node = await cluster.start('node', ...tlsFlags(certificates.make('node')), ...required);
  const owner = { ca, pair: certificates.make('owner', { san: null }) };
  assert.equal((await tlsCall(`${node.url}/v1/config`, owner)).status, 200);
  assert.match(node.log, /"clients":"with certificates"/);
});

test('psyncd token gives rights to a certificate, lists it and takes them away', async (t) => {
  const { file, node, owner } = await staged(t);
  const psyncd = (...words: string[]): string =>
    execFileSync(process.execPath, [MAIN, 'token', ...words, '--tokens', file], { encoding: 'utf8' });
  const made = psyncd('create', 'boss', '--rights', 'admin', '--certificate', 'boss');
  assert.match(made, /^\w{8} boss of the certificate boss: admin; in /);
  const boss = owner('boss');
  await answers(node, boss, 404);
  assert.match(psyncd('list'), /boss of the certificate boss: admin/);
  const { tokens } = JSON.parse((await tlsCall(`${node.url}/v1/tokens`, boss)).body);
  assert.deepEqual(tokens[1].certificate, { san: 'boss' });
  psyncd('revoke', made.slice(0, 8));
  await answers(node, boss, 403);
  assert.equal((await listTokens(file)).length, 1);
});
