/** Signed tokens: good on every path into a node until they expire or their key goes, and refused all alike. */
import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { SignJWT } from 'jose';
import { WebSocket } from 'ws';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { tokenProtocol } from '../../src/client/request/token.ts';
import { Cluster } from '../support/cluster.ts';
import { AUDIENCE, forged, Issuer } from '../support/jwt-issuer.ts';
import { exchanged, rawRequest } from '../support/raw-http.ts';
import { call, JWT_FLAGS, trusting } from '../support/trusting.ts';

/** Follows over a WebSocket. */
function following(t: TestContext, node: ChildNode, token: string, headers: Record<string, string> = {}) {
  const protocols = ['psync.v1.json', ...(token === '' ? [] : [tokenProtocol(token)])];
  const ws = new WebSocket(`${node.wsUrl}/v1/changes`, protocols, { headers });
  const seen = { types: [] as string[], code: null as number | null, status: null as number | null };
  t.after(() => ws.terminate());
  ws.on('message', (data) => seen.types.push((JSON.parse(String(data)) as { type: string }).type));
  ws.on('close', (code) => {
    seen.code = code;
  });
  ws.on('unexpected-response', (_request, response) => {
    seen.status = response.statusCode ?? null;
    ws.terminate();
  });
  ws.on('error', () => undefined);
  return seen;
}

test('a JWT is good on every path into the node, for its rights and prefixes only', async (t) => {
  const { node, issuer } = await trusting(t);
  assert.equal((await call(node, null, 'GET', '/v1/keys/k')).status, 401, 'denied without a token');
  const fresh = (psyncd: unknown): Promise<string> => issuer.sign({ psyncd, jti: crypto.randomUUID() });
  const all = { rights: ['read', 'write'] };
  // The first request with a token takes the long way, the second one the fast path.
  const writer = await fresh(all);
  assert.equal((await call(node, writer, 'PUT', '/v1/keys/k', '1')).status, 201);
  assert.equal((await call(node, writer, 'PUT', '/v1/keys/k', '2')).status, 200);
  for (const path of ['/v1/keys/k', '/v1/keys/k?', '/v1/keys', '/v1/export', '/v1/changes?wait=0']) {
    assert.equal((await call(node, await fresh(all), 'GET', path)).status, 200, path);
  }
  assert.equal((await call(node, writer, 'GET', '/v1/replication')).status, 403);
  const mine = await fresh({ rights: ['read'], prefixes: ['mine/'] });
  assert.equal((await call(node, mine, 'GET', '/v1/keys/k')).status, 403);
  assert.equal((await call(node, mine, 'GET', '/v1/keys/mine/k')).status, 404);
  for (const seen of [
    following(t, node, await fresh(all)),
    following(t, node, '', { authorization: `Bearer ${await fresh(all)}` }),
  ]) {
    await until('the snapshot has come', () => seen.types.includes('synced'));
  }
  const denied = following(t, node, mine);
  await until('it is refused', () => denied.code === 4403);
});

test('requests of one connection keep their order while a new JWT is verified', async (t) => {
  const { node, issuer } = await trusting(t);
  for (const round of [1, 2, 3]) {
    const head = `Authorization: Bearer ${await issuer.sign({ jti: `round ${round}` })}`;
    const put = (value: string): string => rawRequest('PUT', '/v1/keys/k', value, head);
    const get = rawRequest('GET', '/v1/keys/k', '', head);
    const answers = await exchanged(node, [put('a'), put('b'), get, put('c'), put('d'), get, get]);
    const read = answers.filter(({ body }) => !String(body).startsWith('{')).map(({ body }) => String(body));
    assert.deepEqual(read, ['b', 'd', 'd']);
  }
});

