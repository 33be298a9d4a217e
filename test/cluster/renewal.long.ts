/** A follower may show a new token before the present one expires, and its stream goes on. */
import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { WebSocket } from 'ws';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { follow } from '../../src/client/follow.ts';
import { tokenProtocol } from '../../src/client/request/token.ts';
import { Cluster } from '../support/cluster.ts';
import type { Issuer } from '../support/jwt-issuer.ts';
import { call, trusting } from '../support/trusting.ts';

/** @returns a token that expires in some three seconds, the leeway of half a minute included */
function dying(issuer: Issuer, psyncd: object = { rights: ['read'] }): Promise<string> {
  const exp = Math.floor(Date.now() / 1_000) - 27;
  return issuer.sign({ iat: exp - 600, exp, psyncd, jti: crypto.randomUUID() });
}

interface Seen {
  readonly events: Record<string, unknown>[];
  code: number | null;
}

function following(t: TestContext, node: ChildNode, token: string | null, query = '') {
  const protocols = ['psync.v1.json', ...(token === null ? [] : [tokenProtocol(token)])];
  const ws = new WebSocket(`${node.wsUrl}/v1/changes${query}`, protocols);
  t.after(() => ws.terminate());
  const seen: Seen = { events: [], code: null };
  ws.on('message', (data) => seen.events.push(JSON.parse(String(data)) as Record<string, unknown>));
  ws.on('close', (code) => {
    seen.code = code;
  });
  ws.on('error', () => undefined);
  const has = (type: string): Promise<unknown> =>
    until(`${type} has come`, () => seen.events.some((event) => event.type === type));
  const show = (shown: string): void => ws.send(JSON.stringify({ type: 'auth', token: shown }));
  return { ws, seen, has, show };
}

function gone(node: ChildNode, token: string): Promise<unknown> {
  return until(
    'the token has expired',
    async () => (await call(node, token, 'GET', '/v1/keys')).status === 401,
  );
}

test('a follower that shows a new token keeps its stream beyond the end of the old one', async (t) => {
  const { node, issuer } = await trusting(t);
  const old = await dying(issuer);
  const { seen, has, show } = following(t, node, old, '?prefix=a%2F&position=now');
  await has('expiring');
  const { expiresAt } = seen.events.find(({ type }) => type === 'expiring') ?? {};
  assert.ok(typeof expiresAt === 'number' && expiresAt > Date.now() - 60_000 && Number.isInteger(expiresAt));
  show(await issuer.sign({ psyncd: { rights: ['read'], prefixes: ['a/'] } }));
  await gone(node, old);
  const writer = await issuer.sign({ psyncd: { rights: ['write'] } });
  for (const key of ['a/1', 'a/2']) await call(node, writer, 'PUT', `/v1/keys/${key}`, 'v');
  await until('both changes have come', () => seen.events.filter(({ type }) => type === 'set').length === 2);
  assert.equal(seen.code, null);
  assert.equal(seen.events.filter(({ type }) => type === 'expiring').length, 1);
});

test('a new token that is about to expire as well is told of too', async (t) => {
  const { node, issuer } = await trusting(t);
  const { seen, has, show } = following(t, node, await dying(issuer));
  await has('expiring');
  show(await dying(issuer));
  await until('it is told again', () => seen.events.filter(({ type }) => type === 'expiring').length === 2);
  await until('the stream has ended', () => seen.code === 4401);
});

