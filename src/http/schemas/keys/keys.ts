/** Schemas of `/v1/keys`: what reads and writes of entries take and answer. */
import { EXAMPLE_POSITION } from '../common/examples.ts';
import { acks, COUNT, durable, expiresAt, key, position, version } from '../common/members.ts';
import { INT64_PATTERN } from '../common/patterns.ts';
import { acksParameters, prefix, waitParameters } from '../common/queries.ts';

export const written = {
  $id: 'Written',
  examples: [
    { key: 'greeting', version: 1048576, created: true, expiresAt: null, position: EXAMPLE_POSITION },
  ],
  type: 'object',
  required: ['key', 'version', 'created', 'expiresAt', 'position'],
  properties: {
    key,
    version,
    created: { type: 'boolean', description: 'Whether the key is new.' },
    expiresAt,
    position,
    acks,
    durable,
  },
} as const;

export const appended = {
  $id: 'Appended',
  examples: [{ size: 12, version: 1048576, position: EXAMPLE_POSITION }],
  type: 'object',
  required: ['size', 'version', 'position'],
  properties: {
    size: { ...COUNT, description: 'Size of the value in bytes.' },
    version,
    position,
    acks,
    durable,
  },
} as const;

export const incremented = {
  $id: 'Incremented',
  examples: [{ value: 42, version: 1048576, position: EXAMPLE_POSITION }],
  type: 'object',
  required: ['value', 'version', 'position'],
  properties: {
    value: {
      type: 'integer',
      format: 'int64',
      description: 'The new value. JavaScript rounds it beyond 2^53; `GET` returns all digits.',
    },
    version,
    position,
    acks,
    durable,
  },
} as const;

export const incrementRequest = {
  $id: 'IncrementRequest',
  examples: [{ by: 1 }, { by: '-9223372036854775808' }],
  type: 'object',
  additionalProperties: false,
  properties: {
    by: {
      type: ['integer', 'string'],
      pattern: INT64_PATTERN,
      description: 'Number to add, which may be negative; beyond 2^53 as a string of digits. Default: 1.',
    },
  },
} as const;

export const expiryRequest = {
  $id: 'ExpiryRequest',
  examples: [{ ttl: 60 }, { expiresAt: 1_900_000_000_000 }],
  type: 'object',
  description: 'Exactly one of the two members.',
  additionalProperties: false,
  minProperties: 1,
  maxProperties: 1,
  properties: {
    ttl: {
      type: 'number',
      exclusiveMinimum: 0,
      description: 'Seconds from now; fractions are allowed.',
    },
    expiresAt: { type: 'integer', minimum: 1, description: 'Milliseconds since 1970, in the future.' },
  },
} as const;

export const expiry = {
  $id: 'Expiry',
  examples: [
    { key: 'session:7', expiresAt: 1_900_000_000_000, version: 1048576, position: EXAMPLE_POSITION },
  ],
  type: 'object',
  required: ['key', 'expiresAt', 'version', 'position'],
  properties: { key, expiresAt, version, position, acks, durable },
} as const;

export const mergePatch = {
  $id: 'MergePatch',
  description:
    'Any JSON. An object is merged into the value, null removes a member; everything else replaces it.',
  examples: [{ name: 'Ada', nickname: null }],
} as const;

export const deleted = {
  $id: 'Deleted',
  examples: [{ key: 'greeting', deleted: true, position: EXAMPLE_POSITION }],
  type: 'object',
  required: ['key', 'deleted', 'position'],
  properties: { key, deleted: { type: 'boolean', const: true }, position, acks, durable },
} as const;

export const deletedMany = {
  $id: 'DeletedMany',
  examples: [
    { deleted: 3, position: EXAMPLE_POSITION },
    { deleted: null, position: EXAMPLE_POSITION },
  ],
  type: 'object',
  required: ['deleted', 'position'],
  properties: {
    deleted: {
      type: ['integer', 'null'],
      minimum: 0,
      description: 'Number of deleted entries; null with `all=true`, which does not count them.',
    },
    position,
    acks,
    durable,
  },
} as const;

export const keyPage = {
  $id: 'KeyPage',
  examples: [
    {
      keys: [
        {
          key: 'user:1',
          version: 1048533,
          size: 14,
          expiresAt: null,
          value: '{"name":"Ada"}',
          encoding: 'utf8',
        },
        {
          key: 'user:2',
          version: 1048576,
          size: 2,
          expiresAt: 1_900_000_000_000,
          value: 'AP8=',
          encoding: 'base64',
        },
      ],
      next: 'user:2',
      position: EXAMPLE_POSITION,
    },
  ],
  type: 'object',
  required: ['keys', 'next', 'position'],
  properties: {
    keys: {
      type: 'array',
      items: {
        type: 'object',
        required: ['key', 'version', 'size', 'expiresAt'],
        properties: {
          key,
          version,
          size: { ...COUNT, description: 'Size of the value in bytes.' },
          expiresAt,
          value: { type: 'string', description: 'With `values=true`.' },
          encoding: {
            type: 'string',
            enum: ['utf8', 'base64'],
            description:
              'How `value` is written: text if it is valid UTF-8, unless escapes would more than double it.',
          },
        },
      },
    },
    next: {
      type: ['string', 'null'],
      description:
        'Ask again with `after` = this; null: that was the last page. A page with `next` may have fewer entries than `limit`, or none.',
    },
    position,
  },
} as const;

/** Largest page, in entries. */
const MAX_PAGE = 1_000;

export const listQuery = {
  type: 'object',
  additionalProperties: false,
  properties: {
    prefix,
    after: {
      type: 'string',
      description: 'Only keys after this one: `next` of the page before.',
    },
    limit: {
      type: 'integer',
      minimum: 1,
      maximum: MAX_PAGE,
      default: 100,
      description: 'Largest number of entries of the page.',
    },
    values: { type: 'boolean', default: false, description: 'Whether the page has the values too.' },
    ...waitParameters,
  },
} as const;

export const deleteKeysQuery = {
  type: 'object',
  additionalProperties: false,
  properties: {
    // With an example: one of the two is needed.
    prefix: { ...prefix, minLength: 1, examples: ['user:'] },
    all: {
      type: 'boolean',
      description: 'Delete every entry. It cannot be combined with `prefix`.',
    },
    ...acksParameters,
  },
} as const;

export const putQuery = {
  type: 'object',
  additionalProperties: false,
  properties: {
    ttl: {
      type: 'number',
      description: 'Seconds until it expires; fractions are allowed.',
    },
    ...acksParameters,
  },
} as const;

/** Part of the path of one entry. */
export const keyParams = keyOf('greeting');

/**
 * The same with another key as the example, which a page that shows the API fills in: the example of an operation is a key whose
 * value it can be for.
 */
export function keyOf(example: string) {
  return {
    type: 'object',
    required: ['key'],
    properties: {
      key: {
        type: 'string',
        description:
          'At most 1,024 bytes of UTF-8, percent-encoded. Slashes may stand as they are, but for a key that ends with ' +
          '`/increment`, `/append` or `/expiry`.',
        examples: [example],
      },
    },
  } as const;
}
