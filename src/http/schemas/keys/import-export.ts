/** Schemas of `/v1/import` and `/v1/export`. */
import { EXAMPLE_POSITION } from '../common/examples.ts';
import { acks, COUNT, durable, expiresAt, key, position, version } from '../common/members.ts';
import { prefix, waitParameters } from '../common/queries.ts';

export const exportedEntry = {
  $id: 'ExportedEntry',
  examples: [{ key: 'greeting', value: 'hello', encoding: 'utf8', version: 1048576, expiresAt: null }],
  type: 'object',
  required: ['key', 'value', 'encoding', 'version', 'expiresAt'],
  properties: {
    key,
    value: { type: 'string' },
    encoding: { type: 'string', enum: ['utf8', 'base64'] },
    version,
    expiresAt,
  },
} as const;

export const importedEntry = {
  $id: 'ImportedEntry',
  examples: [{ key: 'greeting', value: 'hello' }],
  type: 'object',
  required: ['key', 'value'],
  additionalProperties: false,
  properties: {
    key,
    value: { description: 'Text, base64 or any JSON, as `encoding` says.' },
    encoding: {
      type: 'string',
      enum: ['utf8', 'base64', 'json'],
      description: 'How `value` is written; utf8 if it is not given.',
    },
    expiresAt,
    version: { type: 'integer', description: 'Of an export; it is not looked at.' },
  },
} as const;

export const imported = {
  $id: 'Imported',
  examples: [{ imported: 171000, position: EXAMPLE_POSITION }],
  type: 'object',
  required: ['imported', 'position'],
  properties: {
    imported: { ...COUNT, description: 'Number of entries that were written.' },
    position,
    acks,
    durable,
  },
} as const;

const NDJSON_EXAMPLE = [
  '{"key":"greeting","value":"hello"}\n',
  '{"key":"bytes","value":"AP8=","encoding":"base64","expiresAt":1900000000000}\n',
].join('');

/** A request's body of lines of JSON, streamed. Without a `type`, so that clients may bring a stream or text. */
export const NDJSON_BODY = {
  content: {
    'application/x-ndjson': {
      schema: {
        contentMediaType: 'application/x-ndjson',
        contentSchema: { $ref: `${importedEntry.$id}#` },
        description: 'One `ImportedEntry` a line.',
        examples: [NDJSON_EXAMPLE],
      },
    },
  },
} as const;

export const exportQuery = {
  type: 'object',
  additionalProperties: false,
  properties: { prefix, ...waitParameters },
} as const;