test('a new token that is no good, or does not cover what is followed, ends the stream', async (t) => {
  const { node, issuer } = await trusting(t);
  const good = await issuer.sign({ psyncd: { rights: ['read'] } });
  const ended = async (says: (each: ReturnType<typeof following>) => void, query = ''): Promise<unknown> => {
    const each = following(t, node, good, query);
    await each.has('synced');
    says(each);
    await until('it has ended', () => each.seen.code !== null);
    const error = each.seen.events.find(({ type }) => type === 'error');
    return [error?.code, each.seen.code];
  };
  const other = await issuer.sign({ psyncd: { rights: ['read'], prefixes: ['b/'] } });
  assert.deepEqual(await ended(({ show }) => show('nonsense')), ['UNAUTHORIZED', 4401]);
  assert.deepEqual(await ended(({ show }) => show(other), '?prefix=a%2F'), ['FORBIDDEN', 4403]);
  assert.deepEqual(await ended(({ show }) => show(other), '?prefix=b%2F&prefix=a%2F'), ['FORBIDDEN', 4403]);
  for (const message of [
    '',
    'x',
    '7',
    'null',
    '[]',
    '{}',
    '{"type":"auth"}',
    '{"type":"auth","token":7}',
    '{"type":"hello","token":"x"}',
  ]) {
    assert.deepEqual(await ended(({ ws }) => ws.send(message)), ['BAD_REQUEST', 4400], message);
  }
  assert.deepEqual(await ended(({ ws }) => ws.send(Buffer.from('x'))), [undefined, 4400]);
  assert.deepEqual(await ended(({ ws }) => ws.send('x'.repeat(20_000))), [undefined, 1009]);
  assert.deepEqual(await ended(({ show }) => Array(20).fill(good).forEach(show)), [
    'TOO_MANY_REQUESTS',
    4429,
  ]);
  assert.doesNotMatch(node.log, /unexpected-error/);
});

test('SSE and NDJSON streams are told that their token expires, before they end', async (t) => {
  const { node, issuer } = await trusting(t);
  const token = await dying(issuer);
  for (const stream of await Promise.all(
    ['text/event-stream', 'application/x-ndjson'].map((accept) =>
      fetch(`${node.url}/v1/changes`, { headers: { authorization: `Bearer ${token}`, accept } }),
    ),
  )) {
    assert.match(
      await stream.text(),
      /"type":"expiring","expiresAt":\d+\}.*"type":"error","code":"UNAUTHORIZED"/s,
    );
  }
});

test('a follower of an open node may show a token, which nobody looks at', async (t) => {
  const node = await (await Cluster.create(t)).start('node');
  const { seen, has, show } = following(t, node, null);
  await has('synced');
  show('anything');
  await node.client.set('k', 'v');
  await has('set');
  assert.equal(seen.code, null);
});

test('psyncd/client renews its token on the open connection, without a gap and without doubling', async (t) => {
  const { node, issuer } = await trusting(t);
  const writer = await issuer.sign({ psyncd: { rights: ['write'] } });
  const tokens = [await dying(issuer), await issuer.sign({ psyncd: { rights: ['read'] } })];
  const shown: string[] = [];
  const states: string[] = [];
  const leave = new AbortController();
  t.after(() => leave.abort());
  const events: string[] = [];
  const followed = (async () => {
    for await (const event of follow({
      url: node.url,
      signal: leave.signal,
      token: async () => {
        const token = tokens[shown.length] as string;
        shown.push(token);
        return token;
      },
      onConnection: ({ kind }) => states.push(kind),
    })) {
      events.push(event.type === 'set' ? event.key : event.type);
    }
  })();
  let writes = 0;
  await until('the old token has expired', async () => {
    await call(node, writer, 'PUT', `/v1/keys/k${writes}`, 'v');
    writes += 1;
    return (await call(node, tokens[0] as string, 'GET', '/v1/keys')).status === 401;
  });
  await call(node, writer, 'PUT', '/v1/keys/last', 'v');
  await until('the last change has come', () => events.includes('last'));
  leave.abort();
  await followed;
  assert.deepEqual(shown, tokens);
  assert.deepEqual(states, ['connecting', 'open']);
  assert.ok(!events.includes('expiring'));
  const sets = events.filter((event) => /^k\d+$/.test(event));
  assert.deepEqual(
    sets,
    Array.from(sets, (_, index) => `k${writes - sets.length + index}`),
  );
});
