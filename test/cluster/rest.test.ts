/** The REST API in full: what each call does, refuses, and leaves alone when it refuses. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import test, { type TestContext } from 'node:test';
import { WebSocket } from 'ws';
import { parse } from 'yaml';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { array } from '../../src/stream/encoder.ts';
import { Cluster, converged, linkState, samePosition, textOf } from '../support/cluster.ts';
import { type Answer, Connection, document, type Headers, isProblem, json } from '../support/contract.ts';

const PATCH_TYPE = { 'content-type': 'application/merge-patch+json' };
const INT64_MAX = '9223372036854775807';
const INT64_MIN = '-9223372036854775808';

async function offset(node: ChildNode): Promise<number> {
  return (await node.client.replication()).offset;
}

/** Runs `body`, and checks that it wrote nothing. */
async function writesNothing(node: ChildNode, body: () => Promise<void>): Promise<void> {
  const before = await offset(node);
  await body();
  assert.equal(await offset(node), before, 'something was written');
}

/** Lets time pass until `at`, in milliseconds since 1970. */
function reached(at: number): Promise<boolean> {
  return until('the time has come', () => Date.now() > at);
}

function delBytes(...keys: readonly string[]): number {
  return Buffer.byteLength(array(['DEL', ...keys]));
}

interface Exported {
  readonly key: string;
  readonly value: string;
  readonly encoding: string;
  readonly version: number;
  readonly expiresAt: number | null;
}

async function exported(node: ChildNode, query = ''): Promise<{ position: string; entries: Exported[] }> {
  const response = await fetch(`${node.url}/v1/export${query}`);
  const lines = (await response.text()).split('\n').slice(0, -1);
  return {
    position: String(response.headers.get('psync-position')),
    entries: lines.map((line) => JSON.parse(line) as Exported),
  };
}

interface OneNode {
  readonly node: ChildNode;
  readonly http: Connection;
}

async function oneNode(t: TestContext, ...flags: string[]): Promise<OneNode> {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node', ...flags);
  return { node, http: new Connection(t, node) };
}

test('an entry with an expiry is readable until then, and no longer', async (t) => {
  // Nothing is moved into SQLite by itself, where the expiry cycle would find it: this test decides when.
  const { node, http } = await oneNode(t, '--apply-interval', '1h');

  await t.test('a ttl in seconds with fractions becomes a time, which every read shows', async () => {
    const before = Date.now();
    const set = await http.send('PUT', '/v1/keys/ttl?ttl=100.25', 'v');
    const expiresAt = Number(json(set).expiresAt);
    assert.ok(expiresAt >= before + 100_250 && expiresAt <= Date.now() + 100_251);
    const read = await http.send('GET', '/v1/keys/ttl');
    assert.equal(read.headers['psync-expires-at'], String(expiresAt));
    assert.equal(set.headers['psync-expires-at'], String(expiresAt));
    const page = json(await http.send('GET', '/v1/keys?prefix=ttl')).keys as { expiresAt: number }[];
    assert.equal(page[0]?.expiresAt, expiresAt);
    assert.deepEqual(
      (await exported(node, '?prefix=ttl')).entries.map((entry) => entry.expiresAt),
      [expiresAt],
    );

    const replaced = await http.send('PUT', '/v1/keys/ttl', 'v');
    assert.equal(json(replaced).expiresAt, null, 'a set without ttl does not keep the old one');
    assert.equal((await http.send('GET', '/v1/keys/ttl')).headers['psync-expires-at'], undefined);
  });

  await t.test('expire and persist change the expiry and not the version', async () => {
    const { version } = json(await http.send('PUT', '/v1/keys/e', '1'));
    const at = Date.now() + 1_000_000;
    const expire = await http.sendJson('PUT', '/v1/keys/e/expiry', { expiresAt: at });
    assert.deepEqual(
      { status: expire.status, expiresAt: json(expire).expiresAt, version: json(expire).version },
      { status: 200, expiresAt: at, version },
    );
    assert.equal(expire.headers['psync-expires-at'], String(at));
    await writesNothing(node, async () => {
      await http.sendJson('PUT', '/v1/keys/e/expiry', { expiresAt: at });
    });
    for (const [method, path, body] of [
      ['POST', '/v1/keys/e/append', '2'],
      ['POST', '/v1/keys/e/increment', '{}'],
      ['PATCH', '/v1/keys/e', '7'],
    ] as const) {
      const type = {
        'content-type': method === 'PATCH' ? 'application/merge-patch+json' : 'application/json',
      };
      const changed = await http.send(method, path, body, type);
      assert.equal(changed.headers['psync-expires-at'], String(at), `${method} ${path} keeps the expiry`);
    }
    const persisted = await http.send('DELETE', '/v1/keys/e/expiry');
    assert.equal(json(persisted).expiresAt, null);
    assert.equal(persisted.headers['psync-expires-at'], undefined);
    assert.equal((await http.send('GET', '/v1/keys/e')).headers['psync-expires-at'], undefined);
    await writesNothing(node, async () => {
      assert.equal((await http.send('DELETE', '/v1/keys/e/expiry')).status, 200);
      isProblem(await http.send('DELETE', '/v1/keys/none/expiry'), 404, 'NOT_FOUND');
      isProblem(await http.sendJson('PUT', '/v1/keys/none/expiry', { ttl: 1 }), 404, 'NOT_FOUND');
    });
  });

  await t.test('a time that is not in the future is refused', async () => {
    await http.send('PUT', '/v1/keys/k', 'v');
    await writesNothing(node, async () => {
      for (const ttl of ['0', '-1', '-0', 'NaN', 'Infinity', '1e300', '', 'x', '1s', '1&ttl=2']) {
        isProblem(await http.send('PUT', `/v1/keys/k?ttl=${ttl}`, 'v'), 400, 'BAD_REQUEST', /ttl/);
      }
      for (const body of [
        { ttl: 0 },
        { ttl: -1 },
        { ttl: '60' },
        { ttl: null },
        { ttl: 1e300 },
        { expiresAt: Date.now() - 1 },
        { expiresAt: 0 },
        { expiresAt: -1 },
        { expiresAt: 4e12 + 0.5 },
        { expiresAt: 1e300 },
        { expiresAt: '1' },
        { expiresAt: null },
        { ttl: 60, expiresAt: Date.now() + 60_000 },
        { seconds: 60 },
        {},
        [],
        null,
        60,
      ]) {
        isProblem(await http.sendJson('PUT', '/v1/keys/k/expiry', body), 400, 'BAD_REQUEST');
      }
    });
  });

  // From here on there is something that may be deleted at any time.
  await t.test(
    'a write to an expired key creates a new entry, also before the expired one is deleted',
    async () => {
      const writes: readonly (readonly [string, string, string, Headers, number])[] = [
        ['PUT', '', 'new', {}, 201],
        ['PUT', '', 'new', { 'if-none-match': '*' }, 201],
        ['POST', '/append', 'new', {}, 200],
        ['POST', '/increment', '{"by":5}', { 'content-type': 'application/json' }, 200],
        ['PATCH', '', '{}', PATCH_TYPE, 404],
        ['DELETE', '', '', {}, 404],
        ['PUT', '/expiry', '{"ttl":60}', { 'content-type': 'application/json' }, 404],
        ['DELETE', '/expiry', '', {}, 404],
        ['PUT', '', 'new', { 'if-match': '*' }, 412],
      ];
      let last = 0;
      for (const index of writes.keys()) {
        last = Number(json(await http.send('PUT', `/v1/keys/old${index}?ttl=0.05`, '37')).expiresAt);
      }
      await reached(last);
      for (const [index, [method, operation, body, headers, status]] of writes.entries()) {
        const path = `/v1/keys/old${index}`;
        const answer = await http.send(
          method,
          `${path}${operation}`,
          body === '' ? undefined : body,
          headers,
        );
        assert.equal(answer.status, status, `${method} ${operation}`);
        if (status === 412) assert.equal(json(answer).currentVersion, null);
        const read = await http.send('GET', path);
        if (status >= 400) {
          assert.equal(read.status, 404);
          continue;
        }
        assert.equal(read.body.toString(), body.startsWith('{') ? '5' : 'new');
        assert.equal(read.headers['psync-expires-at'], undefined);
      }
    },
  );

  await t.test('no read returns an expired entry', async () => {
    const set = await http.send('PUT', '/v1/keys/gone?ttl=0.01', 'v');
    await reached(Number(json(set).expiresAt));
    const page = json(await http.send('GET', '/v1/keys?prefix=gone&values=true'));
    assert.deepEqual(page.keys, []);
    assert.deepEqual((await exported(node, '?prefix=gone')).entries, []);
    const { results } = json(await http.sendJson('POST', '/v1/batch', { ops: [{ op: 'get', key: 'gone' }] }));
    assert.deepEqual(results, [{ found: false }]);
    isProblem(
      await http.send('HEAD', '/v1/keys/gone').then(withBodyOf(http, '/v1/keys/gone')),
      404,
      'NOT_FOUND',
    );
  });
});

