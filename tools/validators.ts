/**
 * Makes the source code of the functions that check queries and bodies, with Ajv, from the schemas of the routes. So a node does
 * not load Ajv or compile schemas, and its first requests do not wait for that. With `--check` it compares the files instead, and
 * fails on any difference.
 */
import { Ajv, type Options } from 'ajv';
import standalone from 'ajv/dist/standalone/index.js';
import Fastify from 'fastify';
import { apiRoutes } from '../src/http/api-routes.ts';
import { SHARED } from '../src/http/schemas/shared.ts';
import { plainJson } from '../src/http/serialization.ts';
import { DESCRIBED } from './described.ts';
import { make } from './made-file.ts';

const OPTIONS: Options = {
  useDefaults: true,
  allErrors: false,
  strictTypes: false,
  addUsedSchema: false,
  formats: { int64: true, uri: true },
  code: { source: true, esm: true },
};

/** Options of Ajv for each part of a request. Text from a URL is converted to the type of the schema; JSON bodies are not. */
const PARTS: Readonly<Record<string, Options>> = {
  // With strict numbers, Ajv would not compare Infinity (from the text `1e999`) with the maximum.
  querystring: { ...OPTIONS, coerceTypes: true, strictNumbers: false },
  body: OPTIONS,
};

/** The only import in the code that Ajv makes. */
const LENGTH = 'require("ajv/dist/runtime/ucs2length").default';
const OWN_LENGTH = '(text) => { let count = 0; for (const _ of text) count += 1; return count; }';

interface Checked {
  /** Method and path, such as `PUT /v1/keys/:key`. */
  readonly route: string;
  readonly part: string;
  /** The rules of the schema, without its texts for people, as JSON. */
  readonly schema: string;
}

/** @returns the schemas of queries and bodies of all routes */
async function checked(): Promise<Checked[]> {
  const found: Checked[] = [];
  const app = Fastify({
    schemaController: {
      compilersFactory: {
        buildValidator: (() => (given: { schema: object; httpPart: string; method: string; url: string }) => {
          const { schema, httpPart: part, method, url } = given;
          // Fastify adds a HEAD for each GET, with the same schemas.
          if (method !== 'HEAD' && part in PARTS) {
            found.push({ route: `${method} ${url}`, part, schema: checking(schema) });
          }
          return () => true;
        }) as never,
        buildSerializer: plainJson,
      },
    },
  });
  await apiRoutes(app, DESCRIBED);
  await app.ready();
  return found;
}

/** @returns the rules of a schema, without its texts for people, as JSON */
function checking(schema: object): string {
  return JSON.stringify(schema, (name, value) => {
    const isText = name === 'description' && typeof value === 'string';
    return isText || (name === 'examples' && Array.isArray(value)) ? undefined : value;
  });
}

function source(part: string, all: readonly Checked[]): string {
  const ajv = new Ajv(PARTS[part]);
  for (const schema of SHARED) ajv.addSchema(JSON.parse(checking(schema)));
  const routes = all.filter((each) => each.part === part);
  // Many routes have equal schemas, and Ajv would give two functions one name if it got the same schema twice.
  const names = new Map<string, string>();
  for (const { schema } of routes) {
    if (names.has(schema)) continue;
    const name = `check${names.size}`;
    names.set(schema, name);
    ajv.addSchema(JSON.parse(schema), name);
  }
  const references = Object.fromEntries([...names.values()].map((name) => [name, name]));
  const code = standalone.default(ajv, references).replaceAll(LENGTH, OWN_LENGTH);
  if (code.includes('require(')) throw new Error(`the validators of ${part} need more of Ajv than they have`);
  const table = routes
    .map(({ route, schema }) => `  ${JSON.stringify(route)}: ${names.get(schema)},\n`)
    .join('');
  return (
    '// @ts-nocheck\n// Made by `npm run openapi` from the schemas in src/http, with Ajv; do not edit.\n' +
    `${code.replace('"use strict";', '').replaceAll(/(?<=[;}])(?=export const |const schema|function validate)/g, '\n')}\n` +
    `export const CHECKS: Readonly<Record<string, unknown>> = {\n${table}};\n`
  );
}

const all = await checked();
for (const part of Object.keys(PARTS)) make(`src/http/generated/${part}.ts`, source(part, all));
