/**
 * Every HTTP answer that a test sees is compared with openapi.yaml: is the status documented for that call, and its
 * code, media type, headers and body? `Connection` does it for raw requests, `watchFetch` for everything that uses
 * `fetch`, among it `ChildNode.client`. A mismatch throws where the answer is read, and is remembered in
 * `violations`, because some callers try again after an error; `Cluster` fails the test for those.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { Agent, type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http';
import type { TestContext } from 'node:test';
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import type { ChildNode } from '../../src/cli/child-node.ts';

interface MediaType {
  readonly schema: object;
}

interface DocumentedHeader {
  readonly schema: object;
}

interface DocumentedAnswer {
  readonly description: string;
  readonly headers: Readonly<Record<string, DocumentedHeader>>;
  readonly content?: Readonly<Record<string, MediaType>>;
}

export interface Parameter {
  readonly name: string;
  readonly in: 'path' | 'query' | 'header';
  readonly schema: { readonly type: string };
}

export interface Operation {
  readonly operationId: string;
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: { readonly content: Readonly<Record<string, MediaType>> };
  readonly responses: Readonly<Record<string, DocumentedAnswer>>;
}

export interface Document {
  readonly components: { readonly schemas: Readonly<Record<string, object>> };
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
}

export interface Exchange {
  readonly method: string;
  /** With the query. */
  readonly path: string;
  readonly status: number;
  /** In small letters. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** null: it was not read. */
  readonly body: Buffer | null;
}

/** `openapi.yaml`, with the components in place that are not schemas. */
export const document = load(await read());

/** What did not match, of the nodes of this process's tests. */
export const violations: string[] = [];

/** Paths that the document does not describe: itself, what shows it to people, and the WebSocket of the replicas. */
const UNDESCRIBED = /^\/(?:docs(?:\/.*)?|openapi\.(?:json|yaml)|v1\/replication\/stream)?$/;
/** What answers before a route is looked for, or when there is none. */
const ANYWHERE: ReadonlySet<unknown> = new Set([
  'SHUTTING_DOWN',
  'REQUEST_TIMEOUT',
  'HEADERS_TOO_LARGE',
  'EXPECTATION_FAILED',
]);
const KEY_OPERATION = /^\/v1\/keys\/.+\/(increment|append|expiry)$/;
const POSITION = /^[0-9a-f]{40}:\d+$/;

const ajv = new Ajv2020({
  strict: false,
  allErrors: true,
  formats: { uri: true, 'uri-reference': true, int64: true, binary: true },
});
ajv.addSchema({ $id: 'document', components: document.components });
const validators = new Map<object, ValidateFunction>();

/** Reads openapi.yaml. Every process of the tests does, so what YAML says is kept as JSON, which takes a hundredth of the time. */
async function read(): Promise<Document> {
  const text = readFileSync(new URL('../../openapi.yaml', import.meta.url), 'utf8');
  const folder = new URL('../../node_modules/.cache/psyncd-tests/', import.meta.url);
  const kept = new URL(`openapi-${createHash('sha256').update(text).digest('hex')}.json`, folder);
  try {
    return JSON.parse(readFileSync(kept, 'utf8')) as Document;
  } catch {
    const { parse } = await import('yaml');
    const file = parse(text) as Document;
    mkdirSync(folder, { recursive: true });
    const made = new URL(`${process.pid}.json`, folder);
    writeFileSync(made, JSON.stringify(file));
    renameSync(made, kept);
    return file;
  }
}

function load(file: Document): Document {
  const resolved = (node: unknown): unknown => {
    if (typeof node !== 'object' || node === null) return node;
    if (Array.isArray(node)) return node.map(resolved);
    if ('$ref' in node && typeof node.$ref === 'string' && !node.$ref.startsWith('#/components/schemas/')) {
      const names = node.$ref.split('/').slice(1);
      return resolved(names.reduce<unknown>((at, name) => (at as Record<string, unknown>)[name], file));
    }
    return Object.fromEntries(Object.entries(node).map(([name, value]) => [name, resolved(value)]));
  };
  return resolved(file) as Document;
}

