/** Requests that are sent on one connection without waiting for the answers (RFC 9112, 9.3.2). */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import test from 'node:test';
import { until } from '../../src/cli/until.ts';
import { Cluster } from '../support/cluster.ts';
import { seeded } from '../support/random.ts';
import { exchanged, type RawAnswer, rawRequest } from '../support/raw-http.ts';

const LARGE = 100 * 1024;

function request(method: string, path: string, body = '', type = 'text/plain'): string {
  const headers = `host: localhost\r\ncontent-type: ${type}\r\ncontent-length: ${body.length}\r\n`;
  return `${method} ${path} HTTP/1.1\r\n${headers}\r\n${body}`;
}

/** Sends them in one piece, the last one with `connection: close`. @returns all answers, as they came */
async function pipelined(port: number, ...requests: readonly string[]): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  const last = requests.at(-1)?.replace('\r\n\r\n', '\r\nconnection: close\r\n\r\n') ?? '';
  socket.write([...requests.slice(0, -1), last].join(''));
  let text = '';
  for await (const chunk of socket) text += chunk;
  return text;
}

function statuses(answers: string): readonly string[] {
  return [...answers.matchAll(/HTTP\/1\.1 (\d+) /g)].map(([, status]) => status as string);
}

test('writes that are sent one behind the other are done in that order, large or small, and then read', async (t) => {
  const cluster = await Cluster.create(t);
  for (const flags of [[], ['--allow-origin', 'http://there.example']]) {
    const node = await cluster.start(`node${flags.length}`, ...flags);
    const ops = Array.from({ length: 500 }, () => ({ op: 'set', key: 'k', value: 'batch' }));
    const answers = await pipelined(
      node.port,
      request('PUT', '/v1/keys/k', 'A'.repeat(LARGE)),
      request('PUT', '/v1/keys/k', 'B'),
      request('POST', '/v1/batch', JSON.stringify({ ops }), 'application/json'),
      request('GET', '/v1/keys/k'),
      request('PUT', '/v1/keys/k', 'C'),
      request('DELETE', '/v1/keys/other'),
      request('GET', '/v1/keys/k'),
    );
    assert.deepEqual(statuses(answers), ['201', '200', '200', '200', '200', '404', '200']);
    assert.match(answers, /\r\n\r\nbatchHTTP\/1\.1 200/);
    assert.match(answers, /\r\n\r\nC$/);
  }
});

test('of thousands that are sent at once each is answered, in order', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const puts = Array.from({ length: 5_000 }, (_, index) => request('PUT', '/v1/keys/k', String(index)));
  const answers = await pipelined(node.port, ...puts);
  assert.deepEqual(statuses(answers), ['201', ...Array.from({ length: 4_999 }, () => '200')]);
  assert.equal(Buffer.from((await node.client.get('k')) ?? []).toString(), '4999');
});

/** Status and body of each; of a JSON body one member. */
function seen(answers: readonly RawAnswer[], member = 'value'): readonly string[] {
  return answers.map(({ status, headers, body }) => {
    const isJson = headers.get('content-type')?.includes('json');
    return `${status} ${isJson ? (JSON.parse(body)[member] ?? '') : body}`.trimEnd();
  });
}

const HANDSHAKE = [
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
];

test('a request behind a small PUT in the same packet sees its write', async (t) => {
  const cluster = await Cluster.create(t);
  for (const flags of [[], ['--allow-origin', 'http://there.example']]) {
    const node = await cluster.start(`node${flags.length}`, ...flags);
    const key = '/v1/keys/k';
    const answers = await exchanged(node, [
      [
        rawRequest('PUT', key, '5'),
        rawRequest('GET', key),
        rawRequest('POST', `${key}/increment`),
        rawRequest('GET', key),
        rawRequest('PUT', key, '8'),
        rawRequest('GET', `${key}?`),
        rawRequest('DELETE', key),
        rawRequest('GET', key),
        rawRequest('PUT', `${key}?ttl=100`, '9'),
        rawRequest('PUT', key, '10'),
        rawRequest('GET', key),
      ].join(''),
    ]);
    assert.deepEqual(seen(answers), [
      '201',
      '200 5',
      '200 6',
      '200 6',
      '200',
      '200 8',
      '200',
      '404',
      '201',
      '200',
      '200 10',
    ]);
  }
});

test('whatever is pipelined, and however it is cut into packets, is answered as if it had been sent one by one', async (t) => {
  const { seed, random } = seeded();
  t.diagnostic(`PSYNCD_SEED=${seed}`);
  const cluster = await Cluster.create(t);
  const below = (limit: number): number => Math.floor(random() * limit);
  for (const flags of [[], ['--allow-origin', 'http://there.example']]) {
    const node = await cluster.start(`node${flags.length}`, ...flags);
    for (let round = 0; round < 40; round += 1) {
      const model = new Map<string, string>();
      const expected: string[] = [];
      let sent = '';
      for (let count = 1 + below(60); count > 0; count -= 1) {
        const name = `r${round}-${below(3)}`;
        const path = `/v1/keys/${name}`;
        const before = model.get(name);
        const kind = below(10);
        if (kind < 5) {
          // Answers above 16 KiB are made one by one, those above 64 KiB hold the ones behind them.
          const value = String(below(1_000)).repeat([1, 1, 1, below(5_000), below(40_000)][below(5)] ?? 1);
          const target = ['', '', '', '?', '?ttl=1000'][below(5)];
          sent += rawRequest(
            'PUT',
            `${path}${target}`,
            value,
            ...(value === '' ? ['Content-Length: 0'] : []),
          );
          expected.push(before === undefined ? '201' : '200');
          model.set(name, value);
        } else if (kind < 8) {
          sent += rawRequest('GET', `${path}${below(3) === 0 ? '?' : ''}`);
          expected.push(before === undefined ? '404' : `200 ${before}`.trimEnd());
        } else if (kind === 8) {
          sent += rawRequest('POST', `${path}/append`, 'x');
          expected.push('200');
          model.set(name, `${before ?? ''}x`);
        } else {
          sent += rawRequest('DELETE', path);
          expected.push(before === undefined ? '404' : '200');
          model.delete(name);
        }
      }
      const pieces: string[] = [];
      while (sent !== '') {
        const length = random() < 0.5 ? sent.length : 1 + below(sent.length);
        pieces.push(sent.slice(0, length));
        sent = sent.slice(length);
      }
      assert.deepEqual(seen(await exchanged(node, pieces)), expected, `round ${round}`);
    }
  }
});