/** The same answer with the body that a GET has: HEAD has none to look into. */
function withBodyOf(http: Connection, path: string): (head: Answer) => Promise<Answer> {
  return async (head) => ({ ...head, body: (await http.send('GET', path)).body });
}

test('what expires is deleted once, with one DEL, however many look', async (t) => {
  const { node } = await oneNode(t, '--apply-interval', '10ms');
  for (let round = 0; round < 3; round += 1) {
    const key = `k${round}`;
    const set = await fetch(`${node.url}/v1/keys/${key}?ttl=0.05`, { method: 'PUT', body: 'v' });
    const { position } = (await set.json()) as { position: string };
    const end = Number(position.split(':')[1]);
    await until('it is deleted', async () => {
      const reads = await Promise.all(Array.from({ length: 20 }, () => node.client.get(key)));
      return reads.every((value) => value === null) && (await offset(node)) > end;
    });
    // The next round's SET is the barrier: had the cycle and the readers both deleted it, it would start later.
    assert.equal(await offset(node), end + delBytes(key));
    assert.equal((await node.client.digest()).keys, 0);
  }
});

test('a replica hides what has expired, and waits for the DEL', async (t) => {
  const cluster = await Cluster.create(t);
  const {
    master,
    link: proxy,
    replica,
  } = await cluster.linked(['--apply-interval', '10ms'], ['--apply-interval', '10ms']);
  const http = new Connection(t, replica);
  await linkState(replica, 'streaming');
  await master.client.set('stays', 'v');
  let expiresAt = 0;
  for (let ttl = 1; ; ttl *= 2) {
    const set = await fetch(`${master.url}/v1/keys/k?ttl=${ttl}`, { method: 'PUT', body: 'v' });
    ({ expiresAt } = (await set.json()) as { expiresAt: number });
    await samePosition(master, replica);
    const read = await http.send('GET', '/v1/keys/k');
    proxy.cut();
    if (Date.now() < expiresAt) {
      assert.equal(read.headers['psync-expires-at'], String(expiresAt));
      break;
    }
    // The machine is so busy that it has expired before the link was cut.
    proxy.restore();
    await linkState(replica, 'streaming');
  }
  await reached(expiresAt);
  const hidden = await offset(replica);
  isProblem(await http.send('GET', '/v1/keys/k'), 404, 'NOT_FOUND');
  assert.deepEqual(
    (json(await http.send('GET', '/v1/keys')).keys as { key: string }[]).map(({ key }) => key),
    ['stays'],
  );
  assert.deepEqual(
    (await exported(replica)).entries.map(({ key }) => key),
    ['stays'],
  );
  await until('the master has deleted it', async () => (await offset(master)) > hidden);
  assert.equal(await offset(replica), hidden, 'the replica has changed its stream');

  proxy.restore();
  await linkState(replica, 'streaming');
  await converged(master, replica);
  assert.equal(await offset(replica), hidden + delBytes('k'));
});

test('conditional requests read and write only if their condition is met', async (t) => {
  const { node, http } = await oneNode(t);
  const versionOf = async (key: string): Promise<number> =>
    Number(json(await http.send('PUT', `/v1/keys/${key}`, 'v')).version);

  await t.test('a reader that has the version gets 304 without a body', async () => {
    const version = await versionOf('r');
    for (const tag of [`"${version}"`, `W/"${version}"`, `"1", "${version}"`, `"x",W/"${version}"`, '*']) {
      for (const method of ['GET', 'HEAD']) {
        const answer = await http.send(method, '/v1/keys/r', undefined, { 'if-none-match': tag });
        assert.equal(answer.status, 304, tag);
        assert.equal(answer.headers.etag, `"${version}"`);
        assert.equal(answer.body.length, 0);
      }
    }
    for (const tag of ['"1"', '"x"', `"${version}0"`, '""', '"a", "b"', '"a,b"']) {
      const answer = await http.send('GET', '/v1/keys/r', undefined, { 'if-none-match': tag });
      assert.equal(answer.status, 200, tag);
    }
    isProblem(await http.send('GET', '/v1/keys/none', undefined, { 'if-none-match': '*' }), 404, 'NOT_FOUND');
    const failed = await http.send('GET', '/v1/keys/r', undefined, { 'if-match': '"1"' });
    isProblem(failed, 412, 'PRECONDITION_FAILED');
    assert.equal(json(failed).currentVersion, version);
    assert.equal(
      (await http.send('GET', '/v1/keys/r', undefined, { 'if-match': `"${version}"` })).status,
      200,
    );
  });

  await t.test('a write whose condition is not met changes nothing', async () => {
    const writes: readonly (readonly [string, string, string, Headers])[] = [
      ['PUT', '', 'new', {}],
      ['POST', '/append', '1', {}],
      ['POST', '/increment', '{}', { 'content-type': 'application/json' }],
      ['PATCH', '', '7', PATCH_TYPE],
      ['PUT', '/expiry', '{"ttl":60}', { 'content-type': 'application/json' }],
      ['DELETE', '/expiry', '', {}],
      ['DELETE', '', '', {}],
    ];
    for (const [method, operation, body, type] of writes) {
      const send = (headers: Headers): Promise<Answer> =>
        http.send(method, `/v1/keys/w${operation}`, body === '' ? undefined : body, { ...type, ...headers });
      const { version } = json(await http.send('PUT', '/v1/keys/w', '1')) as { version: number };
      const refused: readonly Headers[] = [
        { 'if-match': '"1"' },
        { 'if-match': `"1", "${version}0"` },
        { 'if-match': `W/"${version}"` },
        { 'if-match': `"0${version}"` },
        { 'if-match': '"other"' },
        { 'if-none-match': '*' },
        { 'if-none-match': `"${version}"` },
        { 'if-none-match': `"1", W/"${version}"` },
        { 'if-match': `"${version}"`, 'if-none-match': '*' },
        { 'if-match': '"1"', 'if-none-match': '"1"' },
      ];
      await writesNothing(node, async () => {
        for (const headers of refused) {
          const answer = await send(headers);
          const detail = `"w" has version ${version}, and the condition asks for .+: read it again, and decide anew`;
          isProblem(answer, 412, 'PRECONDITION_FAILED', new RegExp(detail));
          assert.equal(json(answer).currentVersion, version, JSON.stringify(headers));
        }
        const malformed: readonly Headers[] = [
          { 'if-match': String(version) },
          { 'if-match': `'${version}'` },
          { 'if-match': `"${version}` },
          { 'if-match': `"${version}" "1"` },
          { 'if-match': `*, "${version}"` },
          { 'if-match': '' },
          { 'if-none-match': `w/"${version}"` },
        ];
        for (const headers of malformed) isProblem(await send(headers), 400, 'BAD_REQUEST', /If-/);
      });
      for (const headers of [
        { 'if-match': '*' },
        { 'if-match': `"x", "${version}"` },
        { 'if-none-match': '"1"' },
      ]) {
        const { version: now } = json(await http.send('PUT', '/v1/keys/w', '1')) as { version: number };
        const met = await send({
          ...headers,
          ...('if-match' in headers && headers['if-match'] !== '*' ? { 'if-match': `"x", "${now}"` } : {}),
        });
        assert.equal(met.status, 200, `${method} ${operation} ${JSON.stringify(headers)}`);
      }
    }
  });

  await t.test('If-Match on a missing key is 412 with null as the current entry', async () => {
    await writesNothing(node, async () => {
      for (const [match, wanted] of [
        ['*', 'an entry'],
        ['"1"', 'version 1'],
        ['"1", "2"', 'other versions'],
      ] as const) {
        const answer = await http.send('PUT', '/v1/keys/absent', 'v', { 'if-match': match });
        const detail = new RegExp(`is not there, and the condition asks for ${wanted}: `);
        isProblem(answer, 412, 'PRECONDITION_FAILED', detail);
        assert.equal(json(answer).currentVersion, null);
      }
    });
    assert.equal((await http.send('PUT', '/v1/keys/absent', 'v', { 'if-none-match': '*' })).status, 201);
  });
});