/** @throws AssertionError naming the call and what the document says otherwise */
export function checkAnswer(exchange: Exchange): void {
  try {
    check(exchange);
  } catch (error) {
    const { method, path, status } = exchange;
    const call = `${method} ${path.slice(0, 200)} answered ${status}`;
    const violation = `${call}: ${error instanceof Error ? error.message : error}`;
    violations.push(violation);
    throw new assert.AssertionError({ message: violation });
  }
}

function check(exchange: Exchange): void {
  const { method, status, headers, body } = exchange;
  assert.notEqual(status, 500, `psyncd made a mistake: ${body?.toString().slice(0, 300)}`);
  assert.match(String(headers['psync-position']), POSITION, 'Psync-Position');
  assert.match(String(headers['psync-role']), /^(?:master|replica)$/, 'Psync-Role');
  assert.equal(headers['x-content-type-options'], 'nosniff', 'X-Content-Type-Options');
  assert.equal(headers['cross-origin-resource-policy'], 'same-origin', 'Cross-Origin-Resource-Policy');
  // Beside values, whose header the document names, a cache may keep files that never change.
  if (status >= 400) assert.equal(headers['cache-control'], 'no-store', 'Cache-Control');
  else
    assert.match(
      String(headers['cache-control']),
      /^(?:no-store|no-cache|private, immutable|public, max-age=0)$/,
      'Cache-Control',
    );
  const [path = ''] = exchange.path.split('?');
  if (UNDESCRIBED.test(path)) return;
  const documented = documentedAnswer(method, path, exchange);
  if (documented === null) return;
  for (const [name, { schema }] of Object.entries(documented.headers)) checkHeader(name, schema, headers);
  const type = headers['content-type']?.toString().split(';')[0];
  if (documented.content === undefined) {
    assert.equal(type, undefined, 'a content type without content');
    if (body !== null) assert.equal(body.length, 0, 'a body where none is documented');
    return;
  }
  const media = type === undefined ? undefined : documented.content[type];
  assert.ok(media !== undefined, `the content type ${type} is not documented`);
  if (body === null) return;
  if (method === 'HEAD') {
    assert.equal(body.length, 0, 'HEAD with a body');
    return;
  }
  checkBody(type ?? '', media, body, documented);
  if (type === 'application/problem+json') {
    assert.equal(parseObject(body).status, status, 'the status inside the problem');
  }
}

/** What the document says of this answer; null for what needs no more checks. */
function documentedAnswer(method: string, path: string, exchange: Exchange): DocumentedAnswer | null {
  const item = document.paths[template(method, path)];
  // A HEAD has the headers of the GET, its Content-Type too.
  // A stream that does not end has no HEAD.
  const name = method === 'HEAD' && exchange.status !== 405 ? 'get' : method.toLowerCase();
  const operation = item?.[name];
  if (operation !== undefined) {
    const documented = operation.responses[String(exchange.status)];
    if (documented !== undefined) return documented;
    if (ANYWHERE.has(problemCode(exchange))) return null;
    throw new Error(
      `the status is not documented for ${operation.operationId}: ${exchange.body?.toString().slice(0, 300)}`,
    );
  }
  const code = problemCode(exchange);
  // What is wrong whatever the path: a page of another origin, a query that is no percent-encoded UTF-8.
  if (code === 'FORBIDDEN' && exchange.status === 403) return null;
  if (code === 'BAD_REQUEST' && exchange.status === 400 && isMalformed(exchange.path)) return null;
  // About the server as a whole.
  if (method === 'OPTIONS' && path === '*') assert.equal(exchange.status, 204);
  else if (path === '/v1/keys/' || isMalformed(path)) assert.equal(exchange.status, 400);
  else if (item === undefined) assert.equal(exchange.status, 404);
  else {
    assert.equal(exchange.status, method === 'OPTIONS' ? 204 : 405);
    assert.match(String(exchange.headers.allow), /\bOPTIONS\b/, 'Allow');
  }
  return {
    description: '`BAD_REQUEST` `UNKNOWN_PATH` `METHOD_NOT_ALLOWED`',
    headers: {},
    ...(exchange.status === 204
      ? {}
      : {
          content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
        }),
  };
}

