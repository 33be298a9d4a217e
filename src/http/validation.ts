/**
 * Ajv for Fastify. Text from a URL becomes the number or boolean that the schema asks for; in a JSON body a string is
 * a string. Nothing that is unknown is dropped in silence.
 */
import Ajv, { type Options, type ValidateFunction } from 'ajv';
import { SHARED } from './schemas.ts';

const OPTIONS: Options = { useDefaults: true, allErrors: false, strictTypes: false, addUsedSchema: false };

type Validate = ValidateFunction | (() => boolean);

export function validators(): (route: { schema: unknown; httpPart?: string }) => Validate {
  const lenient = withShared(new Ajv.Ajv({ ...OPTIONS, coerceTypes: true }));
  const strict = withShared(new Ajv.Ajv(OPTIONS));
  return ({ schema, httpPart }) => {
    // Keys and conditions are text that the handlers parse; their schemas are for the document.
    if (httpPart === 'params' || httpPart === 'headers') return () => true;
    return (httpPart === 'body' ? strict : lenient).compile(schema as object);
  };
}

function withShared(ajv: Ajv.Ajv): Ajv.Ajv {
  ajv.addFormat('int64', true);
  ajv.addFormat('uri', true);
  for (const schema of SHARED) ajv.addSchema(schema);
  return ajv;
}
