/** Schemas of `/v1/batch`. */
import { EXAMPLE_POSITION } from '../common/examples.ts';
import { acks, COUNT, durable, expiresAt, position, version } from '../common/members.ts';
import { acksParameters, timeout, waitParameters } from '../common/queries.ts';

/** The most operations of one batch. */
export const MAX_BATCH = 10_000;

const KEY = { type: 'string', examples: ['user:1'] } as const;
const VALUE = {
  value: { description: 'Text, base64 or any JSON, as `encoding` says.' },
  encoding: {
    type: 'string',
    enum: ['utf8', 'base64', 'json'],
    description: 'How `value` is written; utf8 if it is not given.',
  },
} as const;
const EXPIRY = {
  ttl: { type: 'number', description: 'Seconds.' },
  expiresAt: { type: ['integer', 'null'], description: 'Milliseconds since 1970.' },
} as const;
const IF_VERSION = {
  ifVersion: { type: 'integer', description: 'Only if the entry has this version.' },
} as const;
const IF_ABSENT = { ifAbsent: { type: 'boolean', description: 'Only if there is no such entry.' } } as const;
const BY = {
  by: { type: ['integer', 'string'], description: 'Number to add; 1 if it is not given.' },
} as const;

/** What each operation takes; `operationOf` in batch-route.ts checks it, because it says which operation is wrong. */
export const batchOperation = {
  $id: 'BatchOperation',
  description: 'One operation of a batch.',
  examples: [{ op: 'increment', key: 'users', by: 1 }],
  oneOf: [
    operation('set', ['value'], { ...VALUE, ...EXPIRY, ...IF_ABSENT, ...IF_VERSION }),
    operation('delete', [], IF_VERSION),
    operation('increment', [], { ...BY, ...IF_VERSION }),
    operation('append', ['value'], { ...VALUE, ...IF_VERSION }),
    operation('expire', [], { ...EXPIRY, ...IF_VERSION }),
    operation('persist', [], IF_VERSION),
    operation('get', [], {}),
  ],
} as const;

/** @param required members that it needs beside `op` and `key` */
function operation<const Op extends string, const Members extends object>(
  op: Op,
  required: readonly (keyof Members & string)[],
  members: Members,
) {
  return {
    type: 'object',
    required: ['op', 'key', ...required],
    additionalProperties: false,
    properties: { op: { type: 'string', const: op }, key: KEY, ...members },
  } as const;
}

export const batchRequest = {
  $id: 'Batch',
  examples: [
    {
      ops: [
        { op: 'set', key: 'user:1', value: { name: 'Ada' }, encoding: 'json' },
        { op: 'increment', key: 'users', by: 1 },
        { op: 'get', key: 'users' },
      ],
    },
  ],
  type: 'object',
  required: ['ops'],
  additionalProperties: false,
  properties: {
    ops: {
      type: 'array',
      maxItems: MAX_BATCH,
      items: {
        type: 'object',
        required: ['op', 'key'],
        additionalProperties: false,
        properties: {
          op: { type: 'string', enum: ['set', 'delete', 'increment', 'append', 'expire', 'persist', 'get'] },
          key: { type: 'string', examples: ['user:1'] },
          value: { description: '`set`, `append`: text, base64 or any JSON, as `encoding` says.' },
          // No `default`: Ajv would write it into operations that have no value, where it is refused.
          encoding: {
            type: 'string',
            enum: ['utf8', 'base64', 'json'],
            description: '`set`, `append`: how `value` is written; utf8 if it is not given.',
          },
          ttl: { type: 'number', description: '`set`, `expire`: seconds.' },
          expiresAt: { type: ['integer', 'null'], description: '`set`, `expire`: milliseconds since 1970.' },
          by: { type: ['integer', 'string'], description: '`increment`: 1 if it is not given.' },
          ifAbsent: { type: 'boolean', description: '`set`: only if there is no such entry.' },
          ifVersion: { type: 'integer', description: 'Only if the entry has this version.' },
        },
      },
    },
  },
} as const;

export const batchResults = {
  $id: 'BatchResults',
  examples: [
    {
      results: [
        { created: true, version: 1048533, expiresAt: null },
        { value: 42, version: 1048576 },
        { found: true, value: '42', encoding: 'utf8', expiresAt: null, version: 1048576 },
      ],
      position: EXAMPLE_POSITION,
    },
  ],
  type: 'object',
  required: ['results', 'position'],
  properties: {
    results: {
      type: 'array',
      description: 'Result of each operation, in order.',
      items: {
        type: 'object',
        properties: {
          version,
          expiresAt,
          created: { type: 'boolean', description: '`set`: whether the key is new.' },
          deleted: { type: 'boolean', description: '`delete`: whether the key existed.' },
          found: { type: 'boolean', description: '`expire`, `persist`, `get`: whether the key exists.' },
          size: { ...COUNT, description: '`append`: size of the value in bytes.' },
          value: {
            type: ['integer', 'string'],
            description: '`increment`: the new value. `get`: the value.',
          },
          encoding: {
            type: 'string',
            enum: ['utf8', 'base64'],
            description: '`get`: how `value` is written.',
          },
        },
      },
    },
    position,
    acks,
    durable,
  },
} as const;

export const batchQuery = {
  type: 'object',
  additionalProperties: false,
  properties: {
    ...acksParameters,
    position: waitParameters.position,
    timeout: {
      ...timeout,
      description: 'How long to wait for `position`, and then for `acks` and `durable`, in milliseconds.',
    },
  },
} as const;
