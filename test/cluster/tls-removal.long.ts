/** A client whose CA is removed, or whose certificate has expired, does not stay and does not come back by what it has from before. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import test, { type TestContext } from 'node:test';
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { Certificates, type Pair, replaceFile, tlsFlags } from '../support/certificates.ts';
import { Cluster } from '../support/cluster.ts';
import { answersIn, rawRequest } from '../support/raw-http.ts';
import { type Identity, tlsCall, tlsConnected, tlsOptions } from '../support/tls-call.ts';

/** Far less than the time for a handshake. */
const ROOM_MS = 5_000;

interface Stage {
  readonly cluster: Cluster;
  readonly certificates: Certificates;
  readonly node: ChildNode;
  /** Files of the node, to be exchanged. */
  readonly pair: Pair;
  /** A client of the CA `kept`, and one of the CA `lost`. */
  readonly kept: Identity;
  readonly lost: Identity;
  /** Makes these the CAs of clients. */
  readonly trust: (...names: readonly string[]) => void;
}

/** A node that requires certificates of two CAs, and looks at its files all the time. */
async function staged(t: TestContext, ...flags: readonly string[]): Promise<Stage> {
  const [cluster, certificates] = [await Cluster.create(t), await Certificates.create(t)];
  const pair = certificates.copy(certificates.make('first'), 'node');
  for (const name of ['kept', 'lost']) certificates.ca(name);
  const trust = (...names: readonly string[]): string =>
    certificates.bundle('client-cas', ...names.map((name) => certificates.path(`${name}.crt`)));
  const required = ['--tls-client-ca', trust('kept', 'lost'), '--tls-client-auth', 'required'];
  const interval = flags.includes('--tls-reload-interval') ? [] : ['--tls-reload-interval', '20ms'];
  const node = await cluster.start('node', ...tlsFlags(pair), ...required, ...interval, ...flags);
  const owner = (ca: string): Identity => ({
    ca: certificates.path('ca.crt'),
    pair: certificates.make(`of-${ca}`, { ca, san: null }),
  });
  return { cluster, certificates, node, pair, trust, kept: owner('kept'), lost: owner('lost') };
}

/** Sends a request. @returns the status of the answer; null: the node has closed the connection */
async function askedOn(socket: TLSSocket): Promise<number | null> {
  socket.on('error', () => undefined);
  const answer = new Promise<Buffer | null>((resolve) => {
    socket.once('data', resolve);
    socket.once('close', () => resolve(null));
  });
  if (socket.destroyed) return null;
  socket.write(rawRequest('GET', '/healthz'));
  const bytes = await answer;
  return bytes === null ? null : (answersIn(bytes.toString('latin1'))[0]?.status ?? null);
}

async function isLetIn(node: ChildNode, identity: Identity): Promise<boolean> {
  return tlsCall(`${node.url}/healthz`, identity).then(
    () => true,
    () => false,
  );
}

/** Waits until the node has taken the removal. */
function removed(node: ChildNode, identity: Identity): Promise<unknown> {
  return until('new connections are refused', async () => !(await isLetIn(node, identity)));
}