test('a merge patch changes only the members that it names', async (t) => {
  const { node, http } = await oneNode(t);
  const patch = (key: string, body: string, headers: Headers = PATCH_TYPE): Promise<Answer> =>
    http.send('PATCH', `/v1/keys/${key}`, body, headers);
  await http.send('PUT', '/v1/keys/j', '{"a":{"b":1,"c":2},"d":[1]}');
  const answer = await patch('j', '{"a":{"b":null,"e":"é"},"d":{"f":null}}', {
    'content-type': 'Application/Merge-Patch+JSON; charset=utf-8',
  });
  assert.equal(answer.status, 200);
  assert.deepEqual({ created: json(answer).created, key: json(answer).key }, { created: false, key: 'j' });
  assert.equal(await textOf(node, 'j'), '{"a":{"c":2,"e":"é"},"d":{}}');

  await t.test('a member named __proto__ is patched like any other', async () => {
    await http.send('PUT', '/v1/keys/p', '{}');
    await patch('p', '{"__proto__":{"polluted":true},"constructor":{"prototype":1}}');
    assert.equal(await textOf(node, 'p'), '{"__proto__":{"polluted":true},"constructor":{"prototype":1}}');
    await patch('p', '{"__proto__":{"more":1},"constructor":null}');
    assert.equal(await textOf(node, 'p'), '{"__proto__":{"polluted":true,"more":1}}');
    assert.equal((await http.send('GET', '/v1/config')).body.includes('polluted'), false);
  });

  await t.test('numbers of other members keep all their digits', async () => {
    await http.send('PUT', '/v1/keys/n', `{"id":${INT64_MAX},"name":"x"}`);
    await patch('n', '{"name":"y"}');
    assert.equal(await textOf(node, 'n'), `{"id":${INT64_MAX},"name":"y"}`);
  });

  await t.test('a value that cannot be patched stays as it is', async () => {
    const deep = (levels: number): string => `${'{"a":'.repeat(levels)}1${'}'.repeat(levels)}`;
    await http.send('PUT', '/v1/keys/text', 'no JSON');
    await http.send('PUT', '/v1/keys/bytes', Buffer.from([0x22, 0xff, 0x22]));
    await http.send('PUT', '/v1/keys/empty', Buffer.alloc(0));
    await http.send('PUT', '/v1/keys/deep', deep(200));
    await http.send('PUT', '/v1/keys/ok', deep(128));
    await writesNothing(node, async () => {
      isProblem(await patch('none', '{}'), 404, 'NOT_FOUND');
      for (const key of ['text', 'bytes', 'empty', 'deep'])
        isProblem(await patch(key, '{}'), 409, 'NOT_JSON');
      for (const body of ['', '{', 'undefined', "{'a':1}", deep(129), '['.repeat(100_000)]) {
        isProblem(await patch('j', body), 400, 'BAD_REQUEST');
      }
      isProblem(
        await http.send('PATCH', '/v1/keys/j', Buffer.from([0x22, 0xff, 0x22]), PATCH_TYPE),
        400,
        'BAD_REQUEST',
      );
      for (const type of ['application/json', 'application/json-patch+json', 'text/plain']) {
        isProblem(await patch('j', '{}', { 'content-type': type }), 415, 'UNSUPPORTED_MEDIA_TYPE');
      }
      isProblem(await patch('j', '{}', {}), 415, 'UNSUPPORTED_MEDIA_TYPE');
    });
    assert.equal((await patch('ok', deep(128).replace('1', '2'))).status, 200);
    assert.equal(await textOf(node, 'ok'), deep(128).replace('1', '2'));
  });
});

test('an increment adds to a 64-bit integer', async (t) => {
  const { node, http } = await oneNode(t);
  const increment = (key: string, body: unknown = {}): Promise<Answer> =>
    http.sendJson('POST', `/v1/keys/${key}/increment`, body);

  await t.test('an increment counts from 0, up and down, over all of 64 bits', async () => {
    const first = await increment('n');
    assert.deepEqual({ status: first.status, value: json(first).value }, { status: 200, value: 1 });
    assert.equal(json(await increment('n', { by: -3 })).value, -2);
    assert.equal(json(await increment('n', { by: '-9' })).value, -11);
    assert.equal(json(await increment('n', { by: 0 })).value, -11);
    assert.equal(await textOf(node, 'n'), '-11');
    // Beyond 2^53 the digits count, not what a double makes of them.
    for (const limit of [INT64_MAX, INT64_MIN]) {
      await http.send('PUT', '/v1/keys/limit', '0');
      const answer = await increment('limit', { by: limit });
      assert.match(answer.body.toString(), new RegExp(`"value":${limit},`));
      assert.equal(await textOf(node, 'limit'), limit);
      await writesNothing(node, async () => {
        isProblem(await increment('limit', { by: limit.startsWith('-') ? -1 : 1 }), 409, 'INTEGER_OVERFLOW');
        isProblem(await increment('limit', { by: limit }), 409, 'INTEGER_OVERFLOW');
      });
    }
  });

  await t.test('an increment without a body adds one', async () => {
    assert.equal(json(await http.send('POST', '/v1/keys/bare/increment')).value, 1);
  });

  await t.test('an increment of a value that is no integer in the form of INCRBY is refused', async () => {
    const values = [
      '',
      '01',
      ' 1',
      '1 ',
      '+1',
      '-0',
      '--1',
      '1.0',
      '1e3',
      '0x1',
      'x',
      '1\n',
      '1\u0000',
      '9223372036854775808',
      '-9223372036854775809',
      '1'.repeat(30),
    ];
    for (const value of values) {
      await http.send('PUT', '/v1/keys/bad', value);
      await writesNothing(node, async () => {
        isProblem(await increment('bad'), 409, 'NOT_INTEGER');
      });
    }
    await writesNothing(node, async () => {
      for (const by of [
        1.5,
        '1.0',
        '',
        ' 1',
        '+1',
        'x',
        '1'.repeat(20),
        '9223372036854775808',
        2 ** 53,
        null,
        true,
        [1],
      ]) {
        isProblem(await increment('n', { by }), 400, 'BAD_REQUEST', /by/);
      }
      isProblem(await increment('n', { buy: 1 }), 400, 'BAD_REQUEST', /"buy"/);
      isProblem(await increment('n', [1]), 400, 'BAD_REQUEST');
      isProblem(await increment('n', { by: 'x'.repeat(100_000) }), 413, 'BODY_TOO_LARGE');
      isProblem(
        await http.send('POST', '/v1/keys/n/increment', '{"by":1}', { 'content-type': 'text/plain' }),
        415,
        'UNSUPPORTED_MEDIA_TYPE',
      );
    });
  });
});

