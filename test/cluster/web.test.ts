/** What browsers, caches and HTTP itself expect of every answer, whoever gives it: Fastify, the short cut, Node or the WebSockets. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import test, { type TestContext } from 'node:test';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { Cluster, linkState } from '../support/cluster.ts';
import { Connection, document, isProblem, json } from '../support/contract.ts';

const APP = 'https://app.example';
const PATIENCE_MS = 20_000;
const EVIL = 'evil.example';
const HANDSHAKE = [
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
];
const STREAM = 'GET /v1/replication/stream';
const CHANGES = 'GET /v1/changes';

interface RawAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** Everything that came. */
  readonly text: string;
}

/** Sends a request as it stands, reads until the server closes the connection, and parses the last answer. */
async function raw(
  node: ChildNode,
  line: string,
  headers: readonly string[],
  body = '',
  version = '1.1',
): Promise<RawAnswer> {
  const socket = connect(node.port, '127.0.0.1');
  const close = headers.some((header) => /^connection:/i.test(header)) ? [] : ['Connection: close'];
  socket.write(`${[`${line} HTTP/${version}`, ...headers, ...close].join('\r\n')}\r\n\r\n${body}`);
  const late = setTimeout(() => socket.destroy(new Error(`no end of the answer to ${line}`)), PATIENCE_MS);
  let text = '';
  for await (const chunk of socket.setEncoding('latin1')) text += chunk;
  clearTimeout(late);
  const [head = '', ...rest] = text.slice(text.lastIndexOf('HTTP/1.1 ')).split('\r\n\r\n');
  const [statusLine = '', ...lines] = head.split('\r\n');
  const pairs = lines.map((each) => {
    const colon = each.indexOf(':');
    return [each.slice(0, colon).toLowerCase(), each.slice(colon + 1).trim()] as const;
  });
  assert.equal(new Set(pairs.map(([name]) => name)).size, pairs.length, `a header twice: ${head}`);
  return {
    status: Number(statusLine.split(' ')[1]),
    headers: Object.fromEntries(pairs),
    body: rest.join('\r\n\r\n'),
    text,
  };
}

/** What holds for every problem, wherever it comes from. */
function isRawProblem(answer: RawAnswer, status: number, code: string, detail = /./): void {
  assert.equal(answer.status, status, answer.text);
  assert.equal(answer.headers['content-type'], 'application/problem+json', answer.text);
  assert.match(String(answer.headers['psync-position']), /^[0-9a-f]{40}:\d+$/);
  assert.equal(answer.headers['psync-role'], 'master');
  assert.equal(answer.headers['x-content-type-options'], 'nosniff');
  assert.equal(answer.headers['cross-origin-resource-policy'], 'same-origin');
  assert.equal(answer.headers['cache-control'], 'no-store');
  assert.ok(Date.parse(String(answer.headers.date)) > 0, 'Date');
  assert.equal(answer.headers['content-length'], String(Buffer.byteLength(answer.body)));
  const problem = JSON.parse(answer.body) as Record<string, unknown>;
  assert.deepEqual([problem.status, problem.code], [status, code]);
  assert.match(String(problem.detail), detail);
}

interface Nodes {
  /** Without any settings. */
  readonly plain: ChildNode;
  /** One that lets pages of APP come. */
  readonly open: ChildNode;
  readonly http: Connection;
  readonly openHttp: Connection;
}

async function nodes(t: TestContext): Promise<Nodes> {
  const cluster = await Cluster.create(t);
  const plain = await cluster.start('plain');
  const names = ['--allow-host', 'db.example', '--allow-host', 'a.example,b.example'];
  const open = await cluster.start('open', '--allow-origin', APP, ...names);
  return { plain, open, http: new Connection(t, plain), openHttp: new Connection(t, open) };
}

