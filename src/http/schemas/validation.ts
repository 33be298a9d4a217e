/**
 * What checks queries and bodies, for Fastify. Text from a URL becomes the number or boolean that the schema asks for; in a JSON
 * body a string is a string. Nothing that is unknown is dropped in silence. The functions are made by `npm run openapi`
 * (tools/validators.ts).
 */
import type { FastifySchemaCompiler, FastifyServerOptions } from 'fastify';
import { isRawJSON } from '../../keyspace/json/json-number.ts';
import { parseDecimal } from '../../web/query.ts';
import { CHECKS as BODIES } from '../generated/body.ts';
import { CHECKS as QUERIES } from '../generated/querystring.ts';

type Compile = FastifySchemaCompiler<unknown>;
type Check = ReturnType<Compile>;
type Compilers = NonNullable<NonNullable<FastifyServerOptions['schemaController']>['compilersFactory']>;

const find: Compile = ({ httpPart, method, schema, url }) => {
  // Keys and conditions are text that the handlers parse; their schemas are for the document.
  if (httpPart === 'params' || httpPart === 'headers') return () => true;
  const route = `${method === 'HEAD' ? 'GET' : method} ${url}`;
  const check = (httpPart === 'querystring' ? QUERIES : BODIES)[route] as Check | undefined;
  if (check === undefined) throw new Error(`nothing checks the ${httpPart} of ${route}: run npm run openapi`);
  return httpPart === 'body' ? ofNumbersToo(check) : ofDecimalNumbers(check, schema as QuerySchema);
};

interface QuerySchema {
  readonly properties?: Readonly<Record<string, { readonly type?: unknown }>>;
}

/** Text that is to become a number has to be one in decimal digits; Ajv takes whatever JavaScript's `+` takes. */
function ofDecimalNumbers(check: Check, { properties = {} }: QuerySchema): Check {
  const kinds = Object.entries(properties).flatMap(([name, { type }]) =>
    type === 'integer' || type === 'number' ? [[name, type] as const] : [],
  );
  if (kinds.length === 0) return check;
  const checked: Check = (data: Readonly<Record<string, unknown>>) => {
    for (const [name, kind] of kinds) {
      const text = data[name];
      if (text === undefined || (typeof text === 'string' && parseDecimal(text, kind) !== null)) continue;
      checked.errors = [{ instancePath: `/${name}`, schemaPath: '', keyword: 'decimal', params: { kind } }];
      return false;
    }
    const valid = check(data);
    checked.errors = check.errors ?? null;
    return valid;
  };
  return checked;
}

/** A body that is nothing but a number that is kept as text (`json-number.ts`) is checked as a number: it is a frozen object. */
function ofNumbersToo(check: Check): Check {
  const checked: Check = (data: unknown) => {
    const valid = check(isRawJSON(data) ? Number.POSITIVE_INFINITY : data);
    checked.errors = check.errors ?? null;
    return valid;
  };
  return checked;
}

/** For Fastify's `schemaController`. Its type says that a schema is all that is handed over; it is more. */
export const validators = (() => find) as unknown as NonNullable<Compilers['buildValidator']>;
