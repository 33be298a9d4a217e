/** What somebody meets first: `/`, the page `/docs` with what it fills in, and answers on a terminal. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { askFirst } from '../../src/http/document/ask-first.ts';
import { Cluster } from '../support/cluster.ts';
import { Connection, document, type Operation } from '../support/contract.ts';

/** What somebody does who tries the API from top to bottom, in an order in which each finds what it is for. */
const TRIED = [
  'importEntries',
  'batch',
  'putKey',
  'getKey',
  'headKey',
  'patchKey',
  'incrementKey',
  'appendToKey',
  'setExpiry',
  'deleteExpiry',
  'listKeys',
  'exportEntries',
  'followChanges',
  'deleteKey',
  'deleteKeys',
  'getReplication',
  'checkPosition',
  'getSessions',
  'getBacklog',
  'getDigest',
  'getInfo',
  'getConfig',
  'changeConfig',
  'getHealth',
  'getReadiness',
  'getMetrics',
  'listTokens',
  'holdWrites',
  'getWriteHold',
  'releaseWrites',
  'resetCounters',
];
/** What a node alone, without tokens, has to refuse, and what needs another node. */
const NEEDS_MORE = [
  'setUpstream',
  'deleteUpstream',
  'failover',
  'abortFailover',
  'acceptEmptyMaster',
  'createToken',
  'revokeToken',
  'endSession',
  // It needs a position of this node.
  'getDiff',
  // It redirects to a file of a position that no example can name.
  'getSnapshot',
  'getSnapshotFile',
  'headSnapshotFile',
];

interface Filled {
  readonly in: string;
  readonly name: string;
  readonly example?: unknown;
  readonly schema: { readonly default?: unknown; readonly $ref?: string };
}

interface Media {
  readonly example?: unknown;
  readonly schema: { readonly $ref?: string; readonly examples?: readonly unknown[] };
}

const operations = Object.entries(document.paths).flatMap(([path, item]) =>
  Object.entries(item).map(([method, operation]) => ({ path, method: method.toUpperCase(), operation })),
);

/** The request as Swagger UI fills it in: examples and defaults of parameters, the first example of the body. */
function filledIn(path: string, { parameters = [], requestBody }: Operation) {
  const query = new URLSearchParams();
  let target = path;
  for (const parameter of parameters as readonly Filled[]) {
    const value = parameter.example ?? parameter.schema.default;
    if (value === undefined) continue;
    if (parameter.in === 'path')
      target = target.replace(`{${parameter.name}}`, encodeURIComponent(String(value)));
    else if (parameter.in === 'query') query.set(parameter.name, String(value));
  }
  const [type, media] = Object.entries(requestBody?.content ?? {})[0] ?? [];
  const url = `${target}?${query}`;
  if (type === undefined) return { url, headers: {} };
  const { example, schema } = media as unknown as Media;
  const named =
    schema.$ref === undefined ? schema : document.components.schemas[schema.$ref.split('/').at(-1) ?? ''];
  const value = example ?? (named as Media['schema']).examples?.[0] ?? 'a file that somebody chooses';
  return {
    url,
    headers: { 'content-type': type },
    body: typeof value === 'string' ? value : JSON.stringify(value),
  };
}

test('every request of the document works as a page fills it in, or needs another node or a token', async (t) => {
  assert.deepEqual(
    [...TRIED, ...NEEDS_MORE].sort(),
    operations.map(({ operation }) => operation.operationId).sort(),
  );
  const node = await (await Cluster.create(t)).start('node');
  const http = new Connection(t, node);
  for (const id of TRIED) {
    const found = operations.find(({ operation }) => operation.operationId === id);
    assert.ok(found !== undefined);
    const { url, headers, body } = filledIn(found.path, found.operation);
    const answer = await http.send(found.method, url, body, headers);
    assert.ok(answer.status < 300, `${id}: ${found.method} ${url}: ${answer.status} ${answer.body}`);
  }
});