test('two hundred clients count to ten thousand', async (t) => {
  const { node } = await oneNode(t);
  const seen: number[] = [];
  const versions: number[] = [];
  await Promise.all(
    Array.from({ length: 200 }, async () => {
      const http = new Connection(t, node);
      for (let count = 0; count < 50; count += 1) {
        const { value, version } = json(await http.sendJson('POST', '/v1/keys/counter/increment', { by: 1 }));
        seen.push(Number(value));
        versions.push(Number(version));
      }
    }),
  );
  assert.equal(await textOf(node, 'counter'), '10000');
  assert.deepEqual(
    seen.toSorted((a, b) => a - b),
    Array.from({ length: 10_000 }, (_, index) => index + 1),
  );
  assert.equal(new Set(versions).size, 10_000);
});

test('an append adds bytes to the end of a value', async (t) => {
  const { node, http } = await oneNode(t);
  const first = await http.send('POST', '/v1/keys/a/append', Buffer.from([0, 255]));
  assert.deepEqual({ status: first.status, size: json(first).size }, { status: 200, size: 2 });
  assert.equal(
    json(await http.send('POST', '/v1/keys/a/append', [Buffer.from('x'), Buffer.from('y')])).size,
    4,
  );
  assert.deepEqual((await http.send('GET', '/v1/keys/a')).body, Buffer.from([0, 255, 0x78, 0x79]));
  assert.equal(json(await http.send('POST', '/v1/keys/nothing/append')).size, 0);
  await http.send('PUT', '/v1/keys/full', Buffer.alloc(16 * 1024 * 1024));
  await writesNothing(node, async () => {
    isProblem(await http.send('POST', '/v1/keys/full/append', 'x'), 413, 'VALUE_TOO_LARGE');
  });
});

test('a query that is no percent-encoded UTF-8 is 400, and not another query', async (t) => {
  const { http } = await oneNode(t);
  for (const query of ['prefix=%ff', 'prefix=%zz', 'prefix=a&after=%', 'limit=%E2%82']) {
    for (const path of ['/v1/keys', '/v1/export', '/v1/changes']) {
      const answer = await http.send('GET', `${path}?${query}`);
      isProblem(answer, 400, 'BAD_REQUEST', /in the query is not percent-encoded UTF-8$/);
    }
  }
  for (const query of ['prefix=%C3%BC', 'prefix=%2525', 'prefix=+']) {
    assert.equal((await http.send('GET', `/v1/keys?${query}`)).status, 200);
  }
});

test('deleting many: by prefix, all, neither, both', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  const http = new Connection(t, master);
  const lines = Array.from({ length: 2_500 }, (_, index) =>
    JSON.stringify({ key: `p:${index}`, value: 'v' }),
  );
  await http.send('POST', '/v1/import', lines.join('\n'));
  for (const key of ['p', 'q', 'p;', 'ü:1'])
    await http.send('PUT', `/v1/keys/${encodeURIComponent(key)}`, 'v');
  await writesNothing(master, async () => {
    for (const query of [
      '',
      '?',
      '?all=false',
      '?prefix=',
      '?prefix=p&all=true',
      '?all=yes',
      '?al=true',
      '?prefix=p&x=1',
    ]) {
      isProblem(await http.send('DELETE', `/v1/keys${query}`), 400, 'BAD_REQUEST');
    }
    assert.equal(json(await http.send('DELETE', '/v1/keys?prefix=none')).deleted, 0);
  });
  assert.equal(json(await http.send('DELETE', '/v1/keys?prefix=p%3A')).deleted, 2_500);
  assert.equal(json(await http.send('DELETE', '/v1/keys?prefix=%C3%BC')).deleted, 1);
  const left = json(await http.send('GET', '/v1/keys')).keys as { key: string }[];
  assert.deepEqual(
    left.map(({ key }) => key),
    ['p', 'p;', 'q'],
  );
  assert.equal((await converged(master, replica)).keys, 3);
  const flushed = await http.send('DELETE', '/v1/keys?all=true');
  assert.equal(json(flushed).deleted, null);
  assert.equal(flushed.headers['psync-position'], json(flushed).position);
  assert.equal((await converged(master, replica)).keys, 0);
});

