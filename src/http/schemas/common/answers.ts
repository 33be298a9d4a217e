/** Makes the descriptions of answers in the schemas of the routes: headers, media types, bodies. */
import { ENTRY_HEADERS, HEADERS, VALUE_HEADERS } from './headers.ts';

/** A request's body of any bytes. Without a `type`: JSON Schema has none for bytes (OpenAPI 3.1, "binary data"). */
export const RAW_BODY = {
  content: {
    'application/octet-stream': {
      schema: { contentMediaType: 'application/octet-stream', description: 'Any bytes.' },
    },
  },
} as const;

/** An answer in JSON; `etag`: of one entry. */
export function json(description: string, schema: { readonly $id: string }, of?: 'etag'): object {
  return {
    description,
    headers: of === 'etag' ? ENTRY_HEADERS : HEADERS,
    content: { 'application/json': { schema: { $ref: `${schema.$id}#` } } },
  };
}

/** The answer to a write that asked for more acknowledgements than came in time. */
export function writtenOnly(schema: { readonly $id: string }, of?: 'etag'): object {
  return json(
    'The write is done, and fewer replicas than `acks` had it in time, or with `durable` this node has it not on its disk.',
    schema,
    of,
  );
}

/** An answer of the value's own bytes. */
export function bytes(description: string): object {
  return {
    description,
    headers: VALUE_HEADERS,
    content: {
      ...RAW_BODY.content,
      'application/json': {
        schema: { description: 'Any JSON: if the value is JSON and the client asked for it.' },
        example: { name: 'Ada' },
      },
      'text/plain': {
        schema: { type: 'string', description: 'If the value is UTF-8 and the client asked for it.' },
        example: 'hello',
      },
    },
  };
}

/** Lines of JSON, streamed. */
export function ndjson(description: string, line: { readonly $id: string }): object {
  const schema = {
    type: 'string',
    contentMediaType: 'application/x-ndjson',
    contentSchema: { $ref: `${line.$id}#` },
    description: `One \`${line.$id}\` a line, streamed.`,
  };
  return { description, headers: HEADERS, content: { 'application/x-ndjson': { schema } } };
}

/** An answer that comes in pieces, in several media types. */
export function streamed(description: string, content: object): object {
  return { description, headers: HEADERS, content };
}

export function plainText(description: string, example: string): object {
  return {
    description,
    headers: HEADERS,
    content: { 'text/plain': { schema: { type: 'string' }, example } },
  };
}

/** The answer to a client that has the value already. */
export function notModified(description: string): object {
  return { description, headers: VALUE_HEADERS, type: 'null' };
}
