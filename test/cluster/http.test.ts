/** The REST API over real connections: what it answers, and that bad input costs nobody anything. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import test from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { until } from '../../src/cli/until.ts';
import { Cluster, converged, textOf } from '../support/cluster.ts';
import { type Answer, Connection, isProblem, json } from '../support/contract.ts';
import { exchanged, rawRequest } from '../support/raw-http.ts';

const MIB = 1024 * 1024;

test('PUT, GET, HEAD and DELETE of a key, any bytes, any characters', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const connection = new Connection(t, node);
  const value = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
  for (const key of [
    'plain',
    'a/b/c',
    'a//b/',
    'space and %',
    'ümläut/😀',
    '?q=1#f',
    '\u0000',
    'x'.repeat(1024),
  ]) {
    const path = `/v1/keys/${encodeURIComponent(key)}`;
    const created = await connection.send('PUT', path, value);
    assert.equal(created.status, 201, key);
    const { version, position, ...rest } = json(created);
    assert.deepEqual(rest, { key, created: true, expiresAt: null });
    assert.equal(created.headers['psync-position'], position);
    assert.equal(created.headers['psync-role'], 'master');
    assert.equal(created.headers.etag, `"${version}"`);
    assert.equal((await connection.send('PUT', path, value)).status, 200);

    const read = await connection.send('GET', path);
    assert.deepEqual({ status: read.status, body: read.body }, { status: 200, body: value });
    assert.equal(read.headers['content-type'], 'application/octet-stream');
    assert.equal(read.headers['content-length'], '256');
    const head = await connection.send('HEAD', path);
    assert.deepEqual(
      { status: head.status, length: head.headers['content-length'] },
      { status: 200, length: '256' },
    );
    assert.equal(head.headers.etag, read.headers.etag);

    const deleted = await connection.send('DELETE', path);
    assert.equal(deleted.status, 200);
    assert.equal(json(deleted).deleted, true);
    isProblem(await connection.send('DELETE', path), 404, 'NOT_FOUND');
    isProblem(await connection.send('GET', path), 404, 'NOT_FOUND');
  }
  const empty = await connection.send('PUT', '/v1/keys/empty', Buffer.alloc(0));
  assert.equal(empty.status, 201);
  assert.equal((await connection.send('GET', '/v1/keys/empty')).body.length, 0);
});

test('a key may have the name of a member of every JavaScript object', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const connection = new Connection(t, node);
  for (const name of ['constructor', '__proto__', 'toString', 'valueOf', 'hasOwnProperty', 'has']) {
    for (const path of [`/v1/keys/a/${name}`, `/v1/keys/${name}`, `/v1/keys/a%2F${name}/${name}`]) {
      assert.equal((await connection.send('PUT', path, Buffer.from('v'))).status, 201, path);
      assert.equal((await connection.send('GET', path)).body.toString(), 'v', path);
      assert.equal((await connection.send('GET', `${path}?`)).body.toString(), 'v', path);
      assert.equal((await connection.send('HEAD', path)).status, 200, path);
      assert.equal((await connection.send('OPTIONS', path)).status, 204, path);
      isProblem(await connection.send('POST', path, Buffer.from('v')), 405, 'METHOD_NOT_ALLOWED');
      assert.equal(
        (
          await connection.send('PUT', `${path}/expiry`, Buffer.from('{"ttl":9}'), {
            'content-type': 'application/json',
          })
        ).status,
        200,
        path,
      );
      assert.equal((await connection.send('DELETE', path)).status, 200, path);
      isProblem(await connection.send('GET', path), 404, 'NOT_FOUND');
    }
    const patch = { 'content-type': 'application/merge-patch+json' };
    const body = Buffer.from(`{"${name}":{"a":1}}`);
    await connection.send('PUT', '/v1/keys/json', Buffer.from('{}'));
    assert.equal((await connection.send('PATCH', '/v1/keys/json', body, patch)).status, 200, name);
    assert.deepEqual((await connection.send('GET', '/v1/keys/json')).body, body);
    for (const [method, path] of [
      ['POST', '/v1/batch'],
      ['PATCH', '/v1/config'],
    ] as const) {
      isProblem(
        await connection.send(method, path, body, { 'content-type': 'application/json' }),
        400,
        'BAD_REQUEST',
      );
    }
    isProblem(await connection.send('GET', `/v1/keys?${name}=1`), 400, 'BAD_REQUEST');
  }
});

test('a target with scheme and host is the same as its path alone', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  const at = (node: { url: string }, path: string): string => `${node.url.replace('http', 'HTTP')}${path}`;
  const statuses = async (port: number, ...requests: readonly string[]): Promise<readonly number[]> =>
    (await exchanged({ port }, [requests.join('')])).map(({ status }) => status);
  const handshake = [
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
    'Sec-WebSocket-Protocol: psync.v1.json',
  ];
  const requests = [
    rawRequest('PUT', at(master, '/v1/keys/a/b'), 'v'),
    rawRequest('GET', at(master, '/v1/keys/a/b')),
    rawRequest('GET', at(master, '/v1/keys/a/b?')),
    rawRequest('POST', at(master, '/v1/keys/n/m/increment')),
    rawRequest('GET', at(master, '/v1/keys?prefix=a')),
    rawRequest('GET', at(master, '')),
    rawRequest('GET', 'https://localhost:1?x'),
  ];
  assert.deepEqual(await statuses(master.port, ...requests), [201, 200, 200, 200, 200, 200, 200]);
  assert.equal(await textOf(master, 'a/b'), 'v');
  const [redirected] = await exchanged(replica, [rawRequest('PUT', at(replica, '/v1/keys/a/b?ttl=9'), 'v')]);
  assert.equal(redirected?.status, 307);
  assert.equal(redirected?.headers.get('location'), `${master.url}/v1/keys/a/b?ttl=9`);
  const socket = connect(master.port, '127.0.0.1');
  socket.write(rawRequest('GET', at(master, '/v1/changes'), '', ...handshake));
  const [first] = (await once(socket, 'data')) as [Buffer];
  assert.match(first.toString('latin1'), /^HTTP\/1\.1 101 /);
  socket.destroy();
  // The host of the target counts, whatever `Host` says.
  const page = rawRequest('PUT', at(master, '/v1/keys/own'), 'v', 'Origin: http://localhost');
  assert.deepEqual(await statuses(master.port, page), [403]);
  const own = rawRequest('PUT', at(master, '/v1/keys/own'), 'v', `Origin: ${master.url}`);
  assert.deepEqual(await statuses(master.port, own), [201]);
  for (const target of ['ftp://h/v1/keys/a', 'http:///v1/keys/a', 'http://user@h/v1/keys/a', 'http://h#f']) {
    assert.deepEqual(await statuses(master.port, rawRequest('GET', target)), [400], target);
    assert.deepEqual(await statuses(master.port, rawRequest('GET', target, '', ...handshake)), [400], target);
  }
});

test('two hosts are 400, and a transfer coding other than chunked is 501', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const chunked = '1\r\nv\r\n0\r\n\r\n';
  const put = (...headers: readonly string[]): string =>
    rawRequest('PUT', '/v1/keys/k', '', ...headers) + chunked;
  for (const [request, status, code] of [
    [rawRequest('GET', '/healthz', '', 'Host: psyncd'), 400, 'BAD_REQUEST'],
    [rawRequest('GET', '/healthz', '', 'host: another'), 400, 'BAD_REQUEST'],
    [rawRequest('PUT', '/v1/keys/k', 'v', 'Host: another'), 400, 'BAD_REQUEST'],
    [rawRequest('PUT', 'http://localhost/v1/keys/k', 'v', 'Host: another'), 400, 'BAD_REQUEST'],
    [put('Transfer-Encoding: gzip, chunked'), 501, 'NOT_IMPLEMENTED'],
    [put('Transfer-Encoding: gzip', 'Transfer-Encoding: chunked'), 501, 'NOT_IMPLEMENTED'],
    [put('Transfer-Encoding: gzip'), 501, 'NOT_IMPLEMENTED'],
    [put('Transfer-Encoding: chunked').replace('HTTP/1.1', 'HTTP/1.0'), 400, 'BAD_REQUEST'],
    [put('Transfer-Encoding: chunked', 'Content-Length: 1'), 400, 'BAD_REQUEST'],
  ] as const) {
    const answers = await exchanged(node, [request + rawRequest('PUT', '/v1/keys/k', 'behind')]);
    assert.deepEqual(
      answers.map(({ status }) => status),
      [status],
      request,
    );
    assert.equal(JSON.parse(answers[0]?.body ?? '').code, code, request);
    assert.equal((await fetch(`${node.url}/v1/keys/k`)).status, 404, request);
  }
  const [answer] = await exchanged(node, [put('Transfer-Encoding: Chunked')]);
  assert.equal(answer?.status, 201);
  assert.equal(await textOf(node, 'k'), 'v');
});

test('slashes in a key may be written as they are or as %2F', async (t) => {
  const cluster = await Cluster.create(t);
  const connection = new Connection(t, await cluster.start('node'));
  await connection.send('PUT', '/v1/keys/a/b%2Fc', Buffer.from('v'));
  assert.equal((await connection.send('GET', '/v1/keys/a%2Fb/c')).status, 200);
});

test('pages of keys follow each other in the order of their UTF-8 bytes, on every node', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  const keys = ['a', 'b/1', 'b/2', 'b/ü', 'b/\uffee', 'b/😀', 'c'];
  for (const key of keys.toReversed()) await master.client.set(key, `value of ${key}`);
  await master.client.digest(); // Moves what is there so far into SQLite.
  await master.client.set('b/3', 'from the overlay');
  await master.client.delete('b/1');
  await converged(master, replica);
  for (const node of [master, replica]) {
    const connection = new Connection(t, node);
    const found: string[] = [];
    let after = '';
    for (;;) {
      const answer = await connection.send('GET', `/v1/keys?prefix=b/&limit=2&values=true${after}`);
      const page = json(answer) as {
        keys: { key: string; value: string; size: number }[];
        next: string | null;
      };
      assert.ok(page.keys.length <= 2);
      found.push(...page.keys.map(({ key }) => key));
      if (page.next === null) break;
      after = `&after=${encodeURIComponent(page.next)}`;
    }
    assert.deepEqual(found, ['b/2', 'b/3', 'b/ü', 'b/\uffee', 'b/😀']);
  }
  const connection = new Connection(t, master);
  isProblem(await connection.send('GET', '/v1/keys?limit=1001'), 400, 'BAD_REQUEST', /limit/);
  isProblem(await connection.send('GET', '/v1/keys?limit=0'), 400, 'BAD_REQUEST', /limit/);
  isProblem(await connection.send('GET', '/v1/keys?prefx=b'), 400, 'BAD_REQUEST', /"prefx"/);
});

test('a key that is too long, empty or not UTF-8 is refused', async (t) => {
  const cluster = await Cluster.create(t);
  const connection = new Connection(t, await cluster.start('node'));
  isProblem(
    await connection.send('PUT', `/v1/keys/${'x'.repeat(1025)}`, Buffer.from('v')),
    400,
    'KEY_TOO_LONG',
    /1024/,
  );
  const umlauts = encodeURIComponent('ü'.repeat(513));
  isProblem(await connection.send('PUT', `/v1/keys/${umlauts}`, Buffer.from('v')), 400, 'KEY_TOO_LONG');
  isProblem(await connection.send('PUT', '/v1/keys/', Buffer.from('v')), 400, 'BAD_REQUEST', /empty/);
  isProblem(await connection.send('PUT', '/v1/keys/%ff', Buffer.from('v')), 400, 'BAD_REQUEST');
  isProblem(await connection.send('PUT', '/v1/keys/%zz', Buffer.from('v')), 400, 'BAD_REQUEST');
});

test('a value beyond 16 MiB, declared or not, is 413, and the connection stays usable', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const connection = new Connection(t, node);
  const largest = Buffer.alloc(16 * MIB, 1);
  const first = await connection.send('PUT', '/v1/keys/largest', largest);
  assert.equal(first.status, 201);
  const oneMore = Buffer.alloc(16 * MIB + 1, 1);
  const declared = await connection.send('PUT', '/v1/keys/more', oneMore);
  isProblem(declared, 413, 'VALUE_TOO_LARGE', /16777216/);
  const chunked = await connection.send('PUT', '/v1/keys/more', [oneMore, Buffer.from('end')]);
  isProblem(chunked, 413, 'VALUE_TOO_LARGE');
  const last = await connection.send('GET', '/v1/keys/largest');
  assert.ok(last.body.equals(largest));
  assert.deepEqual([declared.localPort, chunked.localPort, last.localPort], Array(3).fill(first.localPort));
  assert.equal((await connection.send('GET', '/v1/keys/more')).status, 404);
});

test('a body that announces far more than the limit is refused unread', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const socket = connect(node.port, '127.0.0.1');
  socket.write('PUT /v1/keys/huge HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\nsome');
  let text = '';
  for await (const chunk of socket) text += chunk;
  assert.match(text, /^HTTP\/1\.1 413 /);
  assert.match(text, /connection: close/i);
  assert.match(text, /VALUE_TOO_LARGE/);
});

test('an import is streamed, and tells how much is in', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const connection = new Connection(t, node);
  const lines = [
    '{"key":"text","value":"hé\\u0000"}',
    '{"key":"bytes","value":"AP8=","encoding":"base64"}',
    '',
    '{"key":"json","value":{"a":[1,null]},"encoding":"json"}\r',
    '{"key":"last","value":"","expiresAt":null}',
  ];
  const answer = await connection.send('POST', '/v1/import', Buffer.from(lines.join('\n')));
  assert.equal(answer.status, 200);
  assert.equal(json(answer).imported, 4);
  const value = async (key: string): Promise<Buffer> =>
    (await connection.send('GET', `/v1/keys/${key}`)).body;
  assert.deepEqual(await value('text'), Buffer.from('hé\u0000'));
  assert.deepEqual(await value('bytes'), Buffer.from([0, 255]));
  assert.deepEqual(await value('json'), Buffer.from('{"a":[1,null]}'));
  assert.deepEqual(await value('last'), Buffer.alloc(0));
  assert.equal(json(await connection.send('POST', '/v1/import', Buffer.alloc(0))).imported, 0);
  isProblem(
    await connection.send('POST', '/v1/import', Buffer.from('[]'), { 'content-type': 'application/pdf' }),
    415,
    'UNSUPPORTED_MEDIA_TYPE',
  );
});

test('a malformed line of an import is named, with how many before it are in', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const connection = new Connection(t, node);
  const good = (number: number): string => `{"key":"k${number}","value":"v"}\n`;
  const malformed: readonly (readonly [string | Buffer, RegExp])[] = [
    ['not json', /not JSON/],
    ['[1]', /not a JSON object/],
    ['{"value":"v"}', /"key" is not a string/],
    ['{"key":"","value":"v"}', /key is empty/],
    [`{"key":"${'x'.repeat(1025)}","value":"v"}`, /1024 bytes/],
    ['{"key":"\\ud800","value":"v"}', /not Unicode/],
    ['{"key":"k"}', /"value" is not a string/],
    ['{"key":"k","value":7}', /"value" is not a string/],
    ['{"key":"k","value":"\\udc00"}', /surrogate/],
    ['{"key":"k","value":"A","encoding":"base64"}', /not base64/],
    ['{"key":"k","value":"v","encoding":"utf7"}', /"encoding"/],
    ['{"key":"k","value":"v","expiresAt":-1}', /"expiresAt"/],
    ['{"key":"k","value":"v","colour":"red"}', /"colour"/],
    [Buffer.from([0x22, 0xff, 0x22]), /not UTF-8/],
  ];
  for (const [line, detail] of malformed) {
    // 1,500 lines are more than one group of writes.
    const before = Array.from({ length: 1_500 }, (_, index) => good(index)).join('');
    const body = Buffer.concat([Buffer.from(before), Buffer.from(line), Buffer.from(`\n${good(9_999)}`)]);
    const answer = await connection.send('POST', '/v1/import', body);
    isProblem(answer, 400, 'BAD_LINE', detail);
    assert.deepEqual(
      { line: json(answer).line, imported: json(answer).imported },
      { line: 1_501, imported: 1_500 },
    );
    assert.equal((await connection.send('GET', '/v1/keys/k1499')).status, 200);
    assert.equal((await connection.send('GET', '/v1/keys/k9999')).status, 404);
  }
});

test('an import that breaks off leaves whole entries, and the node goes on', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const socket = connect(node.port, '127.0.0.1');
  await once(socket, 'connect');
  socket.write(
    'POST /v1/import HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{"key":"a","value":"1"}\n{"key":"b","val',
  );
  socket.end();
  socket.resume();
  await once(socket, 'close');
  const connection = new Connection(t, node);
  assert.equal((await connection.send('GET', '/v1/keys/b')).status, 404);
  assert.equal((await connection.send('PUT', '/v1/keys/c', Buffer.from('v'))).status, 201);
});

test('a write on a replica is redirected to its master, with the query', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  const connection = new Connection(t, replica);
  for (const [method, path] of [
    ['PUT', '/v1/keys/a%2Fb'],
    ['DELETE', '/v1/keys/a?acks=1&timeout=10'],
    ['POST', '/v1/import'],
  ] as const) {
    const answer = await connection.send(method, path, method === 'DELETE' ? undefined : Buffer.from('{}'));
    isProblem(answer, 307, 'READONLY');
    assert.equal(answer.headers.location, `${master.url}${path}`);
    assert.equal(answer.headers['psync-role'], 'replica');
  }
  const followed = await fetch(`${replica.url}/v1/keys/k`, { method: 'PUT', body: 'v' });
  assert.equal(followed.status, 201);
  assert.equal(followed.headers.get('psync-role'), 'master');
});

test('REPLICAOF with a URL that is none of a master, and bodies that are no JSON', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const connection = new Connection(t, node);
  const put = (body: string, type = 'application/json'): Promise<Answer> =>
    connection.send('PUT', '/v1/replication/upstream', Buffer.from(body), { 'content-type': type });
  for (const url of [
    'http://127.0.0.1:1',
    'nonsense',
    '',
    'ws://',
    'ws://127.0.0.1:1/path',
    'ws://h:99999',
  ]) {
    isProblem(await put(JSON.stringify({ url })), 400, 'BAD_REQUEST', /ws:\/\/HOST:PORT/);
  }
  for (const url of [node.wsUrl, `ws://localhost:${node.port}`, `${node.wsUrl}/`]) {
    isProblem(await put(JSON.stringify({ url })), 400, 'BAD_REQUEST', /this node itself/);
  }
  isProblem(await put('{'), 400, 'BAD_REQUEST');
  isProblem(await put('{}'), 400, 'BAD_REQUEST', /url/);
  isProblem(await put('{"url":7}'), 400, 'BAD_REQUEST');
  isProblem(await put('{"url":"ws://h:1","more":1}'), 400, 'BAD_REQUEST', /"more"/);
  isProblem(await put('url=ws://h:1', 'application/x-www-form-urlencoded'), 415, 'UNSUPPORTED_MEDIA_TYPE');
  isProblem(await put(JSON.stringify({ url: 'x'.repeat(100_000) })), 413, 'BODY_TOO_LARGE');
  assert.equal((await node.client.replication()).role, 'master');
  assert.equal((await connection.send('DELETE', '/v1/replication/upstream')).status, 200);
  assert.deepEqual((await node.client.replication()).lineage, []);
});

test('unknown paths are 404, other methods 405 with Allow, no HTTP is 400', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const connection = new Connection(t, node);
  isProblem(await connection.send('GET', '/v1/nothing'), 404, 'UNKNOWN_PATH');
  const answer = await connection.send('POST', '/v1/keys/k', Buffer.from('v'));
  isProblem(answer, 405, 'METHOD_NOT_ALLOWED');
  assert.equal(answer.headers.allow, 'DELETE, GET, HEAD, OPTIONS, PATCH, PUT');
  assert.deepEqual(json(await connection.send('GET', '/healthz')), { status: 'ok' });
  const socket = connect(node.port, '127.0.0.1');
  socket.write('this is no HTTP\r\n\r\n');
  let text = '';
  for await (const chunk of socket) text += chunk;
  assert.match(text, /^HTTP\/1\.1 400 /);
  assert.match(text, /application\/problem\+json/);
});

test('a body that stops arriving is answered 408 on every route, and a slow body is accepted', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node', '--body-timeout', '300ms');
  for (const head of [
    'PUT /v1/keys/k HTTP/1.1',
    'POST /v1/import HTTP/1.1',
    'POST /v1/batch HTTP/1.1\r\nContent-Type: application/json',
  ]) {
    const socket = connect(node.port, '127.0.0.1');
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    socket.write(`${head}\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"half`);
    let text = '';
    for await (const chunk of socket) text += chunk;
    assert.match(text, /^HTTP\/1\.1 408 /, head);
    assert.match(text, /"code":"REQUEST_TIMEOUT"/);
  }
  // In all it takes three times as long as a body may stop for; a busy machine may stop it for longer now and then.
  await until('a slow body is accepted', async () => {
    const slow = connect(node.port, '127.0.0.1');
    slow.on('error', () => undefined);
    await once(slow, 'connect');
    const answered = once(slow, 'data');
    slow.write('PUT /v1/keys/slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n');
    for (let part = 0; part < 10; part += 1) {
      slow.write(String(part));
      await wait(100);
    }
    const [answer] = (await answered) as [Buffer];
    slow.destroy();
    return /^HTTP\/1\.1 201 /.test(answer.toString());
  });
  assert.equal(await textOf(node, 'slow'), '0123456789');
  // A connection that waits for its next request, or for an answer, is not a stalled body.
  const waiting = await fetch(`${node.url}/v1/keys/slow?acks=1&timeout=800`, { method: 'PUT', body: 'x' });
  assert.equal(waiting.status, 202);
});

/** Preloaded into a node: this machine's `localhost` has these addresses. */
const TWO_ADDRESSES = `data:text/javascript,${encodeURIComponent(`
  import dns from 'node:dns';
  import { syncBuiltinESMExports } from 'node:module';
  const both = [{ address: '127.0.0.1', family: 4 }, { address: '::1', family: 6 }];
  const { lookup } = dns;
  dns.lookup = (host, options, done) =>
    host === 'localhost' && options.all ? process.nextTick(done, null, both) : lookup(host, options, done);
  dns.promises.lookup = async () => both;
  syncBuiltinESMExports();
