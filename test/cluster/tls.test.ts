/** TLS of the listener: who gets in, and certificates that are exchanged while the node runs. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import test, { type TestContext } from 'node:test';
import { checkServerIdentity, type TLSSocket } from 'node:tls';
import { WebSocket } from 'ws';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { Certificates, type Pair, replaceFile, tlsFlags } from '../support/certificates.ts';
import { Cluster } from '../support/cluster.ts';
import { answersIn, rawRequest } from '../support/raw-http.ts';
import { type Identity, tlsCall, tlsConnected, tlsOptions } from '../support/tls-call.ts';

interface Secured {
  readonly cluster: Cluster;
  readonly certificates: Certificates;
  readonly node: ChildNode;
  /** Files of the node, to be exchanged. */
  readonly pair: Pair;
  /** A client that trusts the CA of the node. */
  readonly client: Identity;
}

/** A node with TLS that looks at its files all the time. */
async function secured(
  t: TestContext,
  flags: (certificates: Certificates) => readonly string[] = () => [],
): Promise<Secured> {
  const cluster = await Cluster.create(t);
  const certificates = await Certificates.create(t);
  const pair = certificates.copy(certificates.make('first'), 'node');
  const more = flags(certificates);
  const node = await cluster.start('node', ...tlsFlags(pair), '--tls-reload-interval', '20ms', ...more);
  return { cluster, certificates, node, pair, client: { ca: certificates.path('ca.crt') } };
}

function requiring(auth: 'optional' | 'required'): (certificates: Certificates) => readonly string[] {
  return (certificates) => {
    certificates.ca('clients');
    const bundle = certificates.bundle('client-cas', certificates.path('clients.crt'));
    return ['--tls-client-ca', bundle, '--tls-client-auth', auth];
  };
}

/** Common name of the certificate that a new connection gets. */
function nameOf({ port }: ChildNode, client: Identity): Promise<string> {
  return nameAt(port, client);
}

async function nameAt(port: number, client: Identity): Promise<string> {
  const socket = await tlsConnected(port, tlsOptions(client));
  const name = socket.getPeerCertificate().subject.CN;
  socket.destroy();
  return String(name);
}

/** @returns null: the node does not let the client in */
async function statusOf(node: ChildNode, identity: Identity, path = '/healthz'): Promise<number | null> {
  return tlsCall(`${node.url}${path}`, identity).then(
    ({ status }) => status,
    () => null,
  );
}

function events({ log }: ChildNode, event: string): readonly string[] {
  return log.split('\n').filter((line) => line.includes(`"${event}"`));
}

async function followed(node: ChildNode, identity: Identity): Promise<WebSocket> {
  const ws = new WebSocket(`${node.wsUrl}/v1/changes?position=now`, 'psync.v1.json', tlsOptions(identity));
  await once(ws, 'open');
  return ws;
}

/** Sends a request on an open connection. @returns null: the node has closed it */
async function askedOn(socket: TLSSocket, path: string): Promise<number | null> {
  socket.on('error', () => undefined);
  socket.write(rawRequest('GET', path));
  const answer = new Promise<Buffer | null>((resolve) => {
    socket.once('data', resolve);
    socket.once('close', () => resolve(null));
  });
  const bytes = await answer;
  return bytes === null ? null : (answersIn(bytes.toString('latin1'))[0]?.status ?? null);
}