test('every JWT that is no good gets the same answer', async (t) => {
  const { node, issuer, keyFile } = await trusting(t, '--jwt-issuer', 'me');
  const good = { iss: 'me' };
  const stranger = await Issuer.create();
  const now = Math.floor(Date.now() / 1_000);
  const claims = { aud: AUDIENCE, iss: 'me', exp: now + 60, psyncd: { rights: ['admin'] } };
  const pem = await issuer.pem();
  const token = await issuer.sign(good);
  assert.equal((await call(node, token, 'GET', '/v1/keys/k')).status, 404);
  const [head, body, signature] = token.split('.') as [string, string, string];
  const bad: Record<string, string> = {
    'alg none': forged({ alg: 'none' }, claims),
    'alg none, signed': forged({ alg: 'none' }, claims, signature),
    'HS256 with the public key': await new SignJWT(claims)
      .setProtectedHeader({ alg: 'HS256' })
      .sign(Buffer.from(pem)),
    'another key': await stranger.sign(good),
    'another algorithm': await (await Issuer.create('ES256')).sign(good),
    'other claims': `${head}.${forged(claims, claims).split('.')[0]}.${signature}`,
    'no signature': `${head}.${body}.`,
    'no audience': await issuer.sign({ ...good, aud: undefined }),
    'another audience': await issuer.sign({ ...good, aud: 'other' }),
    'no issuer': await issuer.sign({}),
    'another issuer': await issuer.sign({ iss: 'other' }),
    expired: await issuer.sign({ ...good, exp: now - 31 }),
    'no exp': await issuer.sign({ ...good, exp: undefined }),
    'an exp that is text': await issuer.sign({ ...good, exp: 'never' }),
    'not yet valid': await issuer.sign({ ...good, nbf: now + 60 }),
    'too long a life': await issuer.sign({ ...good, exp: now + 86_500 }),
    'no claim psyncd': await issuer.sign({ ...good, psyncd: undefined }),
    'an unknown right': await issuer.sign({ ...good, psyncd: { rights: ['fly'] } }),
    'admin with prefixes': await issuer.sign({ ...good, psyncd: { rights: ['admin'], prefixes: ['a'] } }),
    crit: forged({ alg: 'EdDSA', crit: ['exp'], exp: 1 }, claims, signature),
    'b64 in crit': forged({ alg: 'EdDSA', crit: ['b64'], b64: false }, claims, signature),
    'a kid that is a number': forged({ alg: 'EdDSA', kid: 1 }, claims, signature),
    'a header that is no object': `${Buffer.from('7').toString('base64url')}.${body}.${signature}`,
    'a header that is no JSON': `AAAA.${body}.${signature}`,
    'a payload that is no JSON': `${head}.AAAA.${signature}`,
    'five parts': `${token}.${token}`,
    huge: await issuer.sign({ ...good, more: 'x'.repeat(8_000) }),
  };
  const bodies = new Set<string>();
  for (const [what, each] of Object.entries(bad)) {
    const answer = await call(node, each, 'GET', '/v1/keys/k');
    assert.equal(answer.status, 401, what);
    assert.equal(
      answer.headers.get('www-authenticate'),
      'Bearer realm="psyncd", error="invalid_token"',
      what,
    );
    bodies.add(await answer.text());
    assert.equal((await call(node, each, 'PUT', '/v1/keys/k', 'v')).status, 401, what);
  }
  assert.equal(bodies.size, 1);
  const page = following(t, node, bad.expired as string);
  await until('the page is told', () => page.code === 4401);
  const client = following(t, node, '', { authorization: `Bearer ${bad.expired}` });
  await until('the client is refused', () => client.status === 401);
  assert.match(node.log, /token-refused/);
  assert.ok(!node.log.includes(signature), 'the log holds no token');
  assert.ok(!node.log.includes('request-failed'));
  rmSync(keyFile);
});

test('leeway: a clock that is a little wrong does no harm', async (t) => {
  const { node, issuer } = await trusting(t);
  const now = Math.floor(Date.now() / 1_000);
  for (const claims of [{ exp: now - 5 }, { nbf: now + 20 }, { iat: now + 20 }]) {
    const { status } = await call(node, await issuer.sign(claims), 'GET', '/v1/keys/k');
    assert.equal(status, 404, JSON.stringify(claims));
  }
});

test('what a key has signed ends with the key, streams too, and other keys go on', async (t) => {
  const { node, issuer, keyFile } = await trusting(t);
  const next = await Issuer.create('ES256', 'k2');
  writeFileSync(keyFile, `${await issuer.pem()}${await next.pem()}`);
  const [old, fresh] = [await issuer.sign(), await next.sign()];
  await until('the key is known', async () => (await call(node, fresh, 'GET', '/v1/keys')).status === 200);
  const ends = following(t, node, old);
  const stays = following(t, node, fresh);
  const stream = await call(node, old, 'GET', '/v1/changes');
  await until('both follow', () => [ends, stays].every(({ types }) => types.includes('synced')));
  writeFileSync(keyFile, 'nothing');
  await until('the log says so', () => node.log.includes('jwt-keys-not-loaded'));
  assert.equal((await call(node, old, 'GET', '/v1/keys')).status, 200, 'the keys stay');
  writeFileSync(keyFile, await next.pem());
  await until('the stream is closed', () => ends.code === 4401);
  assert.match(await stream.text(), /"type":"error","code":"UNAUTHORIZED"/);
  assert.equal((await call(node, old, 'GET', '/v1/keys')).status, 401);
  assert.equal((await call(node, fresh, 'GET', '/v1/keys')).status, 200);
  assert.equal(stays.code, null);
});

test('HS256 is good with a symmetric key in a file', async (t) => {
  const cluster = await Cluster.create(t);
  const secret = Buffer.alloc(32, 7);
  const keyFile = join(cluster.data('node'), '..', 'secret.json');
  writeFileSync(keyFile, JSON.stringify({ kty: 'oct', k: secret.toString('base64url') }));
  const node = await cluster.start('node', '--jwt-key-file', keyFile, ...JWT_FLAGS);
  const claims = { aud: AUDIENCE, exp: Math.floor(Date.now() / 1_000) + 60, psyncd: { rights: ['read'] } };
  const sign = (key: Buffer): Promise<string> =>
    new SignJWT(claims).setProtectedHeader({ alg: 'HS256' }).sign(key);
  assert.equal((await call(node, await sign(secret), 'GET', '/v1/keys')).status, 200);
  assert.equal((await call(node, await sign(Buffer.alloc(32, 8)), 'GET', '/v1/keys')).status, 401);
});