test('reads on both paths behind a large answer are all answered', async (t) => {
  const node = await (await Cluster.create(t)).start('node');
  const value = 'x'.repeat(LARGE);
  await node.client.set('large', value);
  // An escaped key takes the way through Fastify, which asks at once; the fast path asks at the end of the tick.
  for (const behind of ['large', '%6carge', 'none', '%6eone']) {
    for (const last of ['large', '%6carge', 'none', '%6eone']) {
      const answers = await pipelined(
        node.port,
        request('OPTIONS', '/v1/info'),
        ...['large', behind, last].map((key) => request('GET', `/v1/keys/${key}`)),
      );
      const status = (key: string): string => (key.includes('one') ? '404' : '200');
      assert.deepEqual(statuses(answers), ['204', '200', status(behind), status(last)]);
    }
  }
});

test('small PUTs of one connection share the write turns', async (t) => {
  const node = await (await Cluster.create(t)).start('node');
  const commits = async (): Promise<number> =>
    Number(/^journal_commits:(\d+)/m.exec(await (await fetch(`${node.url}/v1/info`)).text())?.[1]);
  const before = await commits();
  const puts = Array.from({ length: 2_000 }, (_, index) => rawRequest('PUT', `/v1/keys/k${index}`, 'v'));
  const answers = await exchanged(node, [puts.join('')]);
  assert.equal(answers.length, 2_000);
  assert.ok((await commits()) - before < 500, `${(await commits()) - before} commits`);
});

test('a malformed request is answered after the earlier ones, and ends the connection', async (t) => {
  const node = await (await Cluster.create(t)).start('node');
  const broken = [
    ['no HTTP', 'this is no HTTP\r\n\r\n', 400],
    ['a WebSocket that is nowhere', rawRequest('GET', '/v1/nothing', '', ...HANDSHAKE), 404],
    ['a proxy', rawRequest('CONNECT', 'elsewhere.example:443'), 501],
    [
      'a chunk without a length',
      `${rawRequest('PUT', '/v1/keys/never', '', 'Transfer-Encoding: chunked')}zz\r\n`,
      400,
    ],
    ['half a body', `${rawRequest('PUT', '/v1/keys/never', 'whole').slice(0, -1)}`, 400],
    ['two hosts', rawRequest('GET', '/healthz', '', 'Host: another'), 400],
    [
      'a transfer coding',
      `${rawRequest('PUT', '/v1/keys/never', '', 'Transfer-Encoding: gzip, chunked')}0\r\n\r\n`,
      501,
    ],
  ] as const;
  for (const [what, bytes, status] of broken) {
    for (const [path, first] of [
      [`/v1/keys/${encodeURIComponent(what)}`, 201],
      [`/v1/keys/${encodeURIComponent(what)}?acks=1&timeout=50`, 202],
    ] as const) {
      await fetch(`${node.url}/v1/keys/${encodeURIComponent(what)}`, { method: 'DELETE' });
      const pieces = [rawRequest('PUT', path, 'v') + bytes, rawRequest('PUT', '/v1/keys/never', 'v')];
      const answers = await exchanged(node, what === 'half a body' ? pieces.slice(0, 1) : pieces);
      const statuses = answers.map((each) => each.status);
      assert.deepEqual(statuses, [first, status], what);
      assert.equal(answers[1]?.headers.get('content-type')?.split(';')[0], 'application/problem+json', what);
      const never = await fetch(`${node.url}/v1/keys/never`, { method: 'DELETE' });
      assert.equal(never.status, 404, what);
    }
  }
});

test('a node that stops answers all requests that it has received, in order', async (t) => {
  const node = await (await Cluster.create(t)).start('node');
  const waits = '/v1/keys/k?acks=1&timeout=60000';
  const answering = exchanged(
    node,
    [rawRequest('PUT', waits, 'v') + rawRequest('PUT', '/v1/keys/other', 'v')],
    {
      halfClose: false,
    },
  );
  await until('the first is written', async () => (await fetch(`${node.url}/v1/keys/k`)).status === 200);
  assert.equal(await node.stop(), 0);
  const statuses = (await answering).map(({ status }) => status);
  assert.deepEqual(statuses, [202, 503]);
});

test('a client that has closed its side frees its place among the connections', async (t) => {
  const node = await (await Cluster.create(t)).start('node');
  const feeds = rawRequest('GET', '/v1/changes') + rawRequest('GET', '/v1/changes');
  const behind = [
    '',
    rawRequest('CONNECT', 'h:1'),
    rawRequest('GET', '/v1/nothing', '', ...HANDSHAKE),
    'no HTTP\r\n\r\n',
  ];
  for (const bytes of behind) {
    const socket = connect(node.port, '127.0.0.1');
    socket.on('error', () => undefined);
    socket.end(feeds + bytes);
    await once(socket, 'data');
    socket.destroy();
  }
  await until('they are no followers any more', async () =>
    /^connected_followers:0\r?$/m.test(await (await fetch(`${node.url}/v1/info`)).text()),
  );
});