test('a batch is one write', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', node.wsUrl);
  await linkState(replica, 'streaming');
  const http = new Connection(t, node);
  const batch = (...ops: readonly unknown[]): Promise<Answer> => http.sendJson('POST', '/v1/batch', { ops });

  await t.test(
    'the operations of a batch are done in order, each on the result of those before it',
    async () => {
      const at = Date.now() + 1_000_000;
      const answer = await batch(
        { op: 'get', key: 'k' },
        { op: 'set', key: 'k', value: '41' },
        { op: 'increment', key: 'k' },
        { op: 'increment', key: 'k', by: '-2' },
        { op: 'append', key: 'k', value: 'AP8=', encoding: 'base64' },
        { op: 'get', key: 'k' },
        { op: 'expire', key: 'k', expiresAt: at },
        { op: 'get', key: 'k' },
        { op: 'persist', key: 'k' },
        { op: 'set', key: 'j', value: { a: [1] }, encoding: 'json', expiresAt: at, ifAbsent: true },
        { op: 'delete', key: 'k' },
        { op: 'delete', key: 'k' },
        { op: 'expire', key: 'k', ttl: 5 },
        { op: 'persist', key: 'k' },
        { op: 'set', key: 'k', value: 'ü', encoding: 'utf8', expiresAt: null },
      );
      assert.equal(answer.status, 200);
      const results = json(answer).results as Record<string, unknown>[];
      const version = (index: number): unknown => results[index]?.version;
      assert.deepEqual(results, [
        { found: false },
        { created: true, version: version(1), expiresAt: null },
        { value: 42, version: version(2) },
        { value: 40, version: version(3) },
        { size: 4, version: version(4) },
        { found: true, value: 'NDAA/w==', encoding: 'base64', expiresAt: null, version: version(4) },
        { found: true, expiresAt: at, version: version(4) },
        { found: true, value: 'NDAA/w==', encoding: 'base64', expiresAt: at, version: version(4) },
        { found: true, expiresAt: null, version: version(4) },
        { created: true, version: version(9), expiresAt: at },
        { deleted: true },
        { deleted: false },
        { found: false },
        { found: false },
        { created: true, version: version(14), expiresAt: null },
      ]);
      const versions = [1, 2, 3, 4, 9, 14].map(version) as number[];
      assert.deepEqual(
        versions,
        [...new Set(versions)].sort((a, b) => a - b),
      );
      assert.equal(answer.headers['psync-position'], json(answer).position);
      assert.equal((await http.send('GET', '/v1/keys/k')).headers.etag, `"${version(14)}"`);
      assert.equal(await textOf(node, 'j'), '{"a":[1]}');
      await converged(node, replica);
      assert.equal(
        (await new Connection(t, replica).send('GET', '/v1/keys/k')).headers.etag,
        `"${version(14)}"`,
      );
    },
  );

  await t.test('a batch without effects does not move the position', async () => {
    await writesNothing(node, async () => {
      assert.deepEqual(json(await batch()).results, []);
      const [got] = json(await batch({ op: 'get', key: 'j' })).results as { value: string }[];
      assert.equal(got?.value, '{"a":[1]}');
      await batch({ op: 'delete', key: 'none' }, { op: 'persist', key: 'none' });
    });
  });

  await t.test('a batch has at most 10,000 operations', async () => {
    const ops = Array.from({ length: 10_000 }, () => ({ op: 'increment', key: 'many' }));
    const answer = await batch(...ops);
    assert.equal((json(answer).results as { value: number }[]).at(-1)?.value, 10_000);
    await writesNothing(node, async () => {
      isProblem(await batch(...ops, ops[0]), 400, 'BAD_REQUEST', /10000/);
    });
  });

  await t.test('a malformed batch is refused and changes nothing', async () => {
    const good = { op: 'set', key: 'half', value: 'v' };
    await writesNothing(node, async () => {
      for (const bad of [
        { op: 'rename', key: 'k' },
        { op: 'set' },
        { key: 'k' },
        { op: 'set', key: 7, value: 'v' },
        { op: 'set', key: 'k', value: 'v', colour: 'red' },
        { op: 'set', key: 'k', value: 'v', encoding: 'latin1' },
        { op: 'set', key: 'k', value: 'v', ifVersion: '1' },
        { op: 'increment', key: 'k', by: 1.5 },
        'set',
        null,
      ]) {
        isProblem(await batch(good, bad), 400, 'BAD_REQUEST');
      }
      const named: readonly (readonly [Record<string, unknown>, RegExp])[] = [
        [{ op: 'set', key: 'k' }, /"value" is not a string/],
        [{ op: 'set', key: 'k', value: 7 }, /"value" is not a string/],
        [{ op: 'set', key: 'k', value: 'A', encoding: 'base64' }, /not base64/],
        [{ op: 'append', key: 'k', value: 'AP8', encoding: 'base64' }, /not base64/],
        [{ op: 'set', key: 'k', encoding: 'json' }, /missing/],
        [{ op: 'set', key: 'k', value: '\ud800' }, /surrogate/],
        [{ op: 'set', key: '', value: 'v' }, /key is empty/],
        [{ op: 'get', key: '\udc00' }, /Unicode/],
        [{ op: 'set', key: 'k', value: 'v', ttl: 0 }, /ttl/],
        [{ op: 'set', key: 'k', value: 'v', ttl: 1, expiresAt: Date.now() + 9_999 }, /not both/],
        [{ op: 'set', key: 'k', value: 'v', expiresAt: 1 }, /future/],
        [{ op: 'set', key: 'k', value: 'v', ifAbsent: true, ifVersion: 1 }, /contradict/],
        [{ op: 'expire', key: 'k' }, /required/],
        [{ op: 'delete', key: 'k', value: 'v' }, /"value" has no meaning/],
        [{ op: 'append', key: 'k', value: 'v', ttl: 1 }, /"ttl" has no meaning/],
        [{ op: 'increment', key: 'k', by: '9223372036854775808' }, /by/],
        [{ op: 'get', key: 'k', ifVersion: 1 }, /"ifVersion" has no meaning/],
      ];
      for (const [bad, detail] of named) {
        const answer = await batch(good, good, bad, good);
        isProblem(answer, 400, 'BAD_REQUEST', detail);
        assert.equal(json(answer).op, 2, JSON.stringify(bad));
      }
      isProblem(await batch({ op: 'get', key: 'x'.repeat(1_025) }), 400, 'KEY_TOO_LONG');
      for (const body of ['', '{', '[]', 'null', '{}', '{"ops":{}}', '{"ops":[],"more":1}', '{"ops":null}']) {
        isProblem(
          await http.send('POST', '/v1/batch', body, { 'content-type': 'application/json' }),
          400,
          'BAD_REQUEST',
        );
      }
      isProblem(
        await http.send('POST', '/v1/batch', '{"ops":[]}', { 'content-type': 'text/json' }),
        415,
        'UNSUPPORTED_MEDIA_TYPE',
      );
    });
  });

  await t.test(
    'a batch with an operation that fails changes nothing, on the master or a replica',
    async () => {
      await batch(
        { op: 'set', key: 'a', value: '1' },
        { op: 'set', key: 'text', value: 'x' },
        { op: 'set', key: 'max', value: INT64_MAX },
      );
      await samePosition(node, replica);
      const before = await converged(node, replica);
      const { version } = json(await http.send('HEAD', '/v1/keys/a').then(withVersion));
      const failing: readonly (readonly [Record<string, unknown>, number, string])[] = [
        [{ op: 'set', key: 'a', value: 'v', ifAbsent: true }, 412, 'PRECONDITION_FAILED'],
        [{ op: 'set', key: 'a', value: 'v', ifVersion: 1 }, 412, 'PRECONDITION_FAILED'],
        [{ op: 'delete', key: 'absent', ifVersion: 1 }, 412, 'PRECONDITION_FAILED'],
        // What it had before the batch it has no more after the batch's own set.
        [{ op: 'append', key: 'a', value: 'v', ifVersion: version }, 412, 'PRECONDITION_FAILED'],
        [{ op: 'increment', key: 'text' }, 409, 'NOT_INTEGER'],
        [{ op: 'increment', key: 'max' }, 409, 'INTEGER_OVERFLOW'],
      ];
      for (const [bad, status, code] of failing) {
        const answer = await batch(
          { op: 'set', key: 'a', value: '2' },
          { op: 'delete', key: 'text2' },
          { op: 'set', key: 'new', value: 'v' },
          bad,
          { op: 'set', key: 'later', value: 'v' },
        );
        isProblem(answer, status, code, /^operation 3: /);
        assert.equal(json(answer).op, 3);
        if (status === 412) assert.ok('currentVersion' in json(answer));
      }
      assert.deepEqual(await converged(node, replica), before);
    },
  );

  await t.test('no reader sees half a batch, also on a replica', async () => {
    const keys = Array.from({ length: 8 }, (_, index) => `atom:${index}`);
    let writing = true;
    const writer = (async () => {
      for (let round = 0; round < 100; round += 1) {
        await batch(...keys.map((key) => ({ op: 'set', key, value: String(round) })));
      }
      writing = false;
    })();
    const values = new Set<string>();
    const watch = async (from: ChildNode): Promise<void> => {
      const reader = new Connection(t, from);
      while (writing) {
        const page = json(await reader.send('GET', '/v1/keys?prefix=atom:&values=true'));
        const found = (page.keys as { value: string }[]).map(({ value }) => value);
        assert.ok(found.length === 0 || found.length === keys.length);
        assert.ok(new Set(found).size <= 1, `half a batch: ${found}`);
        for (const value of found) values.add(value);
      }
    };
    await Promise.all([writer, watch(node), watch(replica)]);
    assert.ok(values.size > 1);
    await converged(node, replica);
  });
});

test('a batch that reads more than one answer can hold is refused, and nothing of it is done', async (t) => {
  const { node, http } = await oneNode(t);
  await http.send('PUT', '/v1/keys/big', Buffer.alloc(16 * 1024 * 1024, 'x'));
  // 640 MiB: more than the longest string.
  const gets = Array.from({ length: 40 }, () => ({ op: 'get', key: 'big' }));
  await writesNothing(node, async () => {
    const answer = await http.sendJson('POST', '/v1/batch', {
      ops: [{ op: 'set', key: 'k', value: 'v' }, ...gets],
    });
    assert.equal(answer.status, 413, String(answer.body));
  });
});

/** A HEAD answer as if it had told its version in the body. */
function withVersion(head: Answer): Answer {
  return { ...head, body: Buffer.from(`{"version":${head.headers.etag?.slice(1, -1)}}`) };
}