/** A server that answers every upgrade with this. @returns `ws://HOST:PORT` */
async function scriptedAnswer(t: TestContext, status: number, body: object): Promise<string> {
  const server = createServer();
  server.on('upgrade', (_request, connection) => {
    connection.on('error', () => undefined);
    const text = JSON.stringify(body);
    connection.end(`HTTP/1.1 ${status} No\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  t.after(() => server.close());
  return `ws://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test('a request for a name that is not of this node is refused', async (t) => {
  const { plain, open, http, openHttp } = await nodes(t);

  await t.test(
    'a request for a foreign name is refused on every route, also for reads, and writes nothing',
    async () => {
      for (const [node, connection] of [
        [plain, http],
        [open, openHttp],
      ] as const) {
        await node.client.set('k', 'v');
        const before = await node.client.replication();
        const host = `${EVIL}:${node.port}`;
        for (const [path, operations] of Object.entries(document.paths)) {
          for (const method of Object.keys(operations)) {
            for (const origin of [{}, { origin: `http://${host}` }]) {
              const headers = { host, ...origin };
              const answer = await connection.send(
                method.toUpperCase(),
                path.replace('{key}', 'k'),
                undefined,
                headers,
              );
              assert.equal(answer.status, 403, `${method} ${path}`);
              if (method !== 'head') isProblem(answer, 403, 'FORBIDDEN', /"evil\.example:\d+".*--allow-host/);
            }
          }
        }
        for (const path of ['/docs', '/openapi.json', '/v1/replication/stream']) {
          isProblem(await connection.send('GET', path, undefined, { host }), 403, 'FORBIDDEN');
        }
        for (const line of [
          'OPTIONS *',
          'TRACE /v1/keys',
          'QUERY /v1/keys',
          'GET /nothing',
          'GET /v1/keys/%ff',
        ]) {
          isRawProblem(await raw(node, line, [`Host: ${host}`]), 403, 'FORBIDDEN');
        }
        isProblem(await connection.send('PUT', '/v1/keys/k', 'new', { host }), 403, 'FORBIDDEN');
        isProblem(await connection.send('PUT', '/v1/keys/k?', 'new', { host }), 403, 'FORBIDDEN');
        assert.equal((await node.client.replication()).position, before.position);
      }
    },
  );

  await t.test('a WebSocket for a foreign name is refused', async () => {
    for (const line of [STREAM, CHANGES]) {
      for (const protocol of ['psync.v1', 'psync.v1.json']) {
        const headers = [`Host: ${EVIL}`, ...HANDSHAKE, `Sec-WebSocket-Protocol: ${protocol}`];
        for (const more of [[], [`Origin: http://${EVIL}`]]) {
          isRawProblem(await raw(plain, line, [...headers, ...more]), 403, 'FORBIDDEN', /--allow-host/);
        }
      }
    }
  });

  await t.test('bytes that are no HTTP are answered with a problem', async () => {
    isRawProblem(await raw(plain, 'this is no', ['Host: localhost']), 400, 'BAD_REQUEST');
  });

  await t.test(
    'requests for names from the settings, for addresses and for localhost are answered',
    async () => {
      for (const host of ['db.example', 'A.example:80', 'b.example.', 'localhost', '[::1]:1', '10.0.0.1']) {
        assert.equal((await openHttp.send('GET', '/healthz', undefined, { host })).status, 200, host);
        assert.equal((await openHttp.send('GET', '/v1/keys/k', undefined, { host })).status, 200, host);
      }
      const config = json(await openHttp.send('GET', '/v1/config'));
      assert.deepEqual(config.allowHost, ['db.example', 'a.example', 'b.example']);
      isProblem(await http.send('GET', '/healthz', undefined, { host: 'db.example' }), 403, 'FORBIDDEN');
    },
  );

  await t.test('requests for the announced name are answered', async (t) => {
    const cluster = await Cluster.create(t);
    const node = await cluster.start('node', '--announce-url', 'ws://node-1.example:80');
    const http = new Connection(t, node);
    assert.equal((await http.send('GET', '/healthz', undefined, { host: 'node-1.example' })).status, 200);
    isProblem(await http.send('GET', '/healthz', undefined, { host: 'node-2.example' }), 403, 'FORBIDDEN');
  });

  await t.test(
    'a replica that uses a name which its master does not know tells which setting is missing',
    async (t) => {
      const cluster = await Cluster.create(t);
      const master = await scriptedAnswer(t, 403, {
        status: 403,
        code: 'FORBIDDEN',
        detail: 'not this Host; --allow-host NAME\r\nrole:master',
      });
      const replica = await cluster.start('replica', '--replica-of', master);
      const { upstream } = await linkState(replica, 'waiting');
      assert.equal(upstream?.detail, 'the answer is 403: not this Host; --allow-host NAME  role:master');
    },
  );

  await t.test(
    'a request without a Host is answered if it is HTTP/1.0, and a problem if it is HTTP/1.1',
    async () => {
      const old = await raw(plain, 'GET /healthz', [], '', '1.0');
      assert.equal(old.status, 200);
      isRawProblem(await raw(plain, 'GET /healthz', []), 400, 'BAD_REQUEST', /Host/);
      isRawProblem(await raw(plain, 'GET /v1/keys/k', []), 400, 'BAD_REQUEST', /Host/);
      isRawProblem(await raw(plain, CHANGES, HANDSHAKE), 400, 'BAD_REQUEST', /Host/);
      isRawProblem(await raw(plain, 'GET /healthz', ['Host:']), 403, 'FORBIDDEN', /--allow-host/);
    },
  );
});

test('answers tell browsers and caches what they may do with them', async (t) => {
  const { plain, open, http, openHttp } = await nodes(t);
  for (const connection of [http, openHttp]) {
    await connection.send('PUT', '/v1/keys/json', '{"a":1}');
    await connection.send('PUT', '/v1/keys/text', 'no JSON');
  }
  const [put, get] = ['PUT /v1/keys/k', 'GET /v1/keys/json'];

  await t.test('a page of an allowed origin may read every answer', async () => {
    const local = ['Host: localhost', `Origin: ${APP}`];
    for (const [line, status, headers = [], body = ''] of [
      [get, 200],
      ['GET /v1/keys/none', 404],
      ['GET /v1/nothing', 404],
      ['POST /v1/keys', 405],
      ['QUERY /v1/keys', 405],
      ['GET /v1/keys/%ff', 400],
      ['GET /v1/keys/%', 400],
      ['GET /v1/keys/k?position=%ff', 400],
      [`GET /v1/keys/${'x'.repeat(2_000)}`, 400],
      [get, 406, ['Accept: image/png']],
      [get, 412, ['If-Match: "1"']],
      [put, 417, ['Expect: miracles']],
      [put, 415, ['Content-Encoding: gzip', 'Content-Length: 1'], 'v'],
      ['PATCH /v1/keys/json', 415, ['Content-Length: 1'], '1'],
      ['POST /v1/batch', 400, ['Content-Type: application/json', 'Content-Length: 1'], '{'],
      ['OPTIONS /v1/keys', 204],
      ['OPTIONS *', 204],
      ['CONNECT a.example:1', 501],
      ['GET /v1/replication/stream', 426],
      [CHANGES, 400, HANDSHAKE],
      [CHANGES, 426, HANDSHAKE.map((header) => header.replace('13', '12'))],
      ['GET /v1/changes?position=now&wait=0', 200],
      ['GET /docs/', 200],
      ['GET /openapi.json', 200],
    ] as const) {
      const what = `${line} ${headers.join()}`;
      const answer = await raw(open, line, [...local, ...headers], body);
      assert.equal(answer.status, status, what);
      assert.equal(answer.headers['access-control-allow-origin'], APP, what);
      assert.match(String(answer.headers['access-control-expose-headers']), /Psync-Position/, what);
      assert.match(String(answer.headers.vary), /^Origin\b/, what);
      assert.equal(answer.headers['x-content-type-options'], 'nosniff', what);
      assert.equal(answer.headers['cross-origin-resource-policy'], 'same-origin', what);
      if (status >= 400) assert.equal(answer.headers['content-type'], 'application/problem+json', what);
      for (const others of [['Host: localhost'], ['Host: localhost', `Origin: http://${EVIL}`]]) {
        const other = await raw(open, line, [...others, ...headers], body);
        assert.equal(other.headers['access-control-allow-origin'], undefined, what);
        assert.match(String(other.headers.vary), /^Origin\b/, what);
        const closed = await raw(plain, line, [...others, ...headers], body);
        assert.equal(closed.headers['access-control-allow-origin'], undefined, what);
        assert.doesNotMatch(String(closed.headers.vary), /origin/i, what);
        assert.equal(closed.headers['x-content-type-options'], 'nosniff', what);
      }
    }
  });

  await t.test('the preflight request of a browser is answered for every path', async () => {
    for (const path of ['/v1/keys/k', '/v1/nothing', '/v1/keys/%ff', '/v1/keys?prefix=%ff', '*']) {
      const asked = {
        origin: APP,
        'access-control-request-method': 'PUT',
        'access-control-request-headers': 'if-match, x-trace',
      };
      const lines = Object.entries(asked).map(([name, value]) => `${name}: ${value}`);
      const answer = await raw(open, `OPTIONS ${path}`, ['Host: localhost', ...lines]);
      assert.equal(answer.status, 204, path);
      assert.equal(answer.headers['access-control-allow-origin'], APP);
      assert.match(String(answer.headers['access-control-allow-methods']), /\bPATCH\b/);
      assert.equal(answer.headers['access-control-allow-headers'], 'if-match, x-trace');
      assert.equal(answer.headers['access-control-max-age'], '600');
      assert.equal(answer.headers.vary, 'Origin, Access-Control-Request-Headers');
    }
    // Not one that a browser sends: it is answered as OPTIONS are.
    const half = await openHttp.send('OPTIONS', '/v1/keys/k', undefined, { origin: APP });
    assert.equal(half.status, 204);
    assert.match(String(half.headers.allow), /PUT/);
    const foreign = { origin: `http://${EVIL}`, 'access-control-request-method': 'PUT' };
    const refused = await openHttp.send('OPTIONS', '/v1/keys/k', undefined, foreign);
    assert.equal(refused.headers['access-control-allow-origin'], undefined);
    isProblem(await openHttp.send('OPTIONS', '/v1/nothing', undefined, foreign), 404, 'UNKNOWN_PATH');
  });

  await t.test('an answer that depends on Accept has Vary, also an answer without a body', async () => {
    for (const [connection, vary] of [
      [http, 'Accept'],
      [openHttp, 'Origin, Accept'],
    ] as const) {
      const etag = String((await connection.send('GET', '/v1/keys/json')).headers.etag);
      for (const [path, headers, status] of [
        ['/v1/keys/json', {}, 200],
        ['/v1/keys/json?', {}, 200],
        ['/v1/keys/json', { accept: 'application/json' }, 200],
        ['/v1/keys/json', { 'if-none-match': etag }, 304],
        ['/v1/keys/json', { accept: 'image/png' }, 406],
        ['/v1/keys/text', { accept: 'application/json' }, 406],
        ['/v1/changes?position=now&wait=0', {}, 200],
        ['/v1/changes?position=now&wait=0', { accept: 'image/png' }, 406],
      ] as const) {
        for (const method of path.startsWith('/v1/keys') ? ['GET', 'HEAD'] : ['GET']) {
          const answer = await connection.send(method, path, undefined, headers);
          assert.deepEqual([answer.status, answer.headers.vary], [status, vary], `${method} ${path}`);
        }
      }
    }
  });

  await t.test('a value that a browser shows runs no script and has no origin', async () => {
    for (const connection of [http, openHttp]) {
      for (const path of ['/v1/keys/json', '/v1/keys/json?']) {
        for (const accept of ['*/*', 'application/json']) {
          const { headers } = await connection.send('GET', path, undefined, { accept });
          assert.equal(headers['content-security-policy'], "default-src 'none'; sandbox");
          assert.equal(headers['x-content-type-options'], 'nosniff');
        }
      }
    }
  });

  await t.test(
    'the pages of the document run only their own scripts, and are shown in no frame',
    async () => {
      for (const path of ['/docs/', '/docs/static/swagger-ui-bundle.js', '/docs/static/index.css']) {
        const answer = await http.send('GET', path);
        assert.equal(answer.status, 200, path);
        // A page that has opened the window cannot show another one in it, which would ask for the token.
        assert.equal(answer.headers['cross-origin-opener-policy'], 'same-origin', path);
        const policy = String(answer.headers['content-security-policy']).split('; ');
        for (const rule of ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"]) {
          assert.ok(policy.includes(rule), `${path}: ${policy}`);
        }
      }
      // What the policy forbids must not be there.
      const page = (await http.send('GET', '/docs/')).body.toString();
      const scripts = [...page.matchAll(/<script\b([^>]*)>([^<]*)</g)];
      assert.ok(scripts.length > 0);
      for (const [, attributes, code] of scripts) {
        assert.match(String(attributes), /\bsrc="\.\/static\//);
        assert.equal(code?.trim(), '');
      }
      assert.doesNotMatch(page, /\son\w+=|https?:\/\//);
    },
  );
});

test('requests are answered by the rules of RFC 9110', async (t) => {
  const { plain, open, http } = await nodes(t);
  const local = 'Host: localhost';

  await t.test('a list of ETags may have empty elements', async () => {
    const { version } = json(await http.send('PUT', '/v1/keys/e', 'v')) as { version: number };
    for (const list of [
      `,"${version}"`,
      `"${version}",`,
      ` , ,\t"1" ,, W/"${version}" ,`,
      `"x",,"${version}"`,
    ]) {
      const read = await http.send('GET', '/v1/keys/e', undefined, { 'if-none-match': list });
      assert.equal(read.status, 304, list);
      const write = await http.send('PUT', '/v1/keys/e', 'v', { 'if-none-match': list });
      isProblem(write, 412, 'PRECONDITION_FAILED');
    }
    for (const list of [',', ', ,', ',x', `"${version}";,`, `"1""${version}"`, `,"${version}`]) {
      isProblem(
        await http.send('PUT', '/v1/keys/e', 'v', { 'if-match': list }),
        400,
        'BAD_REQUEST',
        /If-Match/,
      );
    }
    assert.equal((await http.send('PUT', '/v1/keys/e', 'v', { 'if-match': `,"${version}",` })).status, 200);
  });

  await t.test('If-Match is evaluated first, and then If-None-Match; both must be met', async () => {
    const write = (match: string, none: string) =>
      http.send('PUT', '/v1/keys/both', 'v', { 'if-match': match, 'if-none-match': none });
    const read = (match: string, none: string) =>
      http.send('GET', '/v1/keys/both', undefined, { 'if-match': match, 'if-none-match': none });
    isProblem(await write('*', '"1"'), 412, 'PRECONDITION_FAILED');
    const { version } = json(await http.send('PUT', '/v1/keys/both', 'v')) as { version: number };
    const tag = `"${version}"`;
    isProblem(await write('"1"', '"1"'), 412, 'PRECONDITION_FAILED');
    isProblem(await write(tag, tag), 412, 'PRECONDITION_FAILED');
    isProblem(await write(tag, '*'), 412, 'PRECONDITION_FAILED');
    isProblem(await write('"1"', '*'), 412, 'PRECONDITION_FAILED');
    assert.equal((await read(tag, tag)).status, 304);
    assert.equal((await read(tag, '"1"')).status, 200);
    isProblem(await read('"1"', tag), 412, 'PRECONDITION_FAILED');
    isProblem(await read(`W/${tag}`, tag), 412, 'PRECONDITION_FAILED');
    assert.equal((await write(tag, '"1"')).status, 200);
  });

  await t.test('an empty Accept counts as no preference', async () => {
    await http.send('PUT', '/v1/keys/a', '{}');
    for (const accept of ['', ' ', ',', ' , ,']) {
      const value = await http.send('GET', '/v1/keys/a', undefined, { accept });
      assert.deepEqual([value.status, value.headers['content-type']], [200, 'application/octet-stream']);
      const changes = await http.send('GET', '/v1/changes?position=now&wait=0', undefined, { accept });
      assert.deepEqual([changes.status, changes.headers['content-type']], [200, 'application/x-ndjson']);
    }
  });

  await t.test(
    'a method that no path has is 405 with what the path allows, whatever body it brings',
    async () => {
      const allow = String((await http.send('OPTIONS', '/v1/keys')).headers.allow);
      for (const method of ['QUERY', 'PROPFIND', 'TRACE', 'M-SEARCH', 'PURGE', 'LOCK', 'PATCH']) {
        for (const more of [[], ['Content-Length: 2'], ['Content-Length: 2', 'Content-Type: nonsense']]) {
          const body = more.length === 0 ? '' : '{}';
          const answer = await raw(plain, `${method} /v1/keys`, [local, ...more], body);
          isRawProblem(answer, 405, 'METHOD_NOT_ALLOWED', new RegExp(method));
          assert.equal(answer.headers.allow, allow);
          isRawProblem(
            await raw(plain, `${method} /v1/nothing`, [local, ...more], body),
            404,
            'UNKNOWN_PATH',
          );
        }
      }
      const tunnel = await raw(plain, 'CONNECT a.example:443', [local]);
      isRawProblem(tunnel, 501, 'NOT_IMPLEMENTED');
    },
  );

  await t.test('OPTIONS * names every method of the server', async () => {
    for (const node of [plain, open]) {
      const answer = await raw(node, 'OPTIONS *', [local]);
      assert.equal(answer.status, 204);
      assert.equal(answer.headers.allow, 'DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT');
      assert.equal(answer.body, '');
    }
  });

  await t.test(
    'a body with a Content-Encoding is 415 on every route, and the answer names what is accepted',
    async () => {
      const before = (await plain.client.replication()).position;
      for (const [path, operations] of Object.entries(document.paths)) {
        for (const method of Object.keys(operations)) {
          if (!['put', 'post', 'patch'].includes(method)) continue;
          for (const coding of ['gzip', 'GZIP', 'identity, br', 'x-unknown']) {
            const headers = { 'content-encoding': coding, 'content-type': 'application/json' };
            const answer = await http.send(method.toUpperCase(), path.replace('{key}', 'k'), '{}', headers);
            isProblem(answer, 415, 'UNSUPPORTED_MEDIA_TYPE', /Content-Encoding/);
            assert.equal(answer.headers['accept-encoding'], 'identity', `${method} ${path}`);
          }
        }
      }
      assert.equal((await plain.client.replication()).position, before);
      for (const coding of ['identity', '', 'Identity, ']) {
        for (const path of ['/v1/keys/k', '/v1/keys/k?']) {
          const answer = await http.send('PUT', path, 'v', { 'content-encoding': coding });
          assert.ok(answer.status < 300, coding);
        }
      }
    },
  );

  await t.test('a patch of another media type is told which one is accepted', async () => {
    const answer = await http.send('PATCH', '/v1/keys/k', '{}', { 'content-type': 'application/json' });
    isProblem(answer, 415, 'UNSUPPORTED_MEDIA_TYPE');
    assert.equal(answer.headers['accept-patch'], 'application/merge-patch+json');
  });

  await t.test('an Expect header is met, or refused with a problem', async () => {
    const size = 'Content-Length: 1';
    for (const path of ['/v1/keys/x', '/v1/keys/x?']) {
      const met = await raw(plain, `PUT ${path}`, [local, size, 'Expect: 100-continue'], 'v');
      assert.match(met.text, /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 20[01] /);
      const refused = await raw(plain, `PUT ${path}`, [local, size, 'Expect: miracles'], 'v');
      isRawProblem(refused, 417, 'EXPECTATION_FAILED', /100-continue/);
    }
    // No leave to send what is refused already.
    for (const [status, more] of [
      [415, ['Content-Encoding: gzip']],
      [403, ['Origin: http://evil.example']],
    ] as const) {
      const refused = await raw(plain, 'PUT /v1/keys/x', [local, size, 'Expect: 100-continue', ...more]);
      assert.equal(refused.status, status);
      assert.doesNotMatch(refused.text, /100 Continue/);
    }
    const foreign = await raw(plain, 'PUT /v1/keys/x', ['Host: evil.example', size, 'Expect: 100-continue']);
    assert.doesNotMatch(foreign.text, /100 Continue/);
  });

  await t.test('a path that is only for WebSockets is 426 for other requests', async () => {
    for (const more of [[], ['Connection: close, Upgrade', 'Upgrade: h2c']]) {
      const answer = await raw(plain, STREAM, [local, ...more]);
      isRawProblem(answer, 426, 'UPGRADE_REQUIRED', /psync\.v1/);
      assert.equal(answer.headers.upgrade, 'websocket');
      assert.match(String(answer.headers.connection), /upgrade/i);
    }
    // HTTP/1.0 has no upgrades.
    const old = await raw(plain, STREAM, [local, ...HANDSHAKE], '', '1.0');
    isRawProblem(old, 426, 'UPGRADE_REQUIRED');
  });

  await t.test('a WebSocket of another version or method is told the right one', async () => {
    for (const version of ['', '0', '8', '12', '14', '13, 8', 'x']) {
      for (const line of [STREAM, CHANGES]) {
        const handshake = HANDSHAKE.map((header) => header.replace('13', version));
        const answer = await raw(plain, line, [local, ...handshake]);
        isRawProblem(answer, 426, 'UPGRADE_REQUIRED', /Sec-WebSocket-Version/);
        assert.equal(answer.headers['sec-websocket-version'], '13');
        assert.equal(answer.headers.upgrade, 'websocket');
        assert.match(String(answer.headers.connection), /upgrade/i);
      }
    }
    const post = await raw(plain, 'POST /v1/changes', [local, ...HANDSHAKE]);
    isRawProblem(post, 405, 'METHOD_NOT_ALLOWED');
    assert.equal(post.headers.allow, 'GET');
  });
});
