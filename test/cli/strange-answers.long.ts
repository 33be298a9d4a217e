/** Commands against servers that answer JSON of another form, and with URLs and tokens that cannot be used: one line each. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { Certificates } from '../support/certificates.ts';
import { temporaryFolder } from '../support/cluster.ts';
import { MAIN } from '../support/main-file.ts';

const POSITION = `${'a'.repeat(40)}:7`;

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function psyncd(words: readonly string[], environment: Record<string, string> = {}): Promise<Outcome> {
  return new Promise((resolve) => {
    const env = { ...process.env, ...environment };
    const child = execFile(process.execPath, [MAIN, ...words], { env }, (_error, stdout, stderr) =>
      resolve({ code: child.exitCode, stdout, stderr }),
    );
  });
}

/** A server that answers every request with this JSON. */
function answering(json: string): RequestListener {
  return (request, response) => {
    const headers = { 'content-type': 'application/json', 'psync-position': POSITION };
    request.resume().once('end', () => response.writeHead(200, headers).end(json));
  };
}

async function listening(t: TestContext, server: ReturnType<typeof createServer>): Promise<number> {
  await once(server.listen(0, '127.0.0.1'), 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return (server.address() as AddressInfo).port;
}

test('a command says in one line that the answer is not that of a node, whatever JSON it is', async (t) => {
  const file = join(await temporaryFolder(t), 'lines');
  writeFileSync(file, '{"key":"k","value":"v"}\n');
  const strange = '{"upstream":{"url":7},"position":{"toString":1},"replicas":1,"notNow":{"toString":1}}';
  for (const json of ['{}', strange]) {
    const node = `http://127.0.0.1:${await listening(t, createServer(answering(json)))}`;
    const failing = [['info'], ['check', POSITION], ['failover'], ['import', file]];
    const others = [
      ['set', 'k', 'v'],
      ['replicaof', 'no-one'],
    ];
    for (const words of json === '{}' ? failing : [...failing, ...others]) {
      const { code, stderr } = await psyncd([...words, '--node', node]);
      assert.equal(code, 1, `${words} ${stderr}`);
      assert.match(stderr, /^psyncd: the node does not answer like psyncd: [^\n]+\n$/, words.join(' '));
    }
  }
});

test('a command prints nothing of an answer whose members have other types', async (t) => {
  const member = '{"a":1}';
  const names = [
    'keys',
    'changes',
    'sessions',
    'position',
    'value',
    'url',
    'digest',
    'remainingMs',
    'upstream',
    'equal',
  ];
  const strange = `{${names.map((name) => `"${name}":${member}`).join()},"created":true,"role":"replica"}`;
  const ofKeys = `{"keys":[{"key":${member}}],"next":null}`;
  for (const json of ['{}', strange, ofKeys, '[]']) {
    const node = `http://127.0.0.1:${await listening(t, createServer(answering(json)))}`;
    for (const words of [
      ['set', 'k', 'v'],
      ['incr', 'k'],
      ['keys'],
      ['keys', '--json'],
      ['diff', POSITION],
      ['follow', '--from-time', '2026-01-01T05:00:00Z'],
      ['diff', POSITION, '--json'],
      ['hold', '1s'],
      ['hold', '0'],
      ['accept'],
      ['sessions'],
      ['digest'],
      ['digest', '--against', 'http://127.0.0.1:1'],
      ['replicaof', 'ws://127.0.0.1:1'],
    ]) {
      const { code, stdout, stderr } = await psyncd([...words, '--node', node]);
      assert.deepEqual([code, stdout], [1, ''], `${words} ${json} ${stderr}`);
      assert.match(stderr, /^psyncd: [^\n]*does not answer like psyncd: [^\n]+\n$/, `${words} ${json}`);
    }
  }
});

test('psyncd keys ends when a node names a next page that leads back', async (t) => {
  const json = '{"keys":[{"key":"a","size":1,"version":1,"expiresAt":null}],"next":"a"}';
  const node = `http://127.0.0.1:${await listening(t, createServer(answering(json)))}`;
  const { code, stdout, stderr } = await psyncd(['keys', '--node', node]);
  assert.equal(code, 1);
  assert.equal(stdout, 'a\na\n');
  assert.match(stderr, /^psyncd: the node names a next page that does not come after the last one\n$/);
});

test('psyncd keys goes on after a page without keys', async (t) => {
  const page = (next: string | null, ...keys: string[]): string =>
    JSON.stringify({ keys: keys.map((key) => ({ key, size: 1, version: 1, expiresAt: null })), next });
  const server = createServer((request, response) => {
    const after = new URL(request.url ?? '', 'http://node').searchParams.get('after');
    answering(after === null ? page('m') : page(null, 'n'))(request, response);
  });
  const node = `http://127.0.0.1:${await listening(t, server)}`;
  const { code, stdout } = await psyncd(['keys', '--node', node]);
  assert.deepEqual([code, stdout], [0, 'n\n']);
});

/** Begins an answer, and goes on for as long as anybody reads. */
function endless(status: number, type: string, begin: string): RequestListener {
  return (_request, response) => {
    const headers = { 'content-type': type, 'psync-position': POSITION };
    response.writeHead(status, headers).write(begin);
    const piece = Buffer.alloc(64 * 1024, 'a');
    const write = (): void => {
      while (!response.destroyed && response.write(piece));
    };
    response.on('drain', write).on('error', () => undefined);
    write();
  };
}

test('a command takes no more of an answer than a node may send, and says so in one line', async (t) => {
  for (const [words, answer] of [
    [['info'], endless(200, 'application/json', '{"a":"')],
    [['incr', 'k'], endless(200, 'application/json', '{"a":"')],
    [['keys'], endless(500, 'application/problem+json', '{"a":"')],
    [['get', 'k'], endless(200, 'application/octet-stream', '')],
  ] as const) {
    const node = `http://127.0.0.1:${await listening(t, createServer(answer))}`;
    const { code, stdout, stderr } = await psyncd([...words, '--node', node]);
    assert.deepEqual([code, stdout], [1, ''], stderr);
    assert.match(stderr, /^psyncd: the answer of the node has more than \d+ bytes\n$/);
  }
});

test('a command says in one line that an answer broke off', async (t) => {
  for (const [words, type] of [
    [['info'], 'application/json'],
    [['get', 'k'], 'application/octet-stream'],
  ] as const) {
    const cut: RequestListener = (_request, response) => {
      const headers = { 'content-type': type, 'psync-position': POSITION, 'content-length': 1_000 };
      response.writeHead(200, headers).write('{"a":', () => response.destroy());
    };
    const node = `http://127.0.0.1:${await listening(t, createServer(cut))}`;
    const { code, stdout, stderr } = await psyncd([...words, '--node', node]);
    assert.deepEqual([code, stdout], [1, ''], stderr);
    assert.match(stderr, /^psyncd: the answer of the node broke off before its end\n$/);
  }
});

test('a password or a query in a URL and a token that no header can hold are wrong usage, and are not printed', async () => {
  for (const [words, environment] of [
    [['info', '--node', 'https://user:s3cret@127.0.0.1:1'], {}],
    [['follow', '--node', 'http://s3cret@127.0.0.1:1'], {}],
    [['get', 'k', '--node', 'ftp://user:s3cret@127.0.0.1:1'], {}],
    [['get', 'k', '--node', 'http://user:s3c/ret@127.0.0.1'], {}],
    [['get', 'k', '--node', 'user:s3cret@127.0.0.1'], {}],
    [['info', '--node', 'http://127.0.0.1:1/?key=s3cret'], {}],
    [['backup', 'b.db', '--node', 'http://127.0.0.1:1?s3cret'], {}],
    [['follow', '--node', 'http://127.0.0.1:1/path#s3cret'], {}],
    [['get', 'k', '--node', 'ws://127.0.0.1:1/?s3cret'], {}],
    [['info'], { PSYNCD_TOKEN: 's3cret\ntwo' }],
    [['follow'], { PSYNCD_TOKEN: 's3cret\u4e16' }],
  ] as const) {
    const { code, stderr } = await psyncd(words, environment);
    assert.equal(code, 2, stderr);
    assert.match(stderr, /^psyncd: (?:--node|PSYNCD_TOKEN): [^\n]+\n$/);
    assert.doesNotMatch(stderr, /s3c/);
  }
});

test('psyncd import does not show its token over http to the master of a node with TLS', async (t) => {
  const certificates = await Certificates.create(t);
  const file = join(await temporaryFolder(t), 'lines');
  writeFileSync(file, '{"key":"k","value":"v"}\n');
  let asked = 0;
  const master = await listening(
    t,
    createServer((_request, response) => {
      asked += 1;
      response.end();
    }),
  );
  const { cert, key } = certificates.make('node');
  const pair = { cert: readFileSync(cert), key: readFileSync(key) };
  const replica = answering(JSON.stringify({ upstream: { url: `ws://127.0.0.1:${master}` } }));
  const port = await listening(
    t,
    createTlsServer(pair, replica) as unknown as ReturnType<typeof createServer>,
  );
  const ca = ['--ca', certificates.path('ca.crt')];
  const words = ['import', file, '--node', `https://127.0.0.1:${port}`, ...ca];
  const { code, stderr } = await psyncd(words, { PSYNCD_TOKEN: 'the-token' });
  assert.equal(code, 1);
  assert.match(stderr, /^psyncd: the master is http:\S+, and a token is not shown over http; [^\n]+\n$/);
  assert.equal(asked, 0);
});
