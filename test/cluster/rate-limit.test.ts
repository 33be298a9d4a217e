/** `--rate-limit`: the same limit on the fast path, on Fastify's routes and for WebSockets. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { WebSocket } from 'ws';
import { createToken } from '../../src/access/tokens/tokens.ts';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { tokenProtocol } from '../../src/client/request/token.ts';
import { Cluster, temporaryFolder } from '../support/cluster.ts';
import { exchanged, type RawAnswer, rawRequest } from '../support/raw-http.ts';
import { trusting } from '../support/trusting.ts';

/** Four at once. A test sends twelve: that some are refused does not depend on the speed of the machine. */
const RATE = ['--rate-limit', '4/s'];

async function tokenIn(cluster: Cluster, name = 'test'): Promise<string> {
  const file = join(cluster.data('node'), 'tokens.json');
  const wanted = { name, rights: ['admin'], prefixes: null, expiresAt: null };
  return (await createToken(file, wanted, Date.now())).text;
}

/** Sends the requests in one packet, so that they are counted within a few milliseconds. */
function atOnce(node: ChildNode, requests: readonly string[]): Promise<readonly RawAnswer[]> {
  return exchanged(node, [requests.join('')]);
}

function statuses(answers: readonly RawAnswer[]): readonly number[] {
  return answers.map(({ status }) => status);
}

function hasRefusal(answers: readonly RawAnswer[], kind: 'token' | 'address'): void {
  const refused = answers.find(({ status }) => status === 429);
  assert.ok(refused !== undefined, 'one is refused');
  assert.equal(refused.headers.get('content-type'), 'application/problem+json');
  assert.equal(refused.headers.get('ratelimit-policy'), `"${kind}";q=4;w=1`);
  assert.match(refused.headers.get('ratelimit') ?? '', new RegExp(`^"${kind}";r=0;t=1$`));
  assert.equal(refused.headers.get('retry-after'), '1');
  assert.match(refused.headers.get('psync-position') ?? '', /^[0-9a-f]{40}:\d+$/);
  const { code, detail } = JSON.parse(refused.body) as Record<string, string>;
  assert.deepEqual(
    [code, detail],
    ['TOO_MANY_REQUESTS', `the limit of requests of one ${kind} is 4 a second`],
  );
}

const PATHS: Readonly<Record<string, readonly string[]>> = {
  'reads on the fast path': [rawRequest('GET', '/v1/keys/k')],
  'writes on the fast path': [rawRequest('PUT', '/v1/keys/k', 'v')],
  'writes through Fastify': [rawRequest('PUT', '/v1/keys/k?ttl=60', 'v')],
  'reads through Fastify': [rawRequest('GET', '/v1/replication')],
  'paths that are not there': [rawRequest('GET', '/nothing')],
  'all of them together': [
    rawRequest('GET', '/v1/keys/k'),
    rawRequest('PUT', '/v1/keys/k', 'v'),
    rawRequest('GET', '/v1/keys?limit=1'),
  ],
};

for (const [what, requests] of Object.entries(PATHS)) {
  test(`a client that sends too many requests is told so and keeps its connection: ${what}`, async (t) => {
    const node = await (await Cluster.create(t)).start('node', ...RATE);
    const many = Array.from({ length: 12 }, (_, index) => requests[index % requests.length] as string);
    const answers = await atOnce(node, many);
    assert.equal(answers.length, many.length);
    const allowed = statuses(answers).filter((status) => status !== 429);
    assert.ok(allowed.length >= 4 && allowed.length < many.length, String(statuses(answers)));
    assert.ok(
      statuses(answers)
        .slice(0, 4)
        .every((status) => status !== 429),
    );
    hasRefusal(answers, 'address');
    for (const [index, answer] of answers.slice(0, 3).entries()) {
      assert.equal(answer.headers.get('ratelimit-policy'), '"address";q=4;w=1');
      assert.match(answer.headers.get('ratelimit') ?? '', new RegExp(`^"address";r=[${3 - index}-3];t=1$`));
    }
  });
}