test('with a certificate a node speaks https and wss, on the short way, the long way and the feed', async (t) => {
  const { node, client } = await secured(t);
  assert.match(node.url, /^https:\/\/127\.0\.0\.1:\d+$/);
  const put = await tlsCall(`${node.url}/v1/keys/a`, client, 'PUT', 'value');
  const short = await tlsCall(`${node.url}/v1/keys/a`, client);
  const long = await tlsCall(`${node.url}/v1/keys?prefix=a`, client);
  assert.deepEqual([put.status, short.status, short.body, long.status], [201, 200, 'value', 200]);
  const { servers } = JSON.parse((await tlsCall(`${node.url}/openapi.json`, client)).body);
  assert.equal(servers[0].url, node.url);
  const large = 'x'.repeat(3 * 1024 * 1024);
  assert.equal((await tlsCall(`${node.url}/v1/keys/large`, client, 'PUT', large)).status, 201);
  assert.equal((await tlsCall(`${node.url}/v1/keys/large`, client)).body, large);

  const ws = new WebSocket(`${node.wsUrl}/v1/changes?prefix=a`, 'psync.v1.json', tlsOptions(client));
  const types: string[] = [];
  ws.on('message', (text) => types.push(JSON.parse(String(text)).type));
  await until('the feed has begun', () => types.includes('synced'));
  await tlsCall(`${node.url}/v1/keys/a`, client, 'PUT', 'again');
  await until('the change has come', () => types.includes('set'));
  ws.terminate();
  assert.equal(await node.stop(), 0);
});

test('pipelined requests over TLS are answered in order, also by a client that closes its side', async (t) => {
  const { node, client } = await secured(t);
  const socket = await tlsConnected(node.port, { ...tlsOptions(client), allowHalfOpen: true });
  const requests = [
    rawRequest('PUT', '/v1/keys/a', 'one'),
    rawRequest('GET', '/v1/keys/a'),
    rawRequest('GET', '/v1/keys/none'),
  ];
  socket.end(requests.join(''));
  let text = '';
  for await (const chunk of socket.setEncoding('latin1')) text += chunk;
  assert.deepEqual(
    answersIn(text).map(({ status }) => status),
    [201, 200, 404],
  );
});

test('thousands of pipelined requests over TLS are all answered, in order', async (t) => {
  const { node, client } = await secured(t);
  const socket = await tlsConnected(node.port, { ...tlsOptions(client), allowHalfOpen: true });
  const count = 3_000;
  let requests = '';
  for (let index = 0; index < count; index += 1) {
    // Every third takes the long way.
    requests += index % 3 === 2 ? rawRequest('DELETE', '/v1/keys/a') : rawRequest('PUT', '/v1/keys/a', 'x');
  }
  socket.end(requests);
  let text = '';
  for await (const chunk of socket.setEncoding('latin1')) text += chunk;
  const statuses = answersIn(text).map(({ status }) => status);
  assert.deepEqual(
    statuses,
    Array.from({ length: count }, (_, index) => [201, 200, 200][index % 3]),
  );
});

test('a node with TLS listens on every address of localhost', async (t) => {
  const { node, client } = await secured(t, () => ['--host', 'localhost']);
  assert.match(node.url, /^https:\/\/localhost:/);
  for (const host of ['127.0.0.1', 'localhost'])
    assert.equal((await tlsCall(`https://${host}:${node.port}/healthz`, client)).status, 200);
});

