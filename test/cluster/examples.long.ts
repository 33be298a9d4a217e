/** Every example of openapi.yaml that is part of a request, sent as it stands there. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { parse } from 'yaml';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { Cluster } from '../support/cluster.ts';

interface Schema {
  readonly $ref?: string;
  readonly examples?: readonly unknown[];
  readonly properties?: Readonly<Record<string, Schema>>;
}

interface Parameter extends Schema {
  readonly name: string;
  readonly in: 'path' | 'query' | 'header';
  readonly required?: boolean;
  readonly example?: unknown;
  readonly schema?: Schema;
}

interface Operation {
  readonly operationId?: string;
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: {
    readonly content: Readonly<Record<string, { example?: unknown; schema?: Schema }>>;
  };
}

const document = parse(readFileSync(new URL('../../openapi.yaml', import.meta.url), 'utf8')) as {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: Readonly<Record<string, Readonly<Record<string, Schema>>>>;
};

function resolved<T extends Schema>(schema: T): T {
  const [, , kind = '', name = ''] = schema.$ref?.split('/') ?? [];
  return schema.$ref === undefined ? schema : (document.components[kind]?.[name] as T);
}

/** What the schema gives as its example, or what its members give; undefined if it gives none. */
function exampleOf(schema: Schema): unknown {
  const { examples, properties = {} } = resolved(schema);
  if (examples !== undefined) return examples[0];
  const members = Object.entries(properties).map(([name, member]) => [name, exampleOf(member)] as const);
  const given = members.filter(([, example]) => example !== undefined);
  return given.length === 0 ? undefined : Object.fromEntries(given);
}

/** The entry that has to be there before, for the example to make sense, if it is not `greeting`. */
const BEFORE: Readonly<Record<string, readonly [key: string, value: string]>> = {
  patchKey: ['user:1', '{"name":"Bob","nickname":"B"}'],
};
/** Examples of what excludes each other. */
const EXCLUDED: Readonly<Record<string, readonly string[]>> = { deleteKeys: ['all'] };
/** What one node alone refuses, well formed as it is: with which status. */
const REFUSED: Readonly<Record<string, number>> = {
  failover: 409,
  abortFailover: 409,
  acceptEmptyMaster: 409,
  endSession: 404,
  // A node without tokens makes none for whoever can reach it.
  createToken: 403,
  revokeToken: 404,
  // The position of its example is of another history.
  getDiff: 410,
  // It redirects to the file.
  getSnapshot: 307,
  getSnapshotFile: 410,
  headSnapshotFile: 410,
};
/** Positions that the document cannot know, and acknowledgements that nobody here gives. */
const ELSEWHERE: ReadonlySet<string> = new Set(['position', 'acks']);

async function send(node: ChildNode, method: string, path: string, operation: Operation): Promise<Response> {
  const { operationId = '', parameters = [], requestBody } = operation;
  let url = path;
  const query = new URLSearchParams();
  for (const each of parameters.map(resolved)) {
    const example = each.example ?? exampleOf(each.schema ?? {});
    if (example === undefined || EXCLUDED[operationId]?.includes(each.name)) continue;
    if (ELSEWHERE.has(each.name) && operationId !== 'checkPosition') continue;
    if (each.in === 'path') url = url.replace(`{${each.name}}`, encodeURIComponent(String(example)));
    // Conditions are about versions that the document cannot know.
    else if (each.in === 'query') query.set(each.name, String(example));
  }
  const [type, content] = Object.entries(requestBody?.content ?? {})[0] ?? [];
  const body =
    content === undefined ? undefined : (content.example ?? exampleOf(content.schema ?? {}) ?? 'any bytes');
  return fetch(`${node.url}${url}?${query}`, {
    method: method.toUpperCase(),
    redirect: 'manual',
    ...(type === undefined
      ? {}
      : { headers: { 'content-type': type }, body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
}

test('the server accepts each example of openapi.yaml', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  let sent = 0;
  for (const [path, item] of Object.entries(document.paths)) {
    for (const [method, operation] of Object.entries(item)) {
      const { operationId } = operation;
      // It would make the node a replica of its own example.
      if (operationId === undefined || operationId === 'setUpstream') continue;
      await node.client.set(...(BEFORE[operationId] ?? (['greeting', 'hello'] as const)));
      const response = await send(node, method, path, operation);
      const text = await response.text();
      const refused = REFUSED[operationId];
      const expected = refused === undefined ? response.ok : response.status === refused;
      assert.ok(expected, `${operationId}: ${response.status} ${text}`);
      sent += 1;
    }
  }
  assert.ok(sent >= 20, `${sent}`);
});