test('each token has its own limit, whatever others behind the same address do', async (t) => {
  const cluster = await Cluster.create(t);
  const [first, second] = [await tokenIn(cluster), await tokenIn(cluster)];
  const node = await cluster.start('node', ...RATE, '--auth-failures', '1000');
  const of = (token: string): string => rawRequest('GET', '/nothing', '', `Authorization: Bearer ${token}`);
  const wrong = rawRequest('GET', '/nothing', '', 'Authorization: Bearer wrong');
  const answers = await atOnce(node, [
    ...Array<string>(10).fill(of(first)),
    ...Array<string>(10).fill(wrong),
  ]);
  hasRefusal(answers.slice(0, 10), 'token');
  hasRefusal(answers.slice(10), 'address');
  assert.deepEqual(statuses(answers.slice(10, 14)), [401, 401, 401, 401]);
  assert.deepEqual(statuses(await atOnce(node, Array<string>(4).fill(of(second)))), [404, 404, 404, 404]);
});

test('probes and preflights do not count, and answers without a limit say nothing of one', async (t) => {
  const cluster = await Cluster.create(t);
  const origin = 'https://app.example';
  const node = await cluster.start('node', ...RATE, '--allow-origin', origin);
  const preflight = rawRequest(
    'OPTIONS',
    '/v1/keys/k',
    '',
    `Origin: ${origin}`,
    'Access-Control-Request-Method: PUT',
  );
  const free = [rawRequest('GET', '/healthz'), rawRequest('GET', '/readyz?x'), preflight];
  const answers = await atOnce(node, [...free, ...free, ...free, rawRequest('GET', '/v1/keys?limit=1')]);
  assert.ok(!statuses(answers).includes(429));
  assert.equal(answers[2]?.headers.get('access-control-max-age'), '600');
  assert.match(answers[2]?.headers.get('vary') ?? '', /^Origin/);
  assert.match(answers.at(-1)?.headers.get('ratelimit') ?? '', /;r=3;/);
  const unlimited = await cluster.start('other');
  const [plain] = await atOnce(unlimited, [rawRequest('GET', '/v1/keys/k')]);
  assert.equal(plain?.headers.get('ratelimit'), undefined);
});

test('a page of an allowed origin may read the headers of the limit', async (t) => {
  const node = await (await Cluster.create(t)).start('node', ...RATE, '--allow-origin', '*');
  const request = rawRequest('GET', '/v1/keys/k', '', 'Origin: https://app.example');
  const answers = await atOnce(node, Array<string>(8).fill(request));
  hasRefusal(answers, 'address');
  for (const { headers } of answers) {
    const exposed = headers.get('access-control-expose-headers')?.split(', ') ?? [];
    for (const name of ['RateLimit', 'RateLimit-Policy', 'Retry-After', 'WWW-Authenticate'])
      assert.ok(exposed.includes(name), name);
  }
});

test('a refused request with a long or unknown body ends its connection, and one with a short body does not', async (t) => {
  const node = await (await Cluster.create(t)).start('node', ...RATE);
  const reads = Array<string>(12).fill(rawRequest('GET', '/v1/keys/k'));
  const chunked = rawRequest('PUT', '/v1/keys/k', '', 'Transfer-Encoding: chunked');
  const long = rawRequest('PUT', '/v1/keys/k', '', 'Content-Length: 100000');
  for (const last of [chunked, long]) {
    // A busy machine may take so long for the reads that the last request is within the limit again.
    const answers = await until('the last request is refused', async () => {
      const all = await atOnce(node, [...reads, last]);
      return all.at(-1)?.status === 429 ? all : null;
    });
    assert.equal(answers.at(-1)?.headers.get('connection'), 'close');
    assert.notEqual(answers[11]?.headers.get('connection'), 'close');
  }
});

/** @returns the status and headers of the answer to an upgrade */
async function upgraded(
  t: TestContext,
  url: string,
  protocols: string[],
  headers: Readonly<Record<string, string>> = {},
): Promise<{ readonly status: number; readonly headers: Readonly<Record<string, unknown>> }> {
  const ws = new WebSocket(url, protocols, { headers });
  t.after(() => ws.terminate());
  return new Promise((resolve, reject) => {
    ws.on('upgrade', ({ statusCode = 0, headers: got }) => resolve({ status: statusCode, headers: got }));
    ws.on('unexpected-response', (_request, { statusCode = 0, headers: got }) => {
      resolve({ status: statusCode, headers: got });
      ws.terminate();
    });
    ws.on('error', reject);
  });
}

