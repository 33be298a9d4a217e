/** openapi.yaml is written so that generators of clients and pages that show an API can use it as it is. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { parse } from 'yaml';
import { batchOperation, batchRequest } from '../../src/http/schemas/keys/batch.ts';

interface Schema {
  readonly $ref?: string;
  readonly enum?: readonly unknown[];
  readonly oneOf?: readonly { readonly $ref?: string }[];
  readonly discriminator?: {
    readonly propertyName: string;
    readonly mapping: Readonly<Record<string, string>>;
  };
  readonly properties?: Readonly<Record<string, Schema>>;
}

interface Parameter {
  readonly $ref?: string;
  readonly name?: string;
  readonly required?: boolean;
  readonly example?: unknown;
}

interface Operation {
  readonly operationId: string;
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: object }>> };
  readonly responses: Readonly<
    Record<
      string,
      { readonly $ref?: string; readonly content?: Readonly<Record<string, { readonly schema: object }>> }
    >
  >;
}

interface Document {
  readonly servers: readonly { readonly url: string }[];
  readonly components: {
    readonly schemas: Readonly<Record<string, Schema>>;
    readonly parameters: Readonly<Record<string, Parameter>>;
    readonly [kind: string]: Readonly<Record<string, object>>;
  };
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
}

const document = parse(readFileSync(new URL('../../openapi.yaml', import.meta.url), 'utf8')) as Document;
const operations = Object.values(document.paths).flatMap((path) => Object.values(path));
const { schemas } = document.components;

test('the document names no address: who has it knows where the node is', () => {
  assert.deepEqual(
    document.servers.map(({ url }) => url),
    ['/'],
  );
});

test('names of components are names in every language', () => {
  const { securitySchemes: _schemes, ...kinds } = document.components;
  for (const [kind, components] of Object.entries(kinds)) {
    for (const name of Object.keys(components)) assert.match(name, /^[A-Za-z][A-Za-z0-9_]*$/, kind);
  }
});

test('no schema has the name that a generator gives to the result of an operation', () => {
  for (const { operationId } of operations) {
    const name = operationId.slice(0, 1).toUpperCase() + operationId.slice(1);
    for (const ending of ['', 'Result', 'Params', 'Body', 'Data', 'Error', 'Response']) {
      // `Batch` is the body of `batch`, whatever a generator calls it.
      if (name + ending !== 'Batch') assert.ok(!(name + ending in schemas), name + ending);
    }
  }
});

test('what clients name has a name', () => {
  for (const name of [
    'Position',
    'ResyncReason',
    'ProblemCode',
    'BatchOperation',
    'Entry',
    'OperationResult',
  ])
    assert.ok(name in schemas, name);
  const text = JSON.stringify({ schemas: { ...schemas, Position: null }, paths: document.paths });
  assert.ok(text.includes('"$ref":"#/components/schemas/Position"'));
});

test('what has forms says which member tells them apart, and names each form', () => {
  for (const name of ['Change', 'ChangeEvent', 'BatchOperation']) {
    const { oneOf = [], discriminator } = schemas[name] as Schema;
    assert.ok(discriminator !== undefined, name);
    const { propertyName, mapping } = discriminator;
    assert.deepEqual(
      oneOf.map(({ $ref }) => $ref),
      Object.values(mapping),
    );
    for (const [value, reference] of Object.entries(mapping)) {
      const form = schemas[reference.replace('#/components/schemas/', '')];
      assert.deepEqual(form?.properties?.[propertyName]?.enum, [value]);
    }
  }
});

test('the operations of a batch that the document names are those that a request may have', () => {
  const { op, ...members } = batchRequest.properties.ops.items.properties;
  assert.deepEqual(
    batchOperation.oneOf.map(({ properties }) => properties.op.const),
    op.enum,
  );
  const named = batchOperation.oneOf.flatMap(({ properties }) => Object.keys(properties));
  assert.deepEqual(new Set(named), new Set(['op', ...Object.keys(members)]));
});

test('no list of values has null in it', () => {
  JSON.stringify(document, (name, value) => {
    if (name === 'enum') assert.ok(!value.includes(null), String(value));
    return value;
  });
});

test('only parameters that are needed are filled in by a page that shows the document', () => {
  const filled = operations.flatMap(({ operationId, parameters = [] }) =>
    parameters
      .map((each) =>
        each.$ref === undefined ? each : document.components.parameters[each.$ref.split('/').at(-1) ?? ''],
      )
      .filter((each) => each?.example !== undefined && each.required !== true)
      .map((each) => `${operationId} ${each?.name}`),
  );
  // One of the two of `deleteKeys` is needed; a page waits for the end of the answer of `followChanges`.
  assert.deepEqual(filled.sort(), ['deleteKeys prefix', 'followChanges wait']);
});

test('bytes are binary in requests and answers, and the first choice of an answer', () => {
  const contents = operations.flatMap(({ requestBody, responses }) => [
    ...(requestBody === undefined ? [] : [requestBody.content]),
    ...Object.values(responses).flatMap(({ content }) => (content === undefined ? [] : [content])),
  ]);
  const ofBytes = contents.filter((content) => 'application/octet-stream' in content);
  assert.equal(ofBytes.length, 3);
  for (const content of ofBytes) {
    assert.equal(Object.keys(content)[0], 'application/octet-stream');
    const { description: _text, ...schema } = { ...content['application/octet-stream']?.schema } as Schema & {
      description?: string;
    };
    assert.partialDeepStrictEqual(schema, { type: 'string', format: 'binary' });
  }
});

test('every operation says what an error looks like that it does not name', () => {
  for (const { operationId, responses } of operations) {
    assert.equal(responses.default?.$ref, '#/components/responses/Problem', operationId);
  }
});
