/**
 * Ajv for Fastify. Text from a URL becomes the number or boolean that the schema asks for; in a JSON body a string is
 * a string. Nothing that is unknown is dropped in silence.
 *
 * A schema is compiled when the first request comes that it is for: a node starts sooner without.
 */
import Ajv, { type Options, type ValidateFunction } from 'ajv';
import type { FastifySchemaCompiler, FastifySchemaValidationError } from 'fastify';
import { once } from './once.ts';
import { SHARED } from './schemas.ts';

const OPTIONS: Options = { useDefaults: true, allErrors: false, strictTypes: false, addUsedSchema: false };

type Validate = ReturnType<FastifySchemaCompiler<unknown>>;

export function validators(): (route: { schema: unknown; httpPart?: string }) => Validate {
  // With strict numbers `1e999`, once it is a number, is held against no maximum.
  const lenient = once(() =>
    withShared(new Ajv.Ajv({ ...OPTIONS, coerceTypes: true, strictNumbers: false })),
  );
  const strict = once(() => withShared(new Ajv.Ajv(OPTIONS)));
  return ({ schema, httpPart }) => {
    // Keys and conditions are text that the handlers parse; their schemas are for the document.
    if (httpPart === 'params' || httpPart === 'headers') return () => true;
    return whenNeeded(() => (httpPart === 'body' ? strict : lenient)().compile(schema as object));
  };
}

function whenNeeded(compile: () => ValidateFunction): Validate {
  const compiled = once(compile);
  // Fastify looks for what is wrong on the function that it has called.
  const validate: Validate = (data: unknown) => {
    const check = compiled();
    const valid = check(data);
    validate.errors = (check.errors ?? null) as FastifySchemaValidationError[] | null;
    return valid;
  };
  return validate;
}

function withShared(ajv: Ajv.Ajv): Ajv.Ajv {
  ajv.addFormat('int64', true);
  ajv.addFormat('uri', true);
  for (const schema of SHARED) ajv.addSchema(schema);
  return ajv;
}