test('the page asks before it sends what changes roles, deletes many entries or ends a token', async (t) => {
  const asked: string[] = [];
  const page = globalThis as unknown as { confirm?: (question: string) => boolean };
  t.after(() => delete page.confirm);
  page.confirm = (question) => {
    asked.push(String(question.split('\n')[0]));
    return false;
  };
  const asks = new Set([
    'deleteKeys',
    'revokeToken',
    'setUpstream',
    'deleteUpstream',
    'failover',
    'abortFailover',
  ]);
  for (const id of ['acceptEmptyMaster', 'endSession', 'holdWrites', 'resetCounters']) asks.add(id);
  const node = await (await Cluster.create(t)).start('node');
  const initializer = await (await fetch(`${node.url}/docs/static/swagger-initializer.js`)).text();
  // As the page runs it: from the text that the node serves, and behind a proxy with a path.
  const [text] = /function askFirst\(.*?return request;\s*\}/s.exec(initializer) ?? [];
  const sent = new Function(`return ${text}`)() as typeof askFirst;
  for (const { path, method, operation } of operations) {
    for (const base of ['http://127.0.0.1:7796', 'https://app.example/kv']) {
      const request = {
        url: `${base}${path.replace('{key}', 'a%2Fb').replace('{id}', 'x')}?prefix=a`,
        method,
      };
      if (asks.has(operation.operationId)) {
        assert.equal(sent(request).signal?.reason?.message, 'it was not sent', operation.operationId);
        assert.match(asked.pop() ?? '', new RegExp(`^${method} `));
      } else assert.equal(sent(request).signal, undefined, operation.operationId);
    }
  }
  page.confirm = () => true;
  const request = { url: 'http://127.0.0.1:7796/v1/keys?all=true', method: 'DELETE' };
  assert.equal(sent(request).signal, undefined);
});

test('the root says where the description is, to browsers as a page', async (t) => {
  const node = await (await Cluster.create(t)).start('node');
  const http = new Connection(t, node);
  const names = await http.send('GET', '/');
  assert.equal(names.status, 200);
  const { docs, openapi } = JSON.parse(names.body.toString()) as { docs: string; openapi: string };
  assert.deepEqual([docs, openapi], [`${node.url}/docs/`, `${node.url}/openapi.json`]);
  const page = await http.send('GET', '/', undefined, {
    accept: 'text/html,application/xhtml+xml,*/*;q=0.8',
  });
  assert.equal(page.headers['content-type'], 'text/html; charset=utf-8');
  assert.match(String(page.headers['content-security-policy']), /^default-src 'none'/);
  assert.equal(page.headers['cross-origin-opener-policy'], 'same-origin');
  assert.ok(page.body.includes(`<a href="${node.url}/docs/">`));
  assert.match(String(page.headers.vary), /Accept/);
  // A path that is none is not the root.
  assert.equal((await http.send('GET', '*')).status, 404);
});

test('JSON answers end with a newline, and errors too, whichever way they are made', async (t) => {
  const node = await (await Cluster.create(t)).start('node');
  const http = new Connection(t, node);
  const large = 'x'.repeat(300_000);
  const json = { 'content-type': 'application/json' };
  for (const [method, path, body, headers] of [
    ['GET', '/'],
    ['GET', '/healthz'],
    ['GET', '/openapi.json'],
    ['GET', '/v1/replication'],
    // The fast path and the long way.
    ['PUT', '/v1/keys/k', 'v'],
    ['PUT', '/v1/keys/k?ttl=60', 'v'],
    ['PUT', '/v1/keys/large', large],
    ['POST', '/v1/keys/n/increment', '{}', json],
    ['POST', '/v1/batch', '{"ops":[{"op":"get","key":"k"}]}', json],
    ['POST', '/v1/batch', '{"ops":[{"op":"get","key":"large"}]}', json],
    ['GET', '/v1/keys?values=true'],
    ['GET', '/v1/keys/none'],
    ['GET', '/v1/nothing'],
    // Nothing of this is a path, so no route answers it.
    ['GET', '/v1/keys/%ff'],
    ['PUT', '/v1/keys/k', 'v', { 'if-match': '"1"' }],
    ['PUT', '/v1/keys/k', 'v', { 'content-encoding': 'gzip' }],
  ] as const) {
    const answer = await http.send(method, path, body, headers);
    assert.match(String(answer.headers['content-type']), /json/, `${method} ${path}: ${answer.status}`);
    const text = answer.body.toString();
    assert.ok(text.endsWith('}\n') && !text.endsWith('\n\n'), `${method} ${path}: ${text.slice(-20)}`);
  }
});