test('an export is of one position while writes go on, and an import of it is the same keyspace', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const http = new Connection(t, master);
  // Both keys of a pair are set in one batch, so one position never shows them apart.
  const pairs = Array.from({ length: 200 }, (_, index) => index);
  const writeAll = (value: string): Promise<Answer> =>
    http.sendJson('POST', '/v1/batch', {
      ops: pairs.flatMap((pair) => [
        { op: 'set', key: `left:${pair}`, value },
        { op: 'set', key: `right:${pair}`, value },
      ]),
    });
  await writeAll('0');
  let exporting = true;
  const writer = (async () => {
    for (let round = 1; exporting; round += 1) await writeAll(String(round));
  })();
  for (let count = 0; count < 10; count += 1) {
    const { entries, position } = await exported(master);
    assert.equal(entries.length, 400);
    assert.equal(new Set(entries.map(({ value }) => value)).size, 1, 'two positions in one export');
    const newest = Math.max(...entries.map(({ version }) => version));
    assert.ok(newest <= Number(position.split(':')[1]));
    assert.deepEqual(
      entries.map(({ key }) => key),
      entries.map(({ key }) => key).toSorted(),
    );
  }
  exporting = false;
  await writer;

  await http.send('PUT', '/v1/keys/bytes', Buffer.from([0, 255, 10, 13]));
  await http.send('PUT', '/v1/keys/empty', Buffer.alloc(0));
  await http.send('PUT', '/v1/keys/later?ttl=1000', '"quoted\\"\n');
  await http.send('PUT', `/v1/keys/${encodeURIComponent('ü/😀\u0000')}`, 'v');
  const all = await (await fetch(`${master.url}/v1/export`)).text();
  assert.equal((await exported(master, '?prefix=left%3A1')).entries.length, 111);
  const copy = await cluster.start('copy');
  const imported = await fetch(`${copy.url}/v1/import`, { method: 'POST', body: all });
  assert.equal(((await imported.json()) as { imported: number }).imported, 404);
  const [there, here] = [await copy.client.digest(), await master.client.digest()];
  assert.deepEqual([there.digest, there.keys], [here.digest, here.keys]);
  isProblem(await http.send('GET', '/v1/export?prefx=a'), 400, 'BAD_REQUEST', /"prefx"/);
});

test('exports that are given up make room for others', async (t) => {
  const { node } = await oneNode(t);
  const http = new Connection(t, node);
  for (let count = 0; count < 12; count += 1) {
    // What is in the overlay has to be moved into SQLite first: the client is gone before the answer begins.
    await http.send('PUT', `/v1/keys/k${count}`, Buffer.alloc(1024 * 1024));
    const socket = connect(node.port, '127.0.0.1');
    await once(socket, 'connect');
    socket.write('GET /v1/export HTTP/1.1\r\nHost: localhost\r\n\r\n', () => socket.destroy());
    await once(socket, 'close');
    assert.equal((await http.send('HEAD', '/v1/export')).status, 200);
  }
  // They end soon after their clients have gone.
  await until(
    'an export is possible',
    async () => (await http.send('GET', '/v1/export?prefix=none')).status === 200,
  );
});

test('/v1/info has the fields of INFO, on a master and on a replica', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await master.client.set('k', 'v');
  await samePosition(master, replica);
  await until('the master knows', async () => {
    const [first] = (await master.client.replication()).replicas;
    return first?.state === 'online' && first.lagBytes === 0;
  });
  const info = async (node: ChildNode): Promise<Record<string, string>> => {
    const answer = await new Connection(t, node).send('GET', '/v1/info');
    assert.equal(answer.headers['content-type'], 'text/plain; charset=utf-8');
    const text = answer.body.toString();
    for (const name of ['Server', 'Memory', 'Persistence', 'Stats', 'Replication'])
      assert.match(text, new RegExp(`^# ${name}\r$`, 'm'));
    const lines = text.split('\r\n').filter((line) => line !== '' && !line.startsWith('#'));
    return Object.fromEntries(lines.map((line) => /^(\w+):(.*)$/s.exec(line)?.slice(1) as [string, string]));
  };
  const { runId, offset: end } = await master.client.replication();
  const of = await info(master);
  assert.deepEqual(
    [
      of.role,
      of.connected_slaves,
      of.master_replid,
      of.master_repl_offset,
      of.sync_full,
      of.second_repl_offset,
    ],
    ['master', '1', runId, String(end), '1', '-1'],
  );
  assert.match(
    of.slave0 ?? '',
    new RegExp(
      `^ip=127.0.0.1,port=${replica.port},state=online,offset=${end},lag=\\d+,lag_bytes=0,lag_seconds=0,durable_offset=\\d+$`,
    ),
  );
  assert.equal(of.repl_backlog_size, '1048576');
  assert.equal(of.process_id, String(master.process.pid));
  const its = await info(replica);
  assert.deepEqual(
    [
      its.role,
      its.master_host,
      its.master_port,
      its.master_link_status,
      its.slave_repl_offset,
      its.connected_slaves,
    ],
    ['slave', '127.0.0.1', String(master.port), 'up', String(end), '0'],
  );
});

test('/v1/info answers whatever a replica says of itself', async (t) => {
  const { node, http } = await oneNode(t);
  for (const url of ['garbage', 'ws://', '\r\nrole:slave']) {
    const socket = new WebSocket(`${node.wsUrl}/v1/replication/stream`, 'psync.v1');
    t.after(() => socket.terminate());
    await once(socket, 'open');
    for (const words of [['PING'], ['REPLCONF', 'listening-url', url], ['PSYNC', '?', '-1']]) {
      socket.send(Buffer.from(array(words)));
    }
    await until('it is listed', async () =>
      (await node.client.replication()).replicas.some(
        (replica) => replica.url === url || replica.url === undefined,
      ),
    );
    const answer = await http.send('GET', '/v1/info');
    assert.equal(answer.status, 200);
    assert.match(answer.body.toString(), /^role:master\r$/m);
    assert.doesNotMatch(answer.body.toString(), /^role:slave/m);
    socket.terminate();
    await until('it is gone', async () => (await node.client.replication()).replicas.length === 0);
  }
});

test('a write is redirected to a master whatever its name is written like', async (t) => {
  const { http } = await oneNode(t);
  // Either it is refused, or it can be redirected to.
  for (const url of ['ws://\ua9ae:1', 'ws://h\u00fc:1', 'WS://localhost:1', 'ws://h h:1', 'ws://[::1]:1']) {
    const answer = await http.sendJson('PUT', '/v1/replication/upstream', { url });
    if (answer.status === 400) continue;
    const redirect = await http.send('PUT', '/v1/keys/k', 'v');
    isProblem(redirect, 307, 'READONLY');
    assert.match(String(redirect.headers.location), /^http:\/\/[\x21-\x7e]+:1\/v1\/keys\/k$/, url);
  }
});

test('/v1/config shows the settings, and changes some of them', async (t) => {
  const { node, http } = await oneNode(t, '--backlog-size', '2mb');
  const patch = (body: unknown): Promise<Answer> => http.sendJson('PATCH', '/v1/config', body);
  const before = json(await http.send('GET', '/v1/config'));
  assert.deepEqual([before.backlogSize, before.fsync, before.replTimeout], [2_097_152, 'everysec', 60_000]);
  const changed = await patch({ replTimeout: '90s', maxReplicas: 3, overlaySize: '8mb', applyInterval: 500 });
  const expected = {
    ...before,
    replTimeout: 90_000,
    maxReplicas: 3,
    overlaySize: 8_388_608,
    applyInterval: 500,
  };
  assert.deepEqual(json(changed), expected);
  for (const body of [
    { replTimeout: 'soon' },
    { replTimeout: -1 },
    { replTimeout: 1.5 },
    { replTimeout: null },
    { replTimeout: '1ms' },
    { maxReplicas: '100001' },
    { maxReplicas: '3 replicas' },
    { overlaySize: '1kb' },
    { overlaySize: '' },
    // Either all or nothing.
    { maxReplicas: 7, replTimeout: 'soon' },
    { backlogSize: 1 },
    { fsync: 'no' },
    { port: 1 },
    { colour: 'red' },
    {},
    [],
    'x',
  ]) {
    isProblem(await patch(body), 400, 'BAD_REQUEST');
  }
  isProblem(
    await http.send('PATCH', '/v1/config', '{"__proto__":{"port":1}}', {
      'content-type': 'application/json',
    }),
    400,
    'BAD_REQUEST',
  );
  isProblem(
    await http.send('PATCH', '/v1/config', 'x=1', { 'content-type': 'text/plain' }),
    415,
    'UNSUPPORTED_MEDIA_TYPE',
  );
  assert.deepEqual(json(await http.send('GET', '/v1/config')), expected);
  // It is not only shown: no replica has room any more.
  await patch({ maxReplicas: 0 });
  assert.equal((await node.client.replication()).replicas.length, 0);
});