/** The path as the document names it. */
export function template(method: string, path: string): string {
  const operation = KEY_OPERATION.exec(path)?.[1];
  if (operation !== undefined) {
    const named = `/v1/keys/{key}/${operation}`;
    if (document.paths[named]?.[method.toLowerCase()] !== undefined) return named;
  }
  for (const list of ['/v1/tokens', '/v1/replication/sessions']) {
    if (path.startsWith(`${list}/`)) return `${list}/{id}`;
  }
  if (path.startsWith('/v1/snapshots/')) return '/v1/snapshots/{runId}/{offset}';
  return path.startsWith('/v1/keys/') ? '/v1/keys/{key}' : path;
}

function isMalformed(path: string): boolean {
  try {
    decodeURIComponent(path);
    return false;
  } catch {
    return true;
  }
}

/** Headers that some answers have and others have not. */
const SOMETIMES: ReadonlySet<string> = new Set([
  'Psync-Expires-At',
  'Psync-History-Hash',
  'RateLimit',
  'RateLimit-Policy',
]);

function checkHeader(name: string, schema: object, headers: Exchange['headers']): void {
  const value = headers[name.toLowerCase()];
  if (value === undefined) {
    assert.ok(SOMETIMES.has(name), `no header ${name}`);
    return;
  }
  const isNumber = 'type' in schema && schema.type === 'integer';
  valid(schema, isNumber ? Number(value) : value, `header ${name}`);
}

function linesOf(body: Buffer): string[] {
  return body
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '');
}

/** What each line of a stream has to be. */
function lineSchema(schema: object): object {
  assert.ok('contentSchema' in schema, 'the document does not say what the lines are');
  return schema.contentSchema as object;
}

function checkBody(type: string, { schema }: MediaType, body: Buffer, documented: DocumentedAnswer): void {
  switch (type) {
    case 'application/json':
      valid(schema, JSON.parse(body.toString('utf8')), 'the body');
      return;
    case 'application/problem+json': {
      const problem = parseObject(body);
      valid(schema, problem, 'the problem');
      assert.ok(
        documented.description.includes(`\`${problem.code}\``) || ANYWHERE.has(problem.code),
        `the code ${problem.code} is not documented there`,
      );
      return;
    }
    case 'application/vnd.sqlite3':
      return;
    case 'application/x-ndjson':
      for (const line of linesOf(body)) valid(lineSchema(schema), JSON.parse(line), 'a line');
      return;
    case 'text/event-stream':
      for (const line of linesOf(body)) {
        if (line.startsWith('data: ')) valid(lineSchema(schema), JSON.parse(line.slice(6)), 'an event');
        else assert.match(line, /^(?:id: [0-9a-f]{40}:\d+|retry: \d+)$/);
      }
      return;
    default:
      return;
  }
}

function valid(schema: object, value: unknown, what: string): void {
  const key = '$ref' in schema ? reference(String(schema.$ref)) : schema;
  let validate = validators.get(key);
  if (validate === undefined) {
    validate = ajv.compile(key);
    validators.set(key, validate);
  }
  assert.ok(validate(value), `${what} ${ajv.errorsText(validate.errors)}: ${JSON.stringify(value)}`);
}

const references = new Map<string, object>();

/** One object for each schema of the document, so that each is compiled once. */
function reference(pointer: string): object {
  const known = references.get(pointer) ?? { $ref: `document${pointer}` };
  references.set(pointer, known);
  return known;
}