test('opening a WebSocket counts as a request of its token, also of one in the subprotocols', async (t) => {
  const cluster = await Cluster.create(t);
  const token = await tokenIn(cluster);
  const node = await cluster.start('node', ...RATE);
  const changes = `${node.wsUrl}/v1/changes?position=now`;
  const bearer = { authorization: `Bearer ${token}` };
  const answers = await Promise.all(
    Array.from({ length: 12 }, (_, index) => {
      if (index % 3 === 0) return upgraded(t, changes, ['psync.v1.json', tokenProtocol(token)]);
      if (index % 3 === 1) return upgraded(t, changes, ['psync.v1.json'], bearer);
      return upgraded(t, `${node.wsUrl}/v1/replication/stream`, ['psync.v1'], bearer);
    }),
  );
  const refused = answers.filter(({ status }) => status === 429);
  assert.ok(refused.length > 0 && refused.length <= 8, JSON.stringify(answers.map(({ status }) => status)));
  for (const { headers } of answers) assert.equal(headers['ratelimit-policy'], '"token";q=4;w=1');
  for (const { headers } of refused) assert.equal(headers['retry-after'], '1');
});

test('the body of a refused request that comes later is not taken for a request', async (t) => {
  const node = await (await Cluster.create(t)).start('node', ...RATE);
  const reads = rawRequest('GET', '/v1/keys/k').repeat(12);
  const body = rawRequest('DELETE', '/v1/keys/k');
  const head = `PUT /v1/keys/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n`;
  const pieces = [reads + head, body.slice(0, 9), body.slice(9) + rawRequest('GET', '/healthz')];
  await until('the write is refused', async () => {
    const answers = await exchanged(node, pieces);
    assert.equal(answers.length, 14);
    assert.equal(answers[13]?.status, 200);
    return answers[12]?.status === 429;
  });
});

test('a JWT that comes for the first time has its own limit and stands in the access log, whatever its address does', async (t) => {
  const { node, issuer, file } = await trustingAndLogged(t);
  const flood = Array.from({ length: 12 }, () => rawRequest('GET', '/v1/keys/k'));
  hasRefusal(await atOnce(node, flood), 'address');
  const jwts = await Promise.all(['a', 'b', 'c', 'd'].map((sub) => issuer.sign({ sub })));
  const requests = jwts.map((jwt) =>
    rawRequest('GET', '/v1/keys?limit=1', '', `Authorization: Bearer ${jwt}`),
  );
  const answers = await atOnce(node, [...flood, ...requests]);
  assert.deepEqual(statuses(answers.slice(-4)), [200, 200, 200, 200]);
  const feed = await upgraded(t, `${node.wsUrl}/v1/changes?position=now`, [
    'psync.v1.json',
    tokenProtocol(await issuer.sign({ sub: 'e' })),
  ]);
  assert.equal(feed.status, 101);
  const owners = await until('the lines are there', () => {
    const found = readFileSync(file, 'utf8').match(/"principal":\{"id":"jwt:\w+/g) ?? [];
    return found.length >= 5 ? found.map((each) => each.at(-1)) : null;
  });
  assert.deepEqual(owners.slice(0, 5).sort(), ['a', 'b', 'c', 'd', 'e']);
});

test('a feed whose JWT has expired stands in the access log with its owner', async (t) => {
  const { node, issuer, file } = await trustingAndLogged(t);
  // It is good for half a minute longer (LEEWAY_SECONDS).
  const exp = Math.floor(Date.now() / 1_000) - 27;
  const jwt = await issuer.sign({ sub: 'brief', exp });
  const answer = await fetch(`${node.url}/v1/changes?position=now`, {
    headers: { authorization: `Bearer ${jwt}` },
  });
  assert.equal(answer.status, 200);
  await answer.text();
  await until('the line is there', () => /"id":"jwt:brief~/.test(readFileSync(file, 'utf8')));
});

/** A node that takes JWTs, limits requests and writes an access log. */
async function trustingAndLogged(t: TestContext) {
  const file = join(await temporaryFolder(t), 'access.log');
  return { ...(await trusting(t, ...RATE, '--access-log', file)), file };
}
