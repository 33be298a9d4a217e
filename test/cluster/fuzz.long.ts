/**
 * Thousands of requests made from openapi.yaml: valid, almost valid, and nonsense. Whatever comes, the answer is one
 * that the document describes, it is never the node's fault, and the node goes on. `PSYNCD_SEED=N` repeats a run.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { Cluster } from '../support/cluster.ts';
import {
  Connection,
  document,
  type Headers,
  json,
  type Operation,
  type Parameter,
  template,
  violations,
} from '../support/contract.ts';

const SEED = Number(process.env.PSYNCD_SEED ?? Date.now() % 1_000_000);
const REQUESTS = 4_000;
/** Requests for one operation, until one of them is carried out. */
const TRIES = 200;

interface Call {
  readonly method: string;
  readonly path: string;
  readonly headers: Headers;
  readonly body: string | undefined;
}

/** As much of JSON Schema as the document uses. */
interface Schema {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly enum?: readonly unknown[];
  readonly examples?: readonly unknown[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly oneOf?: readonly Schema[];
  readonly minimum?: number;
  readonly maximum?: number;
}

const junkText = fc.oneof(
  fc.constantFrom(
    '',
    '0',
    '-1',
    '1',
    'true',
    'null',
    'NaN',
    '1e999',
    '9223372036854775808',
    '"',
    '__proto__',
  ),
  fc.string({ maxLength: 12 }),
  fc.string({ unit: 'grapheme', maxLength: 12 }),
  fc.string({ minLength: 1_020, maxLength: 1_030 }),
);
const junkJson = fc.oneof(fc.jsonValue({ maxDepth: 2 }), fc.constantFrom(null, -1, 2 ** 53, 1.5, [], {}, ''));

/** Few, so that calls meet what others have written. */
const keys = fc.constantFrom('a', 'b', 'n', 'json', 'a/b', 'x/expiry', 'ü', '😀', '__proto__', ' ');
const pathKeys = fc.oneof(
  { weight: 8, arbitrary: keys.map(encodeURIComponent) },
  { weight: 1, arbitrary: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 8 }).map(encoded) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      '',
      '/',
      '%',
      '%ff',
      '%zz',
      '%00',
      '..',
      'a//b',
      'k/append',
      '%2F',
      ':key',
      '*',
      'x'.repeat(1_025),
    ),
  },
);

