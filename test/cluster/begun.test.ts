/** What was begun with a token does not go on when the token has expired or was revoked. */
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import test, { type TestContext } from 'node:test';
import { changeTokens } from '../../src/access/tokens/token-file.ts';
import { createToken, revokeToken } from '../../src/access/tokens/tokens.ts';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { Client } from '../../src/client/rest.ts';
import { Cluster } from '../support/cluster.ts';
import type { Issuer } from '../support/jwt-issuer.ts';
import { call, trusting } from '../support/trusting.ts';

/** @returns a token that expires in some three seconds, the leeway of half a minute included */
function dying(issuer: Issuer): Promise<string> {
  const exp = Math.floor(Date.now() / 1_000) - 27;
  return issuer.sign({ iat: exp - 600, exp, psyncd: { rights: ['read', 'write'] } });
}

function gone(node: ChildNode, token: string): Promise<unknown> {
  return until('the token is gone', async () => (await call(node, token, 'GET', '/nothing')).status === 401);
}

/** A connection on which the test sends pieces of requests. */
function raw(t: TestContext, node: ChildNode) {
  const socket = connect(node.port, '127.0.0.1');
  t.after(() => socket.destroy());
  const got = { text: '' };
  socket.on('data', (data) => {
    got.text += data;
  });
  socket.on('error', () => undefined);
  return { socket, got };
}

test('a wait for a position and slow bodies end with a token that expires, on both paths', async (t) => {
  const { node, issuer } = await trusting(t);
  const admin = await issuer.sign({ psyncd: { rights: ['admin'] } });
  const { position } = await new Client(node.url, { token: admin }).set('k', 'v');
  const [runId, offset] = position.split(':') as [string, string];
  const token = await dying(issuer);
  // Known from now on, so that a plain PUT takes the fast path.
  assert.equal((await call(node, token, 'GET', '/v1/keys')).status, 200);
  const head = `Host: localhost\r\nAuthorization: Bearer ${token}\r\n`;
  const first = `GET /healthz HTTP/1.1\r\n${head}\r\n`;
  const waits = raw(t, node);
  const later = `${runId}:${Number(offset) + 1}`;
  waits.socket.write(`${first}GET /v1/keys/k?position=${later}&timeout=60000 HTTP/1.1\r\n${head}\r\n`);
  const slow = ['/v1/keys/slow', '/v1/keys/slow?ttl=1000'].map((path) => {
    const each = raw(t, node);
    each.socket.write(`${first}PUT ${path} HTTP/1.1\r\n${head}Content-Length: 2\r\n\r\nx`);
    return each;
  });
  const all = [waits, ...slow];
  await until('the packets have arrived', () => all.every(({ got }) => got.text.includes('200 OK')));
  for (const { got } of all) got.text = '';
  await gone(node, token);
  for (const { socket } of slow) socket.write('y');
  assert.equal((await call(node, admin, 'PUT', '/v1/keys/k', 'secret')).status, 200);
  await until('all are answered', () => all.every(({ got }) => got.text.includes('\r\n\r\n')));
  for (const { got } of all) {
    assert.match(got.text, /^HTTP\/1\.1 401 /);
    assert.doesNotMatch(got.text, /secret/);
  }
  assert.equal((await call(node, admin, 'GET', '/v1/keys/slow')).status, 404);
});

test('what was begun on an open node ends when the node gets its first token', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const slow = raw(t, node);
  const head = 'Host: localhost\r\n';
  slow.socket.write(
    `GET /healthz HTTP/1.1\r\n${head}\r\nPUT /v1/keys/slow HTTP/1.1\r\n${head}Content-Length: 2\r\n\r\nx`,
  );
  await until('the packet has arrived', () => slow.got.text.includes('200 OK'));
  slow.got.text = '';
  const wanted = { name: 'first', rights: ['admin'], prefixes: null, expiresAt: null } as const;
  const { text: admin } = await createToken(`${cluster.data('node')}/tokens.json`, wanted, Date.now());
  await until('tokens are needed', async () => (await call(node, null, 'GET', '/nothing')).status === 401);
  slow.socket.write('y');
  await until('it is answered', () => slow.got.text.includes('\r\n\r\n'));
  assert.match(slow.got.text, /^HTTP\/1\.1 401 /);
  assert.equal((await call(node, admin, 'GET', '/v1/keys/slow')).status, 404);
});

