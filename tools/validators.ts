/**
 * Makes the functions that check queries and bodies from the schemas of the routes, by Ajv, as source code: a node neither loads
 * Ajv nor compiles anything, which its first requests would wait for. `--check` compares instead, and fails on any difference.
 */
import { Ajv, type Options } from 'ajv';
import standalone from 'ajv/dist/standalone/index.js';
import Fastify from 'fastify';
import { apiRoutes } from '../src/http/api-routes.ts';
import { SHARED } from '../src/http/schemas/schemas.ts';
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

/** Text from a URL becomes the number or boolean that is asked for. In a JSON body a string is a string. */
const PARTS: Readonly<Record<string, Options>> = {
  // With strict numbers `1e999`, once it is a number, is held against no maximum.
  querystring: { ...OPTIONS, coerceTypes: true, strictNumbers: false },
  body: OPTIONS,
};

/** The only thing that Ajv's code takes from Ajv. */
const LENGTH = 'require("ajv/dist/runtime/ucs2length").default';
const OWN_LENGTH = '(text) => { let count = 0; for (const _ of text) count += 1; return count; }';

interface Checked {
  /** `PUT /v1/keys/:key` */
  readonly route: string;
  readonly part: string;
  /** What of it is checked, as JSON. */
  readonly schema: string;
}

/** What the routes want to have checked. */
async function checked(): Promise<Checked[]> {
  const found: Checked[] = [];
  const app = Fastify({
    schemaController: {
      compilersFactory: {
        buildValidator: (() => (given: { schema: object; httpPart: string; method: string; url: string }) => {
          const { schema, httpPart: part, method, url } = given;
          // Of a GET there is always a HEAD, which takes the same.
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

/** What of a schema is not for people only, as JSON. */
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
  // Many take the same, and Ajv would name two functions alike if it were given one schema twice.
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
