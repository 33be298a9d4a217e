/** JSON from outside: it holds nobody up, its numbers stay what they are, and what is wrong with it is said. */
import assert from 'node:assert/strict';
import { request } from 'node:http';
import test, { type TestContext } from 'node:test';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { Cluster, linkState, samePosition, textOf } from '../support/cluster.ts';
import { Connection, type Headers, isProblem, json } from '../support/contract.ts';
import { longestStall } from '../support/stalls.ts';

const MIB = 1024 * 1024;
const JSON_TYPE = { 'content-type': 'application/json' };
const PATCH_TYPE = { 'content-type': 'application/merge-patch+json' };

/** A quiet machine answers within 250 ms; before there were limits the requests below took seconds. */
const MOST_STALL_MS = 500;

async function oneNode(t: TestContext, ...flags: string[]): Promise<{ node: ChildNode; http: Connection }> {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node', ...flags);
  return { node, http: new Connection(t, node) };
}

interface Counted {
  readonly status: number;
  readonly bytes: number;
  /** The first bytes of the body, and the last ones. */
  readonly ends: string;
}

/** Sends a request whose answer is large: it is counted and not kept. */
function counted(
  node: ChildNode,
  method: string,
  path: string,
  body: string | Buffer,
  headers: Headers,
): Promise<Counted> {
  return new Promise((resolve, reject) => {
    const outgoing = request(`${node.url}${path}`, { method, headers: { ...headers } }, (response) => {
      let [bytes, first, last] = [0, '', ''];
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (first === '') first = chunk.toString('latin1', 0, 40);
        last = chunk.toString('latin1', Math.max(0, chunk.length - 100));
      });
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, bytes, ends: `${first} … ${last}` }),
      );
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

test('other requests are not delayed by JSON, however large or unusual', async (t) => {
  const { node, http } = await oneNode(t);
  const numbers = `{"big":12345678901234567890,"all":[${'1,'.repeat(8 * MIB - 40)}1]}`;
  await http.send('PUT', '/v1/keys/numbers', numbers);
  await http.send('PUT', '/v1/keys/controls', Buffer.alloc(16 * MIB, 1));
  const batch = (...ops: readonly object[]): string => JSON.stringify({ ops });
  const set = (members: string): string => `{"ops":[{"op":"set","key":"k",${members}}]}`;
  const reads = Array.from({ length: 4 }, () => ({ op: 'get', key: 'controls' }));
  const escapes = `"${'\\u0001'.repeat(5 * MIB)}"`;
  for (const [what, method, path, body, headers, status, least] of [
    [
      'reading a large value as JSON',
      'GET',
      '/v1/keys/numbers',
      '',
      { accept: 'application/json' },
      200,
      16 * MIB - 99,
    ],
    ['patching a large value', 'PATCH', '/v1/keys/numbers', '{"x":1}', PATCH_TYPE, 200, 100],
    ['a large patch', 'PATCH', '/v1/keys/numbers', numbers, PATCH_TYPE, 200, 100],
    [
      'a patch of many members',
      'PATCH',
      '/v1/keys/numbers',
      `{${'"a":{},'.repeat(MIB)}"b":1}`,
      PATCH_TYPE,
      400,
      100,
    ],
    [
      'a batch of empty objects',
      'POST',
      '/v1/batch',
      `{"ops":[${'{},'.repeat(20 * MIB)}{}]}`,
      JSON_TYPE,
      413,
      100,
    ],
    [
      'a batch with a value of many numbers',
      'POST',
      '/v1/batch',
      set(`"encoding":"json","value":[ ${'1,'.repeat(7 * MIB)}1]`),
      JSON_TYPE,
      200,
      100,
    ],
    ['a batch with a value of escapes', 'POST', '/v1/batch', set(`"value":${escapes}`), JSON_TYPE, 200, 100],
    [
      'a batch with a value of too many escapes',
      'POST',
      '/v1/batch',
      set(`"value":"${'\\u0001'.repeat(10 * MIB)}"`),
      JSON_TYPE,
      413,
      100,
    ],
    [
      'a batch that reads control characters',
      'POST',
      '/v1/batch',
      batch(...reads),
      JSON_TYPE,
      200,
      4 * 21 * MIB,
    ],
    ['a page of control characters', 'GET', '/v1/keys?values=true&prefix=controls', '', {}, 200, 21 * MIB],
    ['an export of control characters', 'GET', '/v1/export?prefix=controls', '', {}, 200, 21 * MIB],
    [
      'a batch that reads a large value in every operation',
      'POST',
      '/v1/batch',
      batch(...Array.from({ length: 10_000 }, () => ({ op: 'append', key: 'controls', value: '' }))),
      JSON_TYPE,
      413,
      100,
    ],
    [
      'a batch that changes the expiry of a large value in every operation',
      'POST',
      '/v1/batch',
      batch(
        ...Array.from({ length: 10_000 }, (_, index) => ({ op: 'expire', key: 'numbers', ttl: 60 + index })),
      ),
      JSON_TYPE,
      200,
      100,
    ],
    [
      'an import of empty objects',
      'POST',
      '/v1/import',
      `{"key":"k","encoding":"json","value":[${'{},'.repeat(5 * MIB)}0]}`,
      {},
      200,
      10,
    ],
    ['an import of escapes', 'POST', '/v1/import', `{"key":"k","value":${escapes}}`, {}, 200, 10],
    ['an import of members', 'POST', '/v1/import', `{${'"a":1,'.repeat(5 * MIB)}"b":1}`, {}, 400, 100],
  ] as const) {
    await t.test(what, async () => {
      let answer: Counted | undefined;
      const stall = await longestStall(node, async () => {
        answer = await counted(node, method, path, body, headers);
      });
      assert.equal(answer?.status, status, answer?.ends);
      assert.ok((answer?.bytes ?? 0) >= least, `${answer?.bytes} bytes`);
      assert.ok(stall < MOST_STALL_MS, `${Math.round(stall)} ms`);
    });
  }
});

