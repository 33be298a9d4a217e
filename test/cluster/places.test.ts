/** Who keeps a connection when the main listener is full (`--max-connections`): those who ask, not those who are only there. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { createToken } from '../../src/access/tokens/tokens.ts';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { Certificates } from '../support/certificates.ts';
import { Cluster, linkState } from '../support/cluster.ts';
import { exchanged, rawRequest } from '../support/raw-http.ts';
import { tlsCall } from '../support/tls-call.ts';

const MOST = 20;
const LIMITED = ['--max-connections', String(MOST)];
/** More connections than the node takes, so that each place has been taken and given away. */
const MANY = 2 * MOST + 5;

/** @returns a connection that keeps what it was sent in `text` */
async function opened(t: TestContext, { port }: { readonly port: number }, bytes = '') {
  const socket = connect(port, '127.0.0.1').on('error', () => undefined);
  t.after(() => socket.destroy());
  const ended = new Promise((resolve) => {
    socket.once('close', resolve);
  });
  const seen = { socket, ended, text: '' };
  socket.setEncoding('latin1').on('data', (text: string) => {
    seen.text += text;
  });
  await once(socket, 'connect');
  if (bytes !== '') socket.write(bytes);
  return seen;
}

/** Sends a request. @returns the first line of its answer; null: the connection has ended */
async function asked(socket: Socket, bytes: string): Promise<string | null> {
  const closed = once(socket, 'close').then(() => null);
  socket.write(bytes);
  const answered = once(socket, 'data').then(([text]) => String(text).split('\r\n', 1)[0] ?? '');
  return await Promise.race([answered, closed]).catch(() => null);
}

async function withToken(t: TestContext) {
  const cluster = await Cluster.create(t);
  const wanted = {
    name: 'web',
    rights: ['read', 'write', 'replicate'] as const,
    prefixes: null,
    expiresAt: null,
  };
  const { text } = await createToken(join(cluster.data('node'), 'tokens.json'), wanted, Date.now());
  const authorization = `Authorization: Bearer ${text}`;
  return { cluster, authorization, token: text, get: rawRequest('GET', '/v1/keys/k', '', authorization) };
}

const NOT_FOUND = 'HTTP/1.1 404 Not Found';
const HALF = 'GET /v1/keys/k HTTP/1.1\r\nHost: local';

for (const [who, bytes] of [
  ['that send nothing', ''],
  ['that send half a header', HALF],
  ['that are kept alive without a token', rawRequest('GET', '/healthz')],
  ['whose token is not valid', rawRequest('GET', '/v1/keys/k', '', 'Authorization: Bearer nonsense')],
] as const) {
  test(`clients ${who} do not fill the listener, and end before one that has shown its token`, async (t) => {
    const { cluster, get } = await withToken(t);
    const node = await cluster.start('node', ...LIMITED);
    const { socket: kept } = await opened(t, node);
    assert.equal(await asked(kept, get), NOT_FOUND);
    for (let count = 0; count < MANY; count += 1) {
      const stranger = await opened(t, node, bytes);
      if (/\r\n\r\n$/.test(bytes)) await once(stranger.socket, 'data');
    }
    const { socket } = await opened(t, node);
    assert.equal(await asked(socket, get), NOT_FOUND);
    assert.equal(await asked(kept, get), NOT_FOUND);
  });
}

for (const [path, subprotocol] of [
  ['/v1/changes', 'psync.v1.json'],
  ['/v1/replication/stream', 'psync.v1'],
] as const) {
  test(`WebSockets of ${path} on which no token has come do not fill the listener, and end before one that has shown its token`, async (t) => {
    const { cluster, get } = await withToken(t);
    const node = await cluster.start('node', ...LIMITED);
    const { socket: kept } = await opened(t, node);
    assert.equal(await asked(kept, get), NOT_FOUND);
    const upgrade = [
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
      `Sec-WebSocket-Protocol: ${subprotocol}`,
    ];
    const asking = rawRequest('GET', path, '', ...upgrade);
    for (let count = 0; count < MANY; count += 1) {
      const stranger = await opened(t, node, asking);
      await once(stranger.socket, 'data');
    }
    const { socket } = await opened(t, node);
    assert.equal(await asked(socket, get), NOT_FOUND);
    assert.equal(await asked(kept, get), NOT_FOUND);
  });
}

test('handshakes of TLS that nobody finishes do not fill the listener', async (t) => {
  const { cluster, token } = await withToken(t);
  const certificates = await Certificates.create(t);
  const { cert, key } = certificates.make('node');
  const node = await cluster.start('node', ...LIMITED, '--tls-cert', cert, '--tls-key', key);
  for (let count = 0; count < MANY; count += 1) await opened(t, node);
  const answer = await tlsCall(`${node.url}/v1/keys/k`, { ca: certificates.path('ca.crt'), token });
  assert.equal(answer.status, 404);
});

test('of clients that have shown their tokens the one ends that is idle longest', async (t) => {
  const { cluster, get } = await withToken(t);
  const node = await cluster.start('node', ...LIMITED);
  const clients: Socket[] = [];
  for (let count = 0; count < MOST; count += 1) {
    const { socket } = await opened(t, node);
    assert.equal(await asked(socket, get), NOT_FOUND);
    clients.push(socket);
  }
  const [first, second] = clients;
  assert.ok(first !== undefined && second !== undefined);
  assert.equal(await asked(first, get), NOT_FOUND);
  const ended = new Promise((resolve) => second.once('close', resolve));
  const { socket } = await opened(t, node);
  assert.equal(await asked(socket, get), NOT_FOUND);
  await ended;
  assert.equal(await asked(first, get), NOT_FOUND);
});

/** Fills the node with work that is under way. @param others number of connections that it has */
async function filled(t: TestContext, node: ChildNode, authorization: string, others: number) {
  const follow = rawRequest(
    'GET',
    '/v1/changes?position=now',
    '',
    authorization,
    'Accept: text/event-stream',
  );
  const wait = rawRequest('PUT', '/v1/keys/waits?acks=9&timeout=300000', 'x', authorization);
  const begun = rawRequest('PUT', '/v1/keys/begun', '12345', authorization).slice(0, -1);
  const working: { readonly socket: Socket }[] = [];
  for (let count = 0; count < MOST - others; count += 1) {
    // The answer to the first request says that the node has the second one too.
    const one = await opened(t, node, `${rawRequest('GET', '/healthz')}${[follow, wait, begun][count % 3]}`);
    await once(one.socket, 'data');
    working.push(one);
  }
  return working;
}

test('requests, streams and replicas that are under way never end for a new connection', async (t) => {
  const { cluster, authorization, token } = await withToken(t);
  const node = await cluster.start('node', ...LIMITED);
  const file = join(cluster.data('node'), 'upstream.token');
  await writeFile(file, token, { mode: 0o600 });
  const replica = await cluster.start('replica', '--replica-of', node.wsUrl, '--upstream-token-file', file);
  await linkState(replica, 'streaming');
  const working = await filled(t, node, authorization, 1);
  for (let count = 0; count < MANY; count += 1) {
    const { ended } = await opened(t, node);
    await ended;
  }
  assert.deepEqual(
    working.filter(({ socket }) => socket.closed),
    [],
  );
  assert.equal((await replica.client.replication()).upstream?.state, 'streaming');
  // One place that becomes free is enough.
  working.pop()?.socket.destroy();
  await until('there is room', async () => {
    const [answer] = await exchanged(node, [rawRequest('GET', '/healthz')]).catch(() => []);
    return answer?.status === 200;
  });
});