test('the admin listener has the same certificate, and gets the new one too', async (t) => {
  const { certificates, node, client, pair } = await secured(t, () => ['--admin-listen', '127.0.0.1:0']);
  const { adminUrl } = node;
  assert.ok(adminUrl !== null);
  assert.match(adminUrl, /^https:\/\//);
  assert.equal((await tlsCall(`${adminUrl}/v1/config`, client)).status, 200);
  certificates.replace(pair, certificates.make('second'));
  const port = Number(new URL(adminUrl).port);
  await until('the new certificate is used', async () => {
    const socket = await tlsConnected(port, tlsOptions(client));
    const { CN } = socket.getPeerCertificate().subject;
    socket.destroy();
    return CN === 'second';
  });
});

test('plain HTTP on a port with TLS is told so', async (t) => {
  const { node } = await secured(t);
  const socket = connect(node.port, '127.0.0.1');
  socket.write(rawRequest('GET', '/healthz'));
  let text = '';
  for await (const chunk of socket.setEncoding('latin1')) text += chunk;
  const [answer] = answersIn(text);
  assert.deepEqual([answer?.status, answer?.body], [400, 'this is an https port\n']);
});

test('versions of TLS older than the setting are refused', async (t) => {
  const { cluster, node, client, pair } = await secured(t);
  const old = { ...tlsOptions(client), minVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0' } as const;
  await assert.rejects(tlsConnected(node.port, { ...old, maxVersion: 'TLSv1.1' }), /version/);
  const before = await tlsConnected(node.port, { ...old, maxVersion: 'TLSv1.2' });
  before.destroy();
  const strict = await cluster.start('strict', ...tlsFlags(pair), '--tls-min-version', '1.3');
  await assert.rejects(tlsConnected(strict.port, { ...old, maxVersion: 'TLSv1.2' }), /version/);
});

test('a new pair of files is used for new connections, and open ones go on', async (t) => {
  const { certificates, node, client, pair } = await secured(t);
  const open = await tlsConnected(node.port, tlsOptions(client));
  const ws = await followed(node, client);
  certificates.replace(pair, certificates.make('second'));
  await until('the new certificate is used', async () => (await nameOf(node, client)) === 'second');
  assert.equal(await askedOn(open, '/healthz'), 200);
  assert.equal(ws.readyState, WebSocket.OPEN);
  open.destroy();
  ws.terminate();
});

test('the admin listener has the same certificate as the other one, also after an exchange', async (t) => {
  const { certificates, node, client, pair } = await secured(t, () => ['--admin-listen', '127.0.0.1:0']);
  const { adminUrl } = node;
  assert.match(String(adminUrl), /^https:/);
  const statuses = [node.url, adminUrl].map(
    async (url) => (await tlsCall(`${url}/v1/config`, client)).status,
  );
  assert.deepEqual(await Promise.all(statuses), [404, 200]);
  certificates.replace(pair, certificates.make('second'));
  const port = Number(new URL(String(adminUrl)).port);
  await until('the new certificate is used', async () => (await nameAt(port, client)) === 'second');
});

test('with an interval of 0 a node reads its files on SIGHUP only', async (t) => {
  const { certificates, node, client, pair } = await secured(t, () => ['--tls-reload-interval', '0']);
  certificates.replace(pair, certificates.make('second'));
  assert.equal(await nameOf(node, client), 'first');
  node.process.kill('SIGHUP');
  await until('the new certificate is used', async () => (await nameOf(node, client)) === 'second');
});

test('files behind a symbolic link that is switched are noticed, as in Kubernetes', async (t) => {
  const cluster = await Cluster.create(t);
  const certificates = await Certificates.create(t);
  const pairs = ['first', 'second'].map((name) => certificates.make(name));
  const link = certificates.path('..data');
  const pair = { cert: certificates.path('tls.crt'), key: certificates.path('tls.key') };
  for (const [index, { cert, key }] of pairs.entries()) {
    symlinkSync(cert, certificates.path(`set${index}.crt`));
    symlinkSync(key, certificates.path(`set${index}.key`));
  }
  symlinkSync(certificates.path('set0'), link);
  symlinkSync(`${certificates.path('set0')}.crt`, pair.cert);
  symlinkSync(`${certificates.path('set0')}.key`, pair.key);
  const node = await cluster.start('node', ...tlsFlags(pair), '--tls-reload-interval', '20ms');
  for (const kind of ['crt', 'key']) {
    symlinkSync(`${certificates.path('set1')}.${kind}`, certificates.path(`new.${kind}`));
    renameSync(certificates.path(`new.${kind}`), certificates.path(`tls.${kind}`));
  }
  const client = { ca: certificates.path('ca.crt') };
  await until('the new certificate is used', async () => (await nameOf(node, client)) === 'second');
});

test('a bad new pair changes nothing, and the log says each failure once', async (t) => {
  const { certificates, node, client, pair } = await secured(t);
  const other = certificates.make('other');
  const spoilers: readonly (() => void)[] = [
    () => replaceFile(pair.key, 'garbage'),
    () => certificates.replace(pair, { cert: other.cert, key: certificates.path('first.key') }),
    () => rmSync(pair.cert),
    () => certificates.replace(pair, certificates.make('old', { fromDays: -2, toDays: -1 })),
  ];
  for (const [index, spoil] of spoilers.entries()) {
    spoil();
    const failures = (): readonly string[] => events(node, 'tls-not-reloaded');
    await until('the failure is logged', () => failures().length > index);
    assert.equal(await nameOf(node, client), 'first');
  }
  // Two files cannot change at once, so what is between them may be logged too; but nothing twice.
  const lines = events(node, 'tls-not-reloaded').map((line) => JSON.parse(line).error as string);
  assert.deepEqual([...new Set(lines)], lines);
  certificates.replace(pair, certificates.make('second'));
  await until('the new certificate is used', async () => (await nameOf(node, client)) === 'second');
});

test('a node that cannot use a file for TLS does not start, and leaves no folder', async (t) => {
  const cluster = await Cluster.create(t);
  const certificates = await Certificates.create(t);
  const { cert } = certificates.make('node');
  writeFileSync(certificates.path('bad.key'), '');
  const flags = ['--tls-cert', cert, '--tls-key', certificates.path('bad.key')];
  await assert.rejects(
    cluster.start('node', ...flags),
    /^Error: psyncd: --tls-key \S+bad\.key: it is empty$/,
  );
});

test('with required certificates only clients of the CA get in', async (t) => {
  const { certificates, node, client } = await secured(t, requiring('required'));
  const own = certificates.make('own', { ca: 'clients', san: null });
  certificates.ca('foreign');
  const foreign = certificates.make('stranger', { ca: 'foreign', san: null });
  const expired = certificates.make('expired', { ca: 'clients', san: null, fromDays: -2, toDays: -1 });
  assert.equal(await statusOf(node, { ...client, pair: own }), 200);
  assert.equal(await statusOf(node, client), null);
  assert.equal(await statusOf(node, { ...client, pair: foreign }), null);
  assert.equal(await statusOf(node, { ...client, pair: expired }), null);
  await until('the log has the reasons', () => {
    const lines = events(node, 'tls-client-refused').join('\n');
    return /CERT_HAS_EXPIRED/.test(lines) && /UNABLE_TO/.test(lines);
  });
  for (const line of events(node, 'tls-client-refused')) assert.equal(JSON.parse(line).address, '127.0.0.1');
});

test('with optional certificates a client may have none, but not one of another CA', async (t) => {
  const { certificates, node, client } = await secured(t, requiring('optional'));
  const own = certificates.make('own', { ca: 'clients', san: null });
  certificates.ca('foreign');
  const foreign = certificates.make('stranger', { ca: 'foreign', san: null });
  assert.equal(await statusOf(node, client), 200);
  assert.equal(await statusOf(node, { ...client, pair: own }), 200);
  assert.equal(await statusOf(node, { ...client, pair: foreign }), null);
});

test('a client may show its certificate with those between it and the CA', async (t) => {
  const { certificates, node, client } = await secured(t, requiring('required'));
  certificates.make('middle', { ca: 'clients', san: null, isCa: true });
  const leaf = certificates.make('leaf', { ca: 'middle', san: null });
  const chain = certificates.bundle('chain', leaf.cert, certificates.path('middle.crt'));
  assert.equal(await statusOf(node, { ...client, pair: leaf }), null);
  assert.equal(await statusOf(node, { ...client, pair: { ...leaf, cert: chain } }), 200);
});

test('what is no handshake ends its connection, and the node goes on', async (t) => {
  const { node, client } = await secured(t);
  for (const bytes of [
    Buffer.alloc(64),
    Buffer.from('SSH-2.0-client\r\n'),
    Buffer.from([0x16, 0x03, 0x01, 0x00, 0x05, 0x01, 0xff, 0xff, 0xff, 0xff]),
    Buffer.concat([Buffer.from([0x80, 0x2e, 0x01, 0x00, 0x02]), Buffer.alloc(64, 7)]),
  ]) {
    const socket = connect(node.port, '127.0.0.1');
    socket.on('error', () => undefined);
    socket.write(bytes);
    await once(socket.resume(), 'close');
  }
  assert.equal(await statusOf(node, client), 200);
  assert.doesNotMatch(node.log, /unexpected-error|request-failed/);
});

test('a client whose CA is removed loses its streams and connections, and no other client does', async (t) => {
  const { certificates, node, client } = await secured(t, requiring('required'));
  certificates.ca('clients2');
  const bundle = (...names: readonly string[]): string =>
    certificates.bundle('client-cas', ...names.map((name) => certificates.path(`${name}.crt`)));
  const first = { ...client, pair: certificates.make('one', { ca: 'clients', san: null }) };
  const second = { ...client, pair: certificates.make('two', { ca: 'clients2', san: null }) };
  bundle('clients', 'clients2');
  await until('the second CA is known', async () => (await statusOf(node, second)) === 200);
  const [lost, kept] = [await followed(node, first), await followed(node, second)];
  const idle = await tlsConnected(node.port, tlsOptions(first));
  assert.equal(await askedOn(idle, '/healthz'), 200);
  const gone = Promise.all([once(lost, 'close'), once(idle, 'close')]);
  const session = idle.getSession();
  bundle('clients2');
  await gone;
  assert.equal(await statusOf(node, first), null);
  assert.equal(kept.readyState, WebSocket.OPEN);
  assert.equal(await statusOf(node, second), 200);
  // A session of before does not let it in either.
  const again = await tlsConnected(node.port, { ...tlsOptions(first), session }).catch(() => null);
  if (again !== null) assert.equal(await askedOn(again, '/healthz'), null);
  kept.terminate();
});

test('a name that is not in the certificate is refused by clients', async (t) => {
  const { node, client } = await secured(t);
  const options = tlsOptions(client);
  const asked = { ...options, servername: 'other.example', checkServerIdentity };
  await assert.rejects(tlsConnected(node.port, asked), /ALTNAME|altnames/);
});

test('a body that stalls over TLS is answered 408, and one that comes in pieces is taken', async (t) => {
  const { node, client } = await secured(t, () => ['--body-timeout', '500ms']);
  const answered = async (pieces: AsyncIterable<string>): Promise<number | undefined> => {
    const socket = await tlsConnected(node.port, tlsOptions(client));
    let text = '';
    socket.setEncoding('latin1').on('data', (chunk) => {
      text += chunk;
    });
    socket.write('PUT /v1/keys/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\n');
    for await (const piece of pieces) socket.write(piece);
    await until('the answer has come', () => text.includes('\r\n\r\n'));
    socket.destroy();
    return Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1]);
  };
  // Each piece comes in time; all of them together take longer than a body may rest.
  async function* slow(): AsyncIterable<string> {
    for (const byte of 'in eight') {
      await new Promise((resolve) => setTimeout(resolve, 100));
      yield byte;
    }
  }
  async function* stalled(): AsyncIterable<string> {
    yield 'half';
  }
  assert.equal(await answered(slow()), 201);
  assert.equal(await answered(stalled()), 408);
});

test('a client that takes nothing over TLS costs a bounded buffer, and the feed goes on for others', async (t) => {
  const { node, client } = await secured(t, () => ['--follower-output-limit', '1mb']);
  const idle = await followed(node, client);
  const reading = await followed(node, client);
  let received = 0;
  reading.on('message', (text) => {
    received += String(text).length;
  });
  idle.pause();
  const value = 'x'.repeat(512 * 1024);
  for (let index = 0; index < 24; index += 1) {
    assert.equal((await tlsCall(`${node.url}/v1/keys/k${index}`, client, 'PUT', value)).status, 201);
  }
  await until('the reader has everything', () => received > 24 * value.length);
  const closed = once(idle, 'close');
  idle.resume();
  const [code] = await closed;
  assert.equal(code, 4413);
  reading.terminate();
});