test('many clients that ask for large values at once do not delay other requests', async (t) => {
  const { node, http } = await oneNode(t);
  for (let index = 0; index < 4; index += 1)
    await http.send('PUT', `/v1/keys/large${index}`, Buffer.alloc(16 * MIB, 'x'));
  const { etag } = (await http.send('HEAD', '/v1/keys/large0')).headers;
  const gets = JSON.stringify({ ops: [0, 1, 2, 3].map((index) => ({ op: 'get', key: `large${index}` })) });
  for (const [what, clients, method, path, body, headers, status, bytes] of [
    ['HEAD', 60, 'HEAD', '/v1/keys/large0', '', {}, 200, 0],
    ['GET of a version that is known', 60, 'GET', '/v1/keys/large0', '', { 'if-none-match': etag }, 304, 0],
    ['GET of another version', 60, 'GET', '/v1/keys/large0', '', { 'if-match': '"1"' }, 412, null],
    ['GET of what is not known', 12, 'GET', '/v1/keys/large0', '', { 'if-none-match': '"1"' }, 200, 16 * MIB],
    ['another expiry', 200, 'PUT', '/v1/keys/large0/expiry', '{"ttl":600}', JSON_TYPE, 200, null],
    ['no expiry', 200, 'DELETE', '/v1/keys/large0/expiry', '', {}, 200, null],
    ['a batch of gets', 12, 'POST', '/v1/batch', gets, JSON_TYPE, 200, null],
  ] as const) {
    await t.test(`${clients} times ${what}`, async () => {
      let answers: Counted[] = [];
      const stall = await longestStall(node, async () => {
        const asked = Array.from({ length: clients }, () =>
          counted(node, method, path, body, headers as Headers),
        );
        answers = await Promise.all(asked);
      });
      for (const answer of answers) {
        // Others have not taken their answers in time: that is said, too.
        if (answer.status === 429 && status === 200) continue;
        assert.equal(answer.status, status, answer.ends);
        if (bytes !== null) assert.equal(answer.bytes, bytes);
      }
      assert.ok(stall < MOST_STALL_MS, `${Math.round(stall)} ms`);
    });
  }
});