test('a change of the settings takes effect: no room for replicas, then room', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const http = new Connection(t, master);
  await http.sendJson('PATCH', '/v1/config', { maxReplicas: 0 });
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await until('it is turned away', async () =>
    /0 replicas/.test((await replica.client.replication()).upstream?.detail ?? ''),
  );
  isProblem(await new Connection(t, replica).send('GET', '/readyz'), 503, 'LOADING');
  await http.sendJson('PATCH', '/v1/config', { maxReplicas: 1 });
  await linkState(replica, 'streaming');
});

test('/readyz: a master is ready, a replica while it is connected', async (t) => {
  const cluster = await Cluster.create(t);
  const { master, link: proxy, replica } = await cluster.linked();
  const [ofMaster, ofReplica] = [new Connection(t, master), new Connection(t, replica)];
  assert.deepEqual(json(await ofMaster.send('GET', '/readyz')), { status: 'ready' });
  await linkState(replica, 'streaming');
  assert.equal((await ofReplica.send('GET', '/readyz')).status, 200);
  proxy.cut();
  await until('it is not ready', async () => (await ofReplica.send('GET', '/readyz')).status === 503);
  isProblem(await ofReplica.send('GET', '/readyz'), 503, 'LOADING', /the link to/);
  assert.equal((await ofReplica.send('GET', '/healthz')).status, 200);
  assert.equal((await ofMaster.send('GET', '/readyz')).status, 200);
  proxy.restore();
  await until('it is ready', async () => (await ofReplica.send('GET', '/readyz')).status === 200);
});

test('the node serves its OpenAPI document as JSON, as YAML and as pages', async (t) => {
  const { http, node } = await oneNode(t);
  const file = parse(readFileSync(new URL('../../openapi.yaml', import.meta.url), 'utf8'));
  // Only the URL is the node's own.
  const expected = { ...file, servers: [{ ...file.servers[0], url: node.url }] };
  assert.deepEqual(json(await http.send('GET', '/openapi.json')), expected);
  assert.deepEqual(parse((await http.send('GET', '/openapi.yaml')).body.toString()), expected);
  const docs = await http.send('GET', '/docs/');
  assert.equal(docs.status, 200);
  assert.match(String(docs.headers['content-type']), /^text\/html/);
  assert.match(docs.body.toString(), /swagger/i);
  const short = await http.send('GET', '/docs');
  assert.ok(short.status === 200 || short.headers.location !== undefined);
  const style = await http.send('GET', '/docs/static/swagger-ui.css');
  assert.equal(style.status, 200);
  assert.match(String(style.headers['content-type']), /^text\/css/);
  const { etag } = style.headers;
  const known = await http.send('GET', '/docs/static/swagger-ui.css', undefined, {
    'if-none-match': String(etag),
  });
  assert.equal(known.status, 304);
  assert.equal(known.headers['content-type'], undefined);
  isProblem(await http.send('GET', '/docs/nothing'), 404, 'UNKNOWN_PATH', /there is no \/docs\/nothing here/);
  isProblem(await http.send('DELETE', '/docs/'), 405, 'METHOD_NOT_ALLOWED');
  assert.equal((await http.send('OPTIONS', '/docs/')).status, 204);
});

/** Every path of the document, with a key where one is wanted. */
const PATHS = Object.keys(document.paths).map((path) => path.replace('{key}', 'k'));

test('each path answers the methods that it has, and names them', async (t) => {
  const { http } = await oneNode(t);
  await http.send('PUT', '/v1/keys/k', '{"a":1}');

  await t.test(
    'OPTIONS is 204 with the methods of the path, and any other method 405 with the same',
    async () => {
      for (const path of PATHS) {
        const options = await http.send('OPTIONS', path);
        assert.equal(options.status, 204, path);
        const allowed = String(options.headers.allow).split(', ');
        const documented = Object.keys(document.paths[path.replace('/keys/k', '/keys/{key}')] ?? {});
        for (const method of documented) {
          assert.ok(allowed.includes(method.toUpperCase()), `OPTIONS ${path} does not tell of ${method}`);
        }
        for (const method of ['GET', 'PUT', 'POST', 'PATCH', 'DELETE', 'TRACE', 'PROPFIND']) {
          if (documented.includes(method.toLowerCase())) continue;
          // A key may end with `/append`: GET /v1/keys/k/append reads the key `k/append`.
          const answer = await http.send(method, path);
          assert.equal(
            answer.status === 405,
            !allowed.includes(method),
            `${method} ${path}: ${answer.status}`,
          );
          if (answer.status === 405)
            assert.equal(answer.headers.allow, options.headers.allow, `${method} ${path}`);
        }
      }
      isProblem(await http.send('OPTIONS', '/v1/nothing'), 404, 'UNKNOWN_PATH');
    },
  );

  await t.test('HEAD is answered like GET, without the body', async () => {
    const CLOCKED = new Set(['/v1/info', '/v1/replication', '/v1/replication/backlog', '/metrics']);
    for (const path of [
      // The feed is a stream without an end, and has no HEAD.
      ...PATHS.filter((path) => path !== '/v1/changes'),
      '/v1/keys/none',
      '/v1/keys?limit=0',
      '/v1/keys?values=true',
      '/openapi.json',
      '/docs/',
    ]) {
      const get = await http.send('GET', path);
      if (get.status === 405) continue;
      const head = await http.send('HEAD', path);
      assert.deepEqual(
        [head.status, head.headers['content-type'], head.headers.etag, head.body.length],
        [get.status, get.headers['content-type'], get.headers.etag, 0],
        path,
      );
      // What tells of clocks, memory or requests may change its length from call to call.
      if (get.headers['content-length'] !== undefined && !CLOCKED.has(path)) {
        assert.equal(head.headers['content-length'], get.headers['content-length'], path);
      }
    }
  });
});

test('an answer has the media type that the client wants, or is 406', async (t) => {
  const { http } = await oneNode(t);
  const [bytes, asJson] = ['application/octet-stream', 'application/json'];
  await http.send('PUT', '/v1/keys/json', ' {"a":1} ');
  await http.send('PUT', '/v1/keys/text', 'no JSON');
  await http.send('PUT', '/v1/keys/bytes', Buffer.from([0xff]));
  await http.send('PUT', '/v1/keys/none', '');
  const plain = 'text/plain; charset=utf-8';
  const cases: readonly (readonly [string, string, string | null])[] = [
    ['json', '*/*', bytes],
    ['json', 'application/*', bytes],
    ['json', asJson, asJson],
    ['json', `${asJson};q=0.5, ${bytes};q=0.4`, asJson],
    ['json', `${asJson};q=0.4, */*;q=0.5`, bytes],
    ['json', `${bytes};q=0, */*`, asJson],
    ['json', 'text/html, application/json;q=0.1', asJson],
    ['json', 'text/html', null],
    ['json', '*/*;q=0', null],
    ['text', '*/*', bytes],
    ['text', bytes, bytes],
    ['text', asJson, null],
    ['text', 'image/png', null],
    ['text', 'text/plain', plain],
    ['text', 'text/*', plain],
    ['text', 'text/plain, */*', plain],
    ['text', 'text/html, */*;q=0.8', bytes],
    ['json', 'text/plain', plain],
    ['none', 'text/plain', plain],
    ['bytes', 'text/plain', null],
    ['bytes', 'text/plain, */*', bytes],
    ['bytes', `${asJson}, text/plain`, null],
    // What axios and others send by default is no wish for text.
    ['json', `${asJson}, text/plain, */*`, asJson],
    ['text', `${asJson}, text/plain, */*`, bytes],
    ['bytes', `${asJson}, text/plain, */*`, bytes],
    ['text', `${asJson}, text/plain`, plain],
  ];
  for (const [key, accept, type] of cases) {
    for (const method of ['GET', 'HEAD']) {
      const answer = await http.send(method, `/v1/keys/${key}`, undefined, { accept });
      assert.equal(answer.status, type === null ? 406 : 200, `${key} ${accept}`);
      assert.equal(answer.headers['content-type'], type ?? 'application/problem+json', `${key} ${accept}`);
      if (type !== null) assert.match(String(answer.headers.vary), /accept/i);
    }
  }
  assert.equal(
    (await http.send('GET', '/v1/keys/json', undefined, { accept: asJson })).body.toString(),
    ' {"a":1} ',
  );
  // A client would rather have any of the two than nothing.
  assert.equal(
    (await http.send('GET', '/v1/keys/text', undefined, { accept: `${asJson}, ${bytes}` })).status,
    200,
  );
});