`)}`;
const hasIpv6 = Object.values(networkInterfaces()).some((each) =>
  each?.some(({ address }) => address === '::1'),
);

/** A write that waits for replicas that do not come. */
const WAITS = '/v1/keys/waits?acks=9&timeout=300000';

test('on every address of localhost the node is the same', { skip: !hasIpv6 && 'no ::1 here' }, async (t) => {
  const cluster = await Cluster.create(t);
  const environment = { NODE_OPTIONS: `--import=${TWO_ADDRESSES}` };
  const node = await cluster.startWith(environment, 'node', '--host', 'localhost', '--max-connections', '3');
  const hosts = ['127.0.0.1', '::1'];
  for (const host of hosts) {
    const to = { host, port: node.port };
    const key = `/v1/keys/${encodeURIComponent(host)}`;
    const answers = await exchanged(to, [
      [
        rawRequest('PUT', `http://localhost${key}`, '5'),
        rawRequest('POST', `${key}/increment`),
        rawRequest('GET', key),
        'no HTTP\r\n\r\n',
      ].join(''),
    ]);
    assert.deepEqual(
      answers.map(({ status }) => status),
      [201, 200, 200, 400],
    );
    assert.equal(answers[2]?.body, '6');
    const handshake = ['Connection: Upgrade', 'Upgrade: websocket'];
    const [refused] = await exchanged(to, [rawRequest('GET', '/v1/nothing', '', ...handshake)]);
    assert.equal(refused?.status, 404);
  }
  const connected = async (host: string): Promise<Socket> => {
    const socket = connect(node.port, host);
    socket.on('error', () => undefined);
    t.after(() => socket.destroy());
    await once(socket, 'connect');
    return socket;
  };
  const isServed = async (socket: Socket): Promise<boolean> => {
    // The second request goes on, so that no other connection takes this one's place.
    socket.write(`${rawRequest('GET', '/healthz')}${rawRequest('PUT', WAITS, 'x')}`);
    const closed = once(socket, 'close').then(() => false);
    return Promise.race([once(socket, 'data').then(() => true), closed]).catch(() => false);
  };
  const heldOn = async (...wanted: readonly string[]): Promise<readonly Socket[] | null> => {
    const sockets = await Promise.all(wanted.map(connected));
    const served = await Promise.all(sockets.map(isServed));
    if (served.every(Boolean)) return sockets;
    for (const socket of sockets) socket.destroy();
    return null;
  };
  for (const [first = '', second = ''] of [hosts, [...hosts].reverse()]) {
    const held = await until('three connections are there', () => heldOn(first, first, second));
    for (const host of hosts) assert.equal(await isServed(await connected(host)), false, host);
    for (const socket of held) socket.destroy();
  }
  const [last] = await until('there is room', () => heldOn('::1'));
  assert.equal(await node.stop(), 0);
  if (last?.closed === false) await once(last, 'close');
});

test('when all connections have work, more are closed at once, and room is made when others go', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node', '--max-connections', '3');
  const held = await Promise.all(
    [0, 1, 2].map(async () => {
      const socket = connect(node.port, '127.0.0.1');
      socket.write(`${rawRequest('GET', '/healthz')}${rawRequest('PUT', WAITS, 'x')}`);
      await once(socket, 'data');
      return socket;
    }),
  );
  const refused = connect(node.port, '127.0.0.1');
  refused.on('error', () => undefined);
  await once(refused, 'close');
  for (const socket of held) socket.destroy();
  const connection = new Connection(t, node);
  await until('there is room', async () => (await connection.send('GET', '/healthz')).status === 200);
});