test('answers with large values, which are sent in pieces, have the same JSON as small ones', async (t) => {
  const { http } = await oneNode(t);
  const values: Readonly<Record<string, Buffer>> = {
    astral: Buffer.from('\u{1f600}é"\\\n\u0001'.repeat(20_000)),
    bytes: Buffer.from(Array.from({ length: 200_000 }, (_, index) => index % 251)),
    halves: Buffer.from(`x${'é'.repeat(100_000)}`),
    small: Buffer.from('s'),
  };
  for (const [key, value] of Object.entries(values)) await http.send('PUT', `/v1/keys/${key}`, value);
  interface Listed {
    readonly key: string;
    readonly value: string;
    readonly encoding: 'utf8' | 'base64';
    readonly version: number;
    readonly expiresAt: null;
  }
  const check = (entry: Listed, key: string): void => {
    assert.equal(entry.encoding, key === 'bytes' ? 'base64' : 'utf8');
    assert.ok(Buffer.from(entry.value, entry.encoding).equals(values[key] as Buffer), key);
    assert.equal(typeof entry.version, 'number');
    assert.equal(entry.expiresAt, null);
  };
  const keys = Object.keys(values).sort();
  const page = json(await http.send('GET', '/v1/keys?values=true')) as {
    keys: Listed[];
    next: null;
    position: string;
  };
  assert.deepEqual(
    page.keys.map(({ key }) => key),
    keys,
  );
  for (const entry of page.keys) check(entry, entry.key);
  assert.equal(page.next, null);
  assert.match(page.position, /^[0-9a-f]{40}:\d+$/);
  const lines = (await http.send('GET', '/v1/export')).body.toString().split('\n').slice(0, -1);
  assert.deepEqual(
    lines.map((line) => (JSON.parse(line) as Listed).key),
    keys,
  );
  for (const line of lines) check(JSON.parse(line) as Listed, (JSON.parse(line) as Listed).key);
  for (const write of [[], [{ op: 'set', key: 'other', value: 'v' }]]) {
    const ops = [...keys.map((key) => ({ op: 'get', key })), { op: 'get', key: 'none' }, ...write];
    const answer = json(await http.sendJson('POST', '/v1/batch?acks=0', { ops })) as {
      results: Listed[];
      acks: number;
    };
    assert.equal(answer.acks, 0);
    for (const [index, key] of keys.entries()) check(answer.results[index] as Listed, key);
    assert.deepEqual(answer.results[keys.length], { found: false });
  }
});

test('numbers that a double cannot hold stay as they are written, on every way into the node', async (t) => {
  const { node, http } = await oneNode(t);
  const number = '99999999.99999999999';
  await http.send('PUT', '/v1/keys/stored', `{ "n" : ${number}, "old": 1 }`);
  assert.equal(
    (await http.send('PATCH', '/v1/keys/stored', `{"m":-${number},"old":null}`, PATCH_TYPE)).status,
    200,
  );
  assert.equal(await textOf(node, 'stored'), `{"n" : ${number},"m":-${number}}`);
  const value = `[${number},-0,1e400,1.50,9007199254740993]`;
  await http.send('POST', '/v1/import', `{"key":"imported","encoding":"json","value": ${value}}`);
  assert.equal(await textOf(node, 'imported'), value);
  await http.send(
    'POST',
    '/v1/batch',
    `{"ops":[{"op":"set","key":"batched","value":${value},"encoding":"json"}]}`,
    JSON_TYPE,
  );
  assert.equal(await textOf(node, 'batched'), value);
  const read = await http.send('GET', '/v1/keys/stored', undefined, { accept: 'application/json' });
  assert.equal(read.headers['content-type'], 'application/json');
  for (const by of ['1e400', '1.5', '9007199254740993', '-0.5']) {
    isProblem(
      await http.send('POST', '/v1/keys/c/increment', `{"by":${by}}`, JSON_TYPE),
      400,
      'BAD_REQUEST',
      /"by"/,
    );
  }
});