test('query parameters that are unknown are named', async (t) => {
  const { http } = await oneNode(t);
  const bodies: Readonly<Record<string, string>> = { setExpiry: '{"ttl":60}', batch: '{"ops":[]}' };
  const needed: Readonly<Record<string, string>> = { getDiff: `from=${'0'.repeat(40)}:0&` };
  for (const [path, item] of Object.entries(document.paths)) {
    for (const [method, { operationId, parameters = [], requestBody }] of Object.entries(item)) {
      if (!parameters.some((parameter) => parameter.in === 'query')) continue;
      const [type] = Object.keys(requestBody?.content ?? {});
      const url = path.replace('{key}', 'k');
      for (const query of ['colour=red', 'TTL=1', 'Prefix=a', '__proto__=1', '=']) {
        const answer = await http.send(
          method.toUpperCase(),
          `${url}?${needed[operationId] ?? ''}${query}`,
          type === undefined ? undefined : (bodies[operationId] ?? '{}'),
          type === undefined ? {} : { 'content-type': type },
        );
        if (method === 'head') {
          assert.equal(answer.status, 400);
          continue;
        }
        isProblem(answer, 400, 'BAD_REQUEST', /query parameter/);
        assert.ok(String(json(answer).detail).includes(JSON.stringify(query.split('=')[0])), query);
      }
    }
  }

  // What is infinite as a number is past every maximum.
  for (const path of [
    '/v1/keys?limit=1e999',
    '/v1/replication/backlog?seconds=1e999',
    '/v1/keys/k?timeout=1e999',
  ]) {
    const answer = await http.send('GET', path);
    assert.deepEqual([answer.status, json(answer).code], [400, 'BAD_REQUEST'], path);
  }
  // A number that is kept as text, because no double holds it, is not taken for an object.
  for (const path of ['/v1/replication/failover', '/v1/batch', '/v1/keys/k/increment']) {
    const answer = await http.send('POST', path, '1e999', { 'content-type': 'application/json' });
    isProblem(answer, 400, 'BAD_REQUEST', /the body has to be an object/);
  }
});

test('bodies that come slowly, or never completely, hold nobody up', async (t) => {
  const { node, http } = await oneNode(t);
  const socket = connect(node.port, '127.0.0.1');
  await once(socket, 'connect');
  socket.write('PUT /v1/keys/slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n01234');
  const aborted = connect(node.port, '127.0.0.1');
  await once(aborted, 'connect');
  aborted.write('PUT /v1/keys/aborted HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n01234');
  const chunked = connect(node.port, '127.0.0.1');
  await once(chunked, 'connect');
  chunked.write(
    'POST /v1/keys/aborted/append HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n',
  );
  for (let count = 0; count < 50; count += 1) {
    assert.equal((await http.send('PUT', '/v1/keys/other', 'v')).status, count === 0 ? 201 : 200);
  }
  aborted.destroy();
  chunked.destroy();
  isProblem(await http.send('GET', '/v1/keys/slow'), 404, 'NOT_FOUND');
  socket.end('56789');
  let text = '';
  for await (const chunk of socket) text += chunk;
  assert.match(text, /^HTTP\/1\.1 201 /);
  assert.equal(await textOf(node, 'slow'), '0123456789');
  isProblem(await http.send('GET', '/v1/keys/aborted'), 404, 'NOT_FOUND');
});

test('a flood of headers is 431', async (t) => {
  const { node, http } = await oneNode(t);
  for (const flood of [
    `X: ${'x'.repeat(20_000)}`,
    Array.from({ length: 3_000 }, (_, i) => `X${i}: x`).join('\r\n'),
  ]) {
    const socket = connect(node.port, '127.0.0.1');
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    socket.write(`GET /v1/keys HTTP/1.1\r\nHost: localhost\r\n${flood}\r\n\r\n`);
    let text = '';
    for await (const chunk of socket) text += chunk;
    assert.match(text, /^HTTP\/1\.1 431 /);
    assert.match(text, /\r\nContent-Type: application\/problem\+json\r\n/i);
    assert.match(text, /HEADERS_TOO_LARGE/);
  }
  assert.equal((await http.send('GET', '/healthz')).status, 200);
});

test('every answer says where the node stands, also to what is no request', async (t) => {
  const { node, http } = await oneNode(t);
  assert.ok((await http.send('GET', '/v1/keys/%ff')).headers['psync-position'] !== undefined);
  const socket = connect(node.port, '127.0.0.1');
  socket.write('this is no HTTP\r\n\r\n');
  let text = '';
  for await (const chunk of socket) text += chunk;
  assert.match(text, /\r\nPsync-Position: [0-9a-f]{40}:\d+\r\n/i);
  assert.match(text, /\r\nPsync-Role: master\r\n/i);
});

test('bodies of a type that a call does not take are 415', async (t) => {
  const { node, http } = await oneNode(t);
  await http.send('PUT', '/v1/keys/k', '1');
  await writesNothing(node, async () => {
    for (const [path, item] of Object.entries(document.paths)) {
      for (const [method, { requestBody }] of Object.entries(item)) {
        const types = Object.keys(requestBody?.content ?? {});
        if (types.length === 0 || types.includes('application/octet-stream')) continue;
        const body = '{}';
        for (const type of ['application/xml', 'nonsense', 'application/json;charset', 'text/plain']) {
          if (path === '/v1/import' && type === 'text/plain') continue;
          if (types.some((each) => type.startsWith(each))) continue;
          const answer = await http.send(method.toUpperCase(), path.replace('{key}', 'k'), body, {
            'content-type': type,
          });
          isProblem(answer, 415, 'UNSUPPORTED_MEDIA_TYPE');
        }
      }
    }
  });
});

test('a value may be of any media type, and of none', async (t) => {
  const { http } = await oneNode(t);
  for (const type of ['text/html', 'application/json', 'image/png; q=1', 'nonsense', ';;', 'a/b/c', '']) {
    for (const [method, path] of [
      ['PUT', '/v1/keys/k'],
      ['POST', '/v1/keys/k/append'],
    ] as const) {
      const answer = await http.send(method, path, 'v', { 'content-type': type });
      assert.ok(answer.status < 300, `${method} ${JSON.stringify(type)}: ${answer.status}`);
    }
  }
});

test('a body where none is wanted changes nothing', async (t) => {
  const { http } = await oneNode(t);
  for (const path of ['/v1/keys/k', '/v1/keys/k/expiry', '/v1/keys?prefix=k', '/v1/replication/upstream']) {
    for (const [type, body] of [
      ['text/plain', 'some text'],
      ['application/json', '{"a":'],
    ] as const) {
      await http.send('PUT', '/v1/keys/k', 'v');
      const answer = await http.send('DELETE', path, body, { 'content-type': type });
      assert.equal(answer.status, 200, `DELETE ${path} with ${type}: ${answer.body}`);
    }
  }
});