/** Mostly null. */
function oneIn<T>(count: number, arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | null> {
  return fc.oneof({ weight: count - 1, arbitrary: fc.constant(null) }, { weight: 1, arbitrary });
}

function encoded(text: string): string {
  return encodeURIComponent(text.toWellFormed());
}

/** A value that the schema lets through, mostly. */
function instanceOf(schema: Schema, name = ''): fc.Arbitrary<unknown> {
  if (schema.$ref !== undefined) {
    const target = document.components.schemas[schema.$ref.split('/').at(-1) ?? ''];
    return instanceOf((target ?? {}) as Schema);
  }
  if (schema.oneOf !== undefined) return fc.oneof(...schema.oneOf.map((form) => instanceOf(form)));
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
  if (name === 'url') return fc.constant('ws://127.0.0.1:1');
  if (name === 'key') return keys;
  if (name === 'expiresAt') return fc.constantFrom(4_000_000_000_000, Date.now() + 100_000);
  if (name === 'value') return fc.constantFrom('1', 'text', '{"a":1}', 'AP8=', '');
  // Nobody acknowledges anything here, and what waits should not for long.
  if (name === 'acks') return fc.constantFrom(0, 0, 0, -1, 'x');
  if (name === 'timeout' || name === 'timeoutMs' || name === 'ms') return fc.constantFrom(1, 20);
  if (name === 'minReplicasToWrite') return fc.constantFrom(0, '0', 'many');
  if (/(?:Size|Limit|Floor|Ceiling)$/.test(name)) return fc.constantFrom('2mb', 4_194_304, 'much');
  if (/(?:Interval|Timeout|Time|Lag)$/.test(name)) return fc.constantFrom('5s', 700, '1m', 0);
  const { properties } = schema;
  if (properties !== undefined) {
    const members = Object.entries(properties).map(
      ([member, each]) => [member, instanceOf(each, member)] as const,
    );
    if (schema.required !== undefined) {
      return fc.record(Object.fromEntries(members), { requiredKeys: [...schema.required] });
    }
    // Of many that are optional a few: all together would hardly ever be right.
    return fc
      .subarray(members, { maxLength: Math.min(3, members.length) })
      .chain((some) => fc.record(Object.fromEntries(some), { requiredKeys: [] }));
  }
  if (schema.items !== undefined) return fc.array(instanceOf(schema.items), { maxLength: 4 });
  const examples = schema.examples?.map((example) => fc.constant(example)) ?? [];
  const types = [schema.type ?? ['object', 'integer', 'string']].flat();
  return fc.oneof(...examples, ...types.map((type) => typed(type, schema)));
}

function typed(type: string, { minimum = -10, maximum = 1_000 }: Schema): fc.Arbitrary<unknown> {
  switch (type) {
    case 'integer':
      return fc.integer({ min: minimum, max: maximum });
    case 'number':
      return fc.constantFrom(0.001, 0.5, 60, 1e6);
    case 'boolean':
      return fc.boolean();
    case 'object':
      return fc.dictionary(fc.constantFrom('a', 'b', '__proto__'), fc.constantFrom(1, null, 'x'), {
        maxKeys: 3,
      });
    case 'null':
      return fc.constant(null);
    default:
      return fc.constantFrom('1', 'a', '2mb', '5s', '100', 'zz');
  }
}

/** What the media type asks for, as text, mostly; sometimes with a part of it exchanged, or cut. */
function bodyOf(operation: Operation): fc.Arbitrary<string | undefined> {
  const [[type, media] = []] = Object.entries(operation.requestBody?.content ?? {});
  const good =
    type === undefined || media === undefined
      ? fc.constant(undefined)
      : type === 'application/x-ndjson'
        ? fc.array(lines, { maxLength: 5 }).map((each) => each.join('\n'))
        : type === 'application/octet-stream'
          ? fc.constantFrom('', '1', '41', 'bytes', '{"a":{"b":1}}', '[]')
          : instanceOf(media.schema as Schema).map((value) => JSON.stringify(value));
  const text = good.map((body) => body ?? '{}');
  return fc.oneof(
    { weight: 6, arbitrary: good },
    {
      weight: 1,
      arbitrary: fc.tuple(text, fc.nat(), junkText).map(([body, at, junk]) => {
        const cut = at % (body.length + 1);
        return body.slice(0, cut) + junk + body.slice(cut + 1);
      }),
    },
    {
      weight: 1,
      arbitrary: fc.tuple(text, junkJson, fc.nat()).map(([body, junk, at]) => exchanged(body, junk, at)),
    },
    {
      weight: 1,
      arbitrary: fc.oneof(
        junkText,
        junkJson.map((junk) => JSON.stringify(junk)),
      ),
    },
  );
}

const lines = instanceOf({
  type: 'object',
  required: ['key', 'value'],
  properties: {
    key: { type: 'string' },
    value: {},
    encoding: { enum: ['utf8', 'base64', 'json'] },
    expiresAt: { type: 'integer' },
    version: { type: 'integer' },
  },
}).map((line) => JSON.stringify(line));

/** One of the values inside is another one. */
function exchanged(body: string, junk: unknown, at: number): string {
  try {
    let count = 0;
    return (
      JSON.stringify(JSON.parse(body), (_name, value: unknown) => {
        count += 1;
        return count === (at % 6) + 2 ? junk : value;
      }) ?? ''
    );
  } catch {
    return body;
  }
}

function parameterOf({ in: place, name, schema }: Parameter): fc.Arbitrary<readonly [string, string] | null> {
  if (place === 'header') {
    const tag = fc.constantFrom(
      '*',
      '"1"',
      '"27", W/"54"',
      '"x"',
      '',
      '"',
      '1',
      '*,*',
      'W/*',
      '"a,b"',
      '"\u00e9"',
    );
    return oneIn(4, tag).map((value) => (value === null ? null : [name, value]));
  }
  const valid = instanceOf(schema, name === 'prefix' || name === 'after' ? 'key' : name).map(String);
  // Nobody waits for a stream that goes on, nor for a long poll.
  if (name === 'wait') return fc.constantFrom('0', '0', '0', 'x', '').map((text) => [name, text]);
  const value = fc.oneof({ weight: 5, arbitrary: valid }, { weight: 1, arbitrary: junkText });
  return oneIn(2, value).map((text) => (text === null ? null : [name, text]));
}

const types = fc.constantFrom(
  'application/json',
  'application/merge-patch+json',
  'text/plain',
  'application/json; charset=latin1',
  'nonsense',
  ';',
  'a/b/c',
  'multipart/form-data; boundary=x',
);
const accepts = fc.constantFrom(
  '*/*',
  'application/json',
  'text/html',
  'a',
  '',
  'application/json;q=2',
  ',,;',
  '*/*;q=0',
);

function callOf(path: string, method: string, operation: Operation): fc.Arbitrary<Call> {
  const parameters = operation.parameters ?? [];
  const pick = (place: string): fc.Arbitrary<(readonly [string, string])[]> =>
    fc
      .tuple(...parameters.filter((each) => each.in === place).map(parameterOf))
      .map((pairs) => pairs.filter((pair) => pair !== null));
  const [type] = Object.keys(operation.requestBody?.content ?? {});
  return fc
    .record({
      key: pathKeys,
      query: pick('query'),
      unknown: oneIn(30, fc.tuple(junkText, junkText)),
      headers: pick('header'),
      accept: oneIn(8, accepts),
      type: oneIn(8, types),
      body: bodyOf(operation),
      method: fc.oneof(
        { weight: 30, arbitrary: fc.constant(method) },
        { weight: 1, arbitrary: otherMethods },
      ),
    })
    .map((drawn): Call => {
      const query = [...drawn.query, ...(drawn.unknown === null ? [] : [drawn.unknown])]
        .map(([name, value]) => `${encoded(name)}=${encoded(value)}`)
        .join('&');
      const bodyType = drawn.type ?? type;
      return {
        method: drawn.method,
        path: path.replace('{key}', () => drawn.key) + (query === '' ? '' : `?${query}`),
        headers: {
          ...Object.fromEntries(drawn.headers),
          ...(drawn.accept === null ? {} : { accept: drawn.accept }),
          ...(bodyType === undefined || (drawn.body === undefined && drawn.type === null)
            ? {}
            : { 'content-type': bodyType }),
        },
        body: drawn.body,
      };
    });
}

const otherMethods = fc.constantFrom(
  'GET',
  'HEAD',
  'OPTIONS',
  'PUT',
  'POST',
  'PATCH',
  'DELETE',
  'TRACE',
  'REPORT',
);

/** Paths that are not there. */
const elsewhere: fc.Arbitrary<Call> = fc
  .record({
    method: otherMethods,
    path: fc.constantFrom(
      '/',
      '/v1',
      '/v1/',
      '//',
      '/v1/keys//',
      '/v2/keys',
      '/V1/keys',
      '/v1/keys/',
      '/..',
      '/%',
      '/%2e',
      '*',
      '/docs/x',
      '/openapi.json',
    ),
  })
  .map((call) => ({ ...call, headers: {}, body: undefined }));

/** Seldom a replica, and not for long: it takes no writes. A digest takes a thread, and has no parameters. */
const WEIGHTS: Readonly<Record<string, number>> = { setUpstream: 4, deleteUpstream: 16, getDigest: 1 };

/** What one node alone always refuses. */
const ALWAYS_REFUSED: ReadonlySet<string> = new Set([
  'failover',
  'abortFailover',
  'acceptEmptyMaster',
  'endSession',
  // A node without tokens makes none.
  'createToken',
  'revokeToken',
  // It begins at a position of the node's own history.
  'getDiff',
  // The node has files of few positions, and a request names one.
  'getSnapshotFile',
  'headSnapshotFile',
]);

const OPERATIONS = Object.entries(document.paths).flatMap(([path, item]) =>
  Object.entries(item).map(([method, operation]) => ({ path, method: method.toUpperCase(), operation })),
);

const calls = fc.oneof(
  ...OPERATIONS.map(({ path, method, operation }) => ({
    weight: WEIGHTS[operation.operationId] ?? 10,
    arbitrary: callOf(path, method, operation),
  })),
  { weight: 6, arbitrary: elsewhere },
);

/**
 * The operations that no request carries out, though each that is not in `done` is asked for by up to `TRIES` further
 * requests: chance may leave a seldom one out of the first thousands, and the node may have been a replica just then.
 * Each of these requests finds a number at its key, which can be read, counted on and patched.
 */
async function neverDone(http: Connection, done: ReadonlySet<string>): Promise<string[]> {
  const never = [];
  for (const { path, method, operation } of OPERATIONS) {
    const id = operation.operationId;
    if (done.has(id) || ALWAYS_REFUSED.has(id)) continue;
    let carriedOut = false;
    for (const call of fc.sample(callOf(path, method, operation), { seed: SEED, numRuns: TRIES })) {
      if (path === '/v1/keys/{key}') await http.send('PUT', call.path.split('?')[0] ?? '', '1');
      const { status } = await http.send(call.method, call.path, call.body, call.headers);
      // A master redirects only to its snapshot.
      carriedOut = status < 400;
      if (carriedOut) break;
    }
    if (!carriedOut) never.push(id);
  }
  violations.splice(0);
  return never;
}

test(`none of ${REQUESTS} random requests gets a server error, and each answer is as openapi.yaml says`, async (t) => {
  t.diagnostic(`PSYNCD_SEED=${SEED}`);
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const http = new Connection(t, node);
  /** One example of each kind is enough. */
  const wrong = new Map<string, string>();
  const done = new Set<string>();
  for (const { method, path, headers, body } of fc.sample(calls, { seed: SEED, numRuns: REQUESTS })) {
    const named = template(method, path.split('?')[0] ?? '');
    const { operationId = 'nothing' } = document.paths[named]?.[method.toLowerCase()] ?? {};
    try {
      const { status } = await http.send(method, path, body, headers);
      if (status < 300) done.add(operationId);
      // Ready it is not while it follows a master that does not exist.
      assert.ok(status < 500 || named === '/readyz', `answered ${status}`);
    } catch (error) {
      const [, what = String(error)] = /answered (.*)/s.exec(String(error)) ?? [];
      const call = `${method} ${path.slice(0, 100)} ${JSON.stringify(headers)} ${body?.slice(0, 200)}`;
      wrong.set(`${operationId} ${what.slice(0, 40)}`, `${call}\n    answered ${what.slice(0, 300)}`);
    }
  }
  violations.splice(0);
  assert.equal([...wrong.values()].join('\n'), '', `PSYNCD_SEED=${SEED}`);
  await node.client.promote();
  assert.deepEqual(await neverDone(http, done), [], `never carried out, with PSYNCD_SEED=${SEED}`);

  await node.client.promote();
  assert.equal((await http.send('PUT', '/v1/keys/after', 'v')).status, 201);
  assert.deepEqual(json(await http.send('GET', '/healthz')), { status: 'ok' });
  assert.doesNotMatch(node.log, /request-failed/);
  assert.equal(await node.stop(), 0);
});