test('a refused import names the wrong line, and keeps the entries of the lines before it', async (t) => {
  const { http } = await oneNode(t);
  const nested = (levels: number): string => `${'['.repeat(levels)}${']'.repeat(levels)}`;
  const json128 = `{"key":"deep","encoding":"json","value":${nested(127)}}`;
  assert.equal((await http.send('POST', '/v1/import', json128)).status, 200);
  for (const [line, detail] of [
    [`{"key":"k","encoding":"json","value":${nested(128)}}`, /128 levels/],
    [`{"key":"k","encoding":"json","value":${nested(3_000)}}`, /128 levels/],
    [`{"key":"k","encoding":"json","value":${nested(5_000)}}`, /128 levels/],
    [`{"key":"k","value":"v","more":${nested(5_000)}}`, /128 levels/],
    ['['.repeat(1_000_000), /128 levels/],
    ['{"key":"k","key":"k","value":"v"}', /stands twice/],
    ['{"key":"k","value":"v"}}', /the end was expected/],
    [`{"key":"k","value":"${'x'.repeat(16 * MIB + 1)}"}`, /16777216 bytes/],
    ['x'.repeat(32 * MIB + 1), /33554432 bytes/],
    [`{"key":"k","value":"v","expiresAt":1e400}`, /"expiresAt"/],
  ] as const) {
    const before = `{"key":"before","value":"${line.length}"}\n\n`;
    const answer = await http.send('POST', '/v1/import', `${before}${line}\n{"key":"after","value":"v"}\n`);
    isProblem(answer, 400, 'BAD_LINE', detail);
    assert.deepEqual({ line: json(answer).line, imported: json(answer).imported }, { line: 3, imported: 1 });
    assert.equal((await http.send('GET', '/v1/keys/before')).body.toString(), String(line.length));
    assert.equal((await http.send('GET', '/v1/keys/after')).status, 404);
  }
});

test('imports and bodies may have a byte order mark and white space', async (t) => {
  const { node, http } = await oneNode(t);
  const lines = '\ufeff{"key":"a","value":"1"}\r\n \t\r\n\n{"key":"b","value":"2"}\n   ';
  assert.equal(json(await http.send('POST', '/v1/import', lines)).imported, 2);
  assert.equal(json(await http.send('POST', '/v1/import', '\ufeff\n \n')).imported, 0);
  const bad = await http.send('POST', '/v1/import', '\ufeff\n \r\n\t\nno JSON');
  assert.equal(json(bad).line, 4);
  const increment = await http.send('POST', '/v1/keys/c/increment', '\ufeff {"by": 2}\n', JSON_TYPE);
  assert.equal(json(increment).value, 2);
  const batch = await http.send('POST', '/v1/batch', '\ufeff{"ops":[{"op":"get","key":"a"}]}', JSON_TYPE);
  assert.equal(batch.status, 200);
  await http.send('PUT', '/v1/keys/j', '\ufeff{"a":1}');
  assert.equal((await http.send('PATCH', '/v1/keys/j', '\ufeff{"b":2}', PATCH_TYPE)).status, 200);
  assert.equal(await textOf(node, 'j'), '{"a":1,"b":2}');
  isProblem(await http.send('POST', '/v1/keys/c/increment', ' \n', JSON_TYPE), 400, 'BAD_REQUEST', /it ends/);
});

test('numbers in queries are decimal digits, with a fraction only where one means something', async (t) => {
  const { node, http } = await oneNode(t);
  await http.send('PUT', '/v1/keys/k', 'v');
  const odd = [
    '0x10',
    '0b1',
    '0o7',
    '1e2',
    '1E2',
    '%201',
    '1%20',
    '%2B5',
    '+5',
    '-1',
    '.5',
    '5.',
    '1_000',
    '%D9%A3',
    'Infinity',
    'NaN',
    '',
    '1&NAME=2',
    '9'.repeat(400),
  ];
  for (const [method, path, name, isFraction] of [
    ['PUT', '/v1/keys/k', 'ttl', true],
    ['PUT', '/v1/keys/k', 'acks', false],
    ['PUT', '/v1/keys/k', 'timeout', false],
    ['GET', '/v1/keys/k', 'timeout', false],
    ['GET', '/v1/keys', 'limit', false],
    ['GET', '/v1/replication/backlog', 'seconds', true],
    ['GET', '/v1/changes', 'limit', false],
    ['GET', '/v1/changes', 'wait', true],
  ] as const) {
    for (const text of [...odd, ...(isFraction ? [] : ['1.5', '1.0'])]) {
      const query = `${name}=${text.replace('NAME', name)}`;
      const answer = await http.send(method, `${path}?${query}`, method === 'PUT' ? 'v' : undefined);
      isProblem(answer, 400, 'BAD_REQUEST', new RegExp(`"${name}"`));
    }
  }
  assert.equal(await textOf(node, 'k'), 'v');
  assert.equal((await http.send('PUT', '/v1/keys/k?ttl=0100.250&timeout=007', 'v')).status, 200);
});