/** @returns a port before that of the node, which passes only the first message of a client until it is told to pass the others */
async function withholding(t: TestContext, port: number) {
  const held: (() => void)[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((from) => {
    const to = connect(port, '127.0.0.1');
    from.once('data', (hello) => {
      to.write(hello);
      from.on('data', (chunk) => held.push(() => to.write(chunk)));
    });
    to.on('data', (chunk) => from.write(chunk));
    for (const [one, other] of [
      [from, to],
      [to, from],
    ] as const) {
      sockets.add(one);
      one.on('error', () => undefined).on('close', () => other.destroy());
    }
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, held };
}

test('a connection that was there before its CA was removed cannot begin its handshake after it', async (t) => {
  const { node, kept, lost, trust } = await staged(t);
  const socket = connect(node.port, '127.0.0.1');
  await once(socket, 'connect');
  const gone = once(socket.on('error', () => undefined).resume(), 'close').then(() => null);
  // The node has taken the earlier connection when it answers on a later one.
  assert.equal(await isLetIn(node, lost), true);
  trust('kept');
  await removed(node, lost);
  const late = connectTls({ socket, ...tlsOptions(lost) });
  assert.equal(await Promise.race([gone, askedOn(late)]), null);
  assert.equal(await isLetIn(node, kept), true);
});

test('a handshake that was under way when its CA was removed does not end well', async (t) => {
  const { node, lost, trust } = await staged(t);
  const { port, held } = await withholding(t, node.port);
  const late = connectTls({ host: '127.0.0.1', port, ...tlsOptions(lost) });
  late.on('error', () => undefined);
  await until('the certificate is on its way', () => held.length > 0);
  trust('kept');
  await removed(node, lost);
  const asked = askedOn(late);
  for (const pass of held) pass();
  assert.equal(await asked, null);
});

test('a CA is removed also while the pair of the node cannot be used, and the log has both', async (t) => {
  const { node, pair, certificates, kept, lost, trust } = await staged(t);
  const open = await tlsConnected(node.port, tlsOptions(lost));
  certificates.replace(pair, certificates.make('old', { fromDays: -2, toDays: -1 }));
  await until('the log has the pair', () => /has expired.*tls-not-reloaded/.test(node.log));
  trust('kept');
  await removed(node, lost);
  assert.equal(await askedOn(open), null);
  assert.equal(await isLetIn(node, kept), true);
  assert.match(node.log, /"clientCas":1.*tls-reloaded/);
});

test('a pair is exchanged also while the CAs of clients cannot be used', async (t) => {
  const { node, pair, certificates, kept } = await staged(t);
  replaceFile(certificates.path('client-cas.crt'), 'garbage');
  await until('the log has the CAs', () => /--tls-client-ca .*tls-not-reloaded/.test(node.log));
  certificates.replace(pair, certificates.make('second'));
  await until('the new certificate is used', async () => {
    const socket = await tlsConnected(node.port, tlsOptions(kept));
    const { CN } = socket.getPeerCertificate().subject;
    socket.destroy();
    return CN === 'second';
  });
});

test('SIGHUP reads the files also when the configuration file cannot be used', async (t) => {
  const { cluster, certificates } = await staged(t);
  const [config, access] = [certificates.path('config.json'), certificates.path('access.log')];
  writeFileSync(config, '{}');
  const required = ['--tls-client-ca', certificates.path('client-cas.crt'), '--tls-client-auth', 'required'];
  const flags = [...tlsFlags(certificates.make('other')), ...required, '--tls-reload-interval', '0'];
  const node = await cluster.start('other', ...flags, '--config', config, '--access-log', access);
  const lost = {
    ca: certificates.path('ca.crt'),
    pair: certificates.make('client', { ca: 'lost', san: null }),
  };
  assert.equal(await isLetIn(node, lost), true);
  certificates.bundle('client-cas', certificates.path('kept.crt'));
  writeFileSync(config, '{');
  node.process.kill('SIGHUP');
  await removed(node, lost);
  assert.match(node.log, /settings-not-reloaded/);
});

for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
  test(`a client with a certificate cannot resume a session or show another certificate, ${maxVersion}`, async (t) => {
    const { node, kept } = await staged(t);
    const options: ConnectionOptions = { ...tlsOptions(kept), maxVersion };
    const first = await tlsConnected(node.port, options);
    const sessions: Buffer[] = [];
    first.on('session', (session) => sessions.push(session));
    assert.equal(await askedOn(first), 200);
    const session = sessions.at(-1) ?? first.getSession();
    const again = await tlsConnected(node.port, {
      ...options,
      ...(session === undefined ? {} : { session }),
    });
    assert.equal(again.isSessionReused(), false);
    assert.equal(await askedOn(again), 200);
    again.destroy();
    if (maxVersion === 'TLSv1.2') {
      const refusal = new Promise<Error | null>((resolve) => {
        first.once('error', resolve);
        first.renegotiate({}, resolve);
      });
      assert.match(String(await refusal), /renegotiation/i);
    }
    first.destroy();
  });
}

test('when the root of a CA is removed, the clients of that CA are disconnected', async (t) => {
  const { node, certificates, trust, kept } = await staged(t);
  certificates.make('middle', { ca: 'lost', san: null, isCa: true });
  const leaf = { ...kept, pair: certificates.make('leaf', { ca: 'middle', san: null }) };
  trust('kept', 'lost', 'middle');
  await until('the client gets in', () => isLetIn(node, leaf));
  const open = await tlsConnected(node.port, tlsOptions(leaf));
  const stays = await tlsConnected(node.port, tlsOptions(kept));
  // With the answer the handshake is over on both sides.
  assert.equal(await askedOn(stays), 200);
  trust('kept', 'middle');
  await once(open.on('error', () => undefined).resume(), 'close');
  assert.equal(await isLetIn(node, leaf), false);
  assert.equal(await askedOn(stays), 200);
  stays.destroy();
});

test('when a CA expires, its clients are disconnected', async (t) => {
  const { node, certificates, trust, kept } = await staged(t);
  certificates.make('short', { ca: 'short', san: null, isCa: true, toDays: 15 / 86_400 });
  const owner = { ...kept, pair: certificates.make('owner', { ca: 'short', san: null }) };
  trust('kept', 'short');
  await until('the client gets in', () => isLetIn(node, owner));
  const open = await tlsConnected(node.port, tlsOptions(owner));
  const stays = await tlsConnected(node.port, tlsOptions(kept));
  // With the answer the handshake is over on both sides.
  assert.equal(await askedOn(stays), 200);
  await once(open.on('error', () => undefined).resume(), 'close');
  assert.equal(await askedOn(stays), 200);
  stays.destroy();
});

test('clients that have gone before their handshakes were over hold no connections', async (t) => {
  const { node, kept } = await staged(t, '--max-connections', '20');
  for (let count = 0; count < 60; count += 1) {
    const socket = connect(node.port, '127.0.0.1').on('error', () => undefined);
    if (count % 2 === 0) socket.write(Buffer.from([0x16, 0x03]));
    await once(socket, 'connect');
    socket.destroy();
    if (count % 10 === 9) await until('there is room', () => isLetIn(node, kept), ROOM_MS);
  }
});
