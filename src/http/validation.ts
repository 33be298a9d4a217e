/**
 * Ajv for Fastify. Text from a URL becomes the number or boolean that the schema asks for; in a JSON body a string is
 * a string. Nothing that is unknown is dropped in silence.
 *
 * A schema is compiled when the first request comes that it is for, and Ajv loaded then: a node starts sooner without.
 */
import { createRequire } from 'node:module';
import type { Ajv, Options, ValidateFunction } from 'ajv';
import type { FastifySchemaCompiler, FastifySchemaValidationError, FastifyServerOptions } from 'fastify';
import { Deferred } from './once.ts';
import { SHARED } from './schemas.ts';

const OPTIONS: Options = {
  useDefaults: true,
  allErrors: false,
  strictTypes: false,
  addUsedSchema: false,
  // That the schemas themselves are right is for `npm run check` to say; Ajv would take longer for it than for the rest.
  meta: false,
  validateSchema: false,
};

type Compile = FastifySchemaCompiler<unknown>;
type Validate = ReturnType<Compile>;
type Compilers = NonNullable<NonNullable<FastifyServerOptions['schemaController']>['compilersFactory']>;
type Factory = NonNullable<Compilers['buildValidator']>;

/** For Fastify's `schemaController`. @param deferred Ajv is loaded and schemas are compiled with the rest of it */
export function validators(deferred = new Deferred()): Factory {
  // With strict numbers `1e999`, once it is a number, is held against no maximum.
  const lenient = deferred.once(() => newAjv({ ...OPTIONS, coerceTypes: true, strictNumbers: false }));
  const strict = deferred.once(() => newAjv(OPTIONS));
  const compile: Compile = ({ schema, httpPart }) => {
    switch (httpPart) {
      // Keys and conditions are text that the handlers parse; their schemas are for the document.
      case 'params':
      case 'headers':
        return () => true;
      case 'querystring':
        return whenNeeded(
          deferred.once(() => lenient().compile(schema as object)),
          defaultsOf(schema as QuerySchema),
        );
      default:
        return whenNeeded(deferred.once(() => strict().compile(schema as object)));
    }
  };
  // Its type says that a schema is all that is handed over; Fastify hands over the part of the request too.
  return (() => compile) as unknown as Factory;
}

interface QuerySchema {
  readonly properties: Readonly<Record<string, { readonly default?: unknown }>>;
  readonly required?: readonly string[];
}

/** What a query becomes that is empty, as most are; null, if Ajv has to say what it lacks. */
function defaultsOf({ properties, required = [] }: QuerySchema): object | null {
  if (required.length > 0) return null;
  const members = Object.entries(properties).map(([name, schema]) => [name, schema.default] as const);
  return Object.fromEntries(members.filter(([, value]) => value !== undefined));
}

/** @param emptyBecomes what is assigned to an empty object instead of looking at it; null: nothing is spared */
function whenNeeded(compiled: () => ValidateFunction, emptyBecomes: object | null = null): Validate {
  // Fastify looks for what is wrong on the function that it has called.
  const validate: Validate = (data: unknown) => {
    if (emptyBecomes !== null && isEmpty(data as object)) {
      Object.assign(data as object, emptyBecomes);
      return true;
    }
    const check = compiled();
    const valid = check(data);
    validate.errors = (check.errors ?? null) as FastifySchemaValidationError[] | null;
    return valid;
  };
  return validate;
}

function isEmpty(data: object): boolean {
  for (const _ in data) return false;
  return true;
}

function newAjv(options: Options): Ajv {
  const { Ajv } = createRequire(import.meta.url)('ajv') as typeof import('ajv');
  const ajv = new Ajv(options);
  ajv.addFormat('int64', true);
  ajv.addFormat('uri', true);
  for (const schema of SHARED) ajv.addSchema(schema);
  return ajv;
}