test('an export is cut when its token expires or is revoked, and others go on', async (t) => {
  const { cluster, node, issuer } = await trusting(t);
  const file = `${cluster.data('node')}/tokens.json`;
  const wanted = { name: 'reader', rights: ['read'], prefixes: null, expiresAt: null } as const;
  const revoked = (await createToken(file, wanted, Date.now())).text;
  const stays = (await createToken(file, wanted, Date.now())).text;
  await until('it is known', async () => (await call(node, stays, 'GET', '/nothing')).status === 404);
  const client = new Client(node.url, { token: await issuer.sign() });
  // More than the buffers of both ends take.
  for (const index of Array(8).keys()) await client.set(`k${index}`, Buffer.alloc(8 * 1024 * 1024, 'v'));
  const dead = await dying(issuer);
  const [expires, isRevoked, goesOn] = await Promise.all(
    [dead, revoked, stays].map((token) => call(node, token, 'GET', '/v1/export')),
  );
  await revokeToken(file, revoked.split('_')[1] as string);
  await gone(node, revoked);
  await gone(node, dead);
  for (const cut of [expires, isRevoked]) {
    assert.equal(cut?.status, 200);
    await assert.rejects((cut as Response).text(), 'the connection is cut');
  }
  assert.equal((await (goesOn as Response).text()).trim().split('\n').length, 8);
});

test('a batch of which half has come is not begun, and a snapshot on its way is cut, when the token is revoked', async (t) => {
  const { cluster, node, issuer } = await trusting(t);
  const file = `${cluster.data('node')}/tokens.json`;
  const wanted = { name: 'app', rights: ['read', 'write'], prefixes: null, expiresAt: null } as const;
  const token = (await createToken(file, wanted, Date.now())).text;
  await until('it is known', async () => (await call(node, token, 'GET', '/nothing')).status === 404);
  const good = await issuer.sign();
  const client = new Client(node.url, { token: good });
  for (const index of Array(8).keys()) await client.set(`k${index}`, Buffer.alloc(8 * 1024 * 1024, 'v'));
  const ops = JSON.stringify({ ops: ['b1', 'b2'].map((key) => ({ op: 'set', key, value: 'v' })) });
  const batch = raw(t, node);
  const head = `Host: localhost\r\nAuthorization: Bearer ${token}\r\n`;
  batch.socket.write(
    `GET /healthz HTTP/1.1\r\n${head}\r\nPOST /v1/batch HTTP/1.1\r\n${head}Content-Type: application/json\r\n` +
      `Content-Length: ${ops.length}\r\n\r\n${ops.slice(0, 40)}`,
  );
  await until('the packet has arrived', () => batch.got.text.includes('200 OK'));
  batch.got.text = '';
  const follow = await call(node, token, 'GET', '/v1/changes');
  await revokeToken(file, token.split('_')[1] as string);
  await gone(node, token);
  batch.socket.write(ops.slice(40));
  await until('it is answered', () => batch.got.text.includes('\r\n\r\n'));
  assert.match(batch.got.text, /^HTTP\/1\.1 401 /);
  for (const key of ['b1', 'b2'])
    assert.equal((await call(node, good, 'GET', `/v1/keys/${key}`)).status, 404);
  // The follower has not read; what was in the buffers still comes, and then the reason or a cut.
  const text = await follow.text().catch(() => '');
  assert.doesNotMatch(text, /"type":"synced"/);
});

test('what was begun with a token goes on when the token gets more rights', async (t) => {
  const { cluster, node, issuer } = await trusting(t);
  const file = `${cluster.data('node')}/tokens.json`;
  const wanted = { name: 'app', rights: ['read', 'write'], prefixes: ['k'], expiresAt: null } as const;
  const { text: token, record } = await createToken(file, wanted, Date.now());
  const isKnown = async (path: string): Promise<boolean> =>
    (await call(node, token, 'GET', path)).status === 200;
  await until('it is known', () => isKnown('/v1/keys?prefix=k'));
  const client = new Client(node.url, { token: await issuer.sign() });
  const [runId, offset] = (await client.set('k', 'v')).position.split(':') as [string, string];
  const head = `Host: localhost\r\nAuthorization: Bearer ${token}\r\n`;
  const first = `GET /healthz HTTP/1.1\r\n${head}\r\n`;
  const later = `${runId}:${Number(offset) + 1}`;
  const begun = [
    `GET /v1/keys/k?position=${later}&timeout=60000 HTTP/1.1\r\n${head}\r\n`,
    ...['/v1/keys/k1', '/v1/keys/k2?ttl=100000'].map(
      (path) => `PUT ${path} HTTP/1.1\r\n${head}Content-Length: 2\r\n\r\nx`,
    ),
  ].map((text) => {
    const each = raw(t, node);
    each.socket.write(first + text);
    return each;
  });
  await until('the packets have arrived', () => begun.every(({ got }) => got.text.includes('200 OK')));
  for (const { got } of begun) got.text = '';
  const more = { name: 'more', rights: ['read', 'write', 'metrics'] as const, prefixes: ['k', 'm'] };
  await changeTokens(file, {
    change: (tokens) => ({
      tokens: tokens.map((each) => (each.id === record.id ? { ...each, ...more } : each)),
    }),
  });
  await until('it has more rights', () => isKnown('/v1/keys?prefix=m'));
  for (const { socket } of begun.slice(1)) socket.write('y');
  await client.set('k', 'w');
  await until('all are answered', () => begun.every(({ got }) => got.text.includes('\r\n\r\n')));
  for (const { got } of begun) assert.match(got.text, /^HTTP\/1\.1 20[01] /);
});