test('an error about a body or a query says in plain English what is missing', async (t) => {
  const { http } = await oneNode(t);
  for (const [method, path, body, detail] of [
    ['POST', '/v1/batch', '{}', /^the body lacks the member "ops"$/],
    ['POST', '/v1/batch', '{"ops":7}', /^"ops" has to be an array$/],
    ['POST', '/v1/batch', '{"ops":[{"op":"jump","key":"k"}]}', /^"ops.0.op" has to be one of set, delete,/],
    ['POST', '/v1/keys/c/increment', '{"by":true}', /^"by" has to be a whole number or a string$/],
    ['POST', '/v1/keys/c/increment', '[]', /^the body has to be an object$/],
    ['PUT', '/v1/keys/k/expiry', '{"ttl":-1}', /^"ttl" has to be more than 0$/],
    ['PUT', '/v1/keys/k/expiry', '{}', /^the body has to have at least 1 members?$/],
    ['GET', '/v1/keys?limit=0', undefined, /^"limit" has to be at least 1$/],
    ['GET', '/v1/keys?limit=1001', undefined, /^"limit" may be at most 1000$/],
    ['GET', '/v1/keys?values=1', undefined, /^"values" has to be true or false$/],
    [
      'GET',
      '/v1/keys?position=abc',
      undefined,
      /^"position" has to be RUNID:OFFSET, as "position" in an answer/,
    ],
    ['POST', '/v1/keys/c/increment', '{"by":"1e3"}', /^"by" has to be a whole number of at most 19 digits$/],
    [
      'POST',
      '/v1/keys/c/increment',
      '{"by":1',
      /^the body is not JSON: a comma or a bracket was expected, and it ends/,
    ],
  ] as const) {
    const answer = await http.send(method, path, body, body === undefined ? {} : JSON_TYPE);
    isProblem(answer, 400, 'BAD_REQUEST', detail);
  }
});

test('a batch of reads is answered by a replica, and by a master with too few replicas for writes', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', master.url.replace('http', 'ws'));
  await linkState(replica, 'streaming');
  const [atMaster, atReplica] = [new Connection(t, master), new Connection(t, replica)];
  const set = await atMaster.send('PUT', '/v1/keys/k', 'v');
  const gets = {
    ops: [
      { op: 'get', key: 'k' },
      { op: 'get', key: 'none' },
    ],
  };
  const position = String(json(set).position);
  const read = await atReplica.sendJson('POST', `/v1/batch?position=${position}`, gets);
  assert.equal(read.status, 200);
  assert.equal((json(read).results as { value?: string }[])[0]?.value, 'v');
  assert.equal(json(read).position, position);
  const header = await atReplica.sendJson('POST', '/v1/batch', gets, { 'psync-position': position });
  assert.equal(header.status, 200);
  const later = `${position.slice(0, 41)}${Number(position.slice(41)) + 1_000}`;
  isProblem(
    await atReplica.sendJson('POST', `/v1/batch?position=${later}&timeout=1`, gets),
    503,
    'NOT_REACHED',
  );
  assert.equal((await atReplica.sendJson('POST', '/v1/batch', { ops: [] })).status, 200);
  const acks = await atReplica.sendJson('POST', '/v1/batch?acks=0', gets);
  assert.deepEqual([acks.status, json(acks).acks], [200, 0]);
  for (const op of [
    { op: 'persist', key: 'none' },
    { op: 'delete', key: 'none' },
  ]) {
    const written = await atReplica.sendJson('POST', '/v1/batch', { ops: [...gets.ops, op] });
    isProblem(written, 307, 'READONLY');
  }
  isProblem(
    await atReplica.sendJson('POST', '/v1/batch', { ops: [{ op: 'get', key: '' }] }),
    400,
    'BAD_REQUEST',
  );

  await samePosition(master, replica);
  await atMaster.sendJson('PATCH', '/v1/config', { minReplicasToWrite: 5 });
  assert.equal((await atMaster.sendJson('POST', '/v1/batch', gets)).status, 200);
  assert.equal((await atMaster.sendJson('POST', '/v1/batch', { ops: [] })).status, 200);
  const persist = { ops: [{ op: 'persist', key: 'k' }] };
  isProblem(await atMaster.sendJson('POST', '/v1/batch', persist), 503, 'NOREPLICAS');
});