function problemCode({ headers, body }: Exchange): unknown {
  if (headers['content-type'] !== 'application/problem+json' || body === null || body.length === 0)
    return null;
  return parseObject(body).code;
}

function parseObject(body: Buffer): Record<string, unknown> {
  return JSON.parse(body.toString('utf8')) as Record<string, unknown>;
}

const watched = new Set<string>();
const plainFetch = globalThis.fetch;

/** From now on what `fetch` gets from this node is checked: at once, and the body when it is read. */
export function watchFetch(url: string): void {
  watched.add(new URL(url).origin);
  globalThis.fetch = checkedFetch;
}

async function checkedFetch(...[input, init]: Parameters<typeof fetch>): Promise<Response> {
  const response = await plainFetch(input, init);
  const { origin, pathname, search } = new URL(response.url);
  if (!watched.has(origin)) return response;
  const exchange = {
    method: init?.method ?? (input instanceof Request ? input.method : 'GET'),
    path: pathname + search,
    status: response.status,
    headers: Object.fromEntries(response.headers),
  };
  if (response.ok) checkAnswer({ ...exchange, body: null });
  const read = response.arrayBuffer.bind(response);
  const checked = async (): Promise<Buffer<ArrayBuffer>> => {
    const body = Buffer.from(await read());
    checkAnswer({ ...exchange, body });
    return body;
  };
  return Object.assign(response, {
    arrayBuffer: async () => new Uint8Array(await checked()).buffer,
    text: async () => (await checked()).toString('utf8'),
    json: async () => JSON.parse((await checked()).toString('utf8')) as unknown,
  });
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  /** The connection that it came on. */
  readonly localPort: number | undefined;
}

export type Headers = Readonly<Record<string, string | string[]>>;

/** One connection, kept alive, so that a test sees whether it survives; every answer on it is checked. */
export class Connection {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });
  readonly #base: string;

  constructor(t: TestContext, node: ChildNode) {
    this.#base = node.url;
    t.after(() => this.#agent.destroy());
  }

  /** @param body parts: sent without a Content-Length, one chunk each */
  async send(
    method: string,
    path: string,
    body?: Buffer | string | readonly Buffer[],
    headers: Headers = {},
  ): Promise<Answer> {
    // What `request` would parse as a URL and change is sent as it stands.
    const { hostname, port } = new URL(this.#base);
    const outgoing = request({ hostname, port, path, method, headers: { ...headers }, agent: this.#agent });
    outgoing.on('error', () => undefined);
    const whole = typeof body === 'string' ? Buffer.from(body) : body;
    if (Buffer.isBuffer(whole)) outgoing.setHeader('content-length', whole.length);
    for (const part of [whole ?? []].flat() as Buffer[]) outgoing.write(part);
    outgoing.end();
    const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
    const localPort = outgoing.socket?.localPort;
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk as Buffer);
    const answer = {
      status: response.statusCode ?? 0,
      headers: response.headers,
      body: Buffer.concat(chunks),
      localPort,
    };
    checkAnswer({ method, path, ...answer });
    return answer;
  }

  /** Sends JSON. */
  sendJson(method: string, path: string, value: unknown, headers: Headers = {}): Promise<Answer> {
    return this.send(method, path, JSON.stringify(value), { 'content-type': 'application/json', ...headers });
  }
}

/** The body of an answer that is a JSON object. */
export function json(answer: Answer): Record<string, unknown> {
  return parseObject(answer.body);
}

export function isProblem(answer: Answer, status: number, code: string, detail = /./): void {
  assert.equal(answer.headers['content-type'], 'application/problem+json');
  const body = json(answer);
  assert.deepEqual(
    { status: answer.status, inside: body.status, code: body.code },
    { status, inside: status, code },
    String(body.detail),
  );
  assert.match(String(body.detail), detail);
}