test('a JWKS is fetched, again for an unknown key but not for each, and never from elsewhere', async (t) => {
  const cluster = await Cluster.create(t);
  const issuer = await Issuer.create();
  const other = await Issuer.create('RS256', 'k2');
  let answer: { status: number; headers?: Record<string, string>; body?: string } = { status: 503 };
  let asked = 0;
  const server = createServer((request, response) => {
    asked += 1;
    if (request.url === '/elsewhere') response.end(JSON.stringify({ keys: [] }));
    else response.writeHead(answer.status, answer.headers).end(answer.body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`;
  const node = await cluster.start('node', '--jwt-jwks', url, ...JWT_FLAGS);
  // The node starts though nobody has keys for it yet.
  await until('it has asked', () => asked === 1 && node.log.includes('jwt-keys-not-loaded'));
  assert.equal((await call(node, await issuer.sign(), 'GET', '/v1/keys')).status, 401);
  assert.equal(asked, 1, 'it does not ask for each token');
  const reloaded = async (text: string): Promise<void> => {
    node.process.kill('SIGHUP');
    await until(`the log says ${text}`, () => node.log.includes(text));
  };
  answer = { status: 200, body: JSON.stringify({ keys: [await issuer.jwk()] }) };
  await reloaded('jwt-keys-loaded');
  const token = await issuer.sign();
  assert.equal((await call(node, token, 'GET', '/v1/keys')).status, 200);
  for (const _ of Array(5)) {
    assert.equal((await call(node, await other.sign(), 'GET', '/v1/keys')).status, 401);
  }
  assert.equal(asked, 2);
  answer = { status: 302, headers: { location: '/elsewhere' } };
  await reloaded('status 302');
  answer = { status: 200, body: ' '.repeat(300 * 1024) };
  await reloaded('more than 262144 bytes');
  assert.equal((await call(node, token, 'GET', '/v1/keys')).status, 200, 'the keys stay');
  assert.equal(asked, 4, 'it followed no redirect');
  answer = { status: 200, body: JSON.stringify({ keys: [await other.jwk()] }) };
  node.process.kill('SIGHUP');
  await until('the key is gone', async () => (await call(node, token, 'GET', '/v1/keys')).status === 401);
  assert.equal((await call(node, await other.sign(), 'GET', '/v1/keys')).status, 200);
});

test('a node whose keys cannot be used does not start, and says which setting', async (t) => {
  const cluster = await Cluster.create(t);
  const file = join(cluster.data('node'), '..', 'key');
  const refused = async (expected: RegExp, ...flags: string[]): Promise<void> => {
    await assert.rejects(cluster.start('node', ...flags), expected);
  };
  writeFileSync(file, JSON.stringify(await (await Issuer.create()).privateJwk()));
  await refused(/--jwt-key-file .*: it is a private key/, '--jwt-key-file', file, ...JWT_FLAGS);
  await refused(/--jwt-key-file \/none: ENOENT/, '--jwt-key-file', '/none', ...JWT_FLAGS);
  writeFileSync(file, '{"keys":[]}');
  await refused(/--jwt-jwks .*: there is no key in it/, '--jwt-jwks', file, ...JWT_FLAGS);
  await refused(/need --jwt-audience/, '--jwt-key-file', file);
  await refused(/expected https/, '--jwt-jwks', 'http://keys.example/jwks', ...JWT_FLAGS);
  await refused(/has to bring their keys/, ...JWT_FLAGS);
});

test('a node with a JWT key may listen on other addresses than loopback, and prints a URL that reaches it', async (t) => {
  const { node } = await trusting(t, '--host', '0.0.0.0');
  assert.equal(node.url, `http://127.0.0.1:${node.port}`);
  assert.equal((await call(node, null, 'GET', '/v1/keys/k')).status, 401);
  const foreign = await fetch(`http://0.0.0.0:${node.port}/v1/keys/k`);
  assert.equal(foreign.status, 403, 'browsers do not know that address');
  assert.match(node.log, /with tokens/);
});

test('on a node with JWTs only, an admin makes the first token of the list', async (t) => {
  const { node, issuer } = await trusting(t);
  const admin = await issuer.sign({ psyncd: { rights: ['admin'] } });
  assert.deepEqual(await (await call(node, admin, 'GET', '/v1/tokens')).json(), { tokens: [] });
  const answer = await fetch(`${node.url}/v1/tokens`, {
    method: 'POST',
    headers: { authorization: `Bearer ${admin}`, 'content-type': 'application/json' },
    body: JSON.stringify({ name: 'first', rights: ['read'] }),
  });
  const { token } = (await answer.json()) as { token: string };
  assert.equal((await call(node, token, 'GET', '/v1/keys')).status, 200);
  assert.equal((await call(node, admin, 'GET', '/v1/keys')).status, 200, 'JWTs go on');
});
