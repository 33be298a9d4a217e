/** Schemas of `/v1/diff`. */
import { KEY_CHANGES } from '../../../node/upkeep/diff/touched-keys.ts';
import { EXAMPLE_POSITION, EXAMPLE_RUN_ID } from '../common/examples.ts';
import { key, position, positionParameter, version } from '../common/members.ts';
import { prefix, waitParameters } from '../common/queries.ts';

/** Largest number of keys of a page, and the default: each page reads the stream anew. */
const MAX_CHANGES = 1_000;

export const difference = {
  $id: 'Difference',
  examples: [
    {
      from: `${EXAMPLE_RUN_ID}:1048000`,
      to: EXAMPLE_POSITION,
      flushed: null,
      changes: [
        { key: 'user:1', change: 'changed', version: 1_048_211 },
        { key: 'user:2', change: 'added', version: 1_048_301 },
        { key: 'user:3', change: 'removed', version: null },
      ],
      next: null,
    },
  ],
  type: 'object',
  required: ['from', 'to', 'flushed', 'changes', 'next'],
  properties: {
    from: position,
    to: { ...position, description: 'The position of the question, or that of the node if it named none.' },
    flushed: {
      type: ['string', 'null'],
      pattern: position.pattern,
      description:
        'Position of the last deletion of all entries in between, FLUSHALL. The keys that were there before it and are not in ' +
        '`changes` are removed too; the node does not know which. null: there is none.',
    },
    changes: {
      type: 'array',
      description:
        'In the order of the UTF-8 bytes of the keys. Keys that are the same at both positions are not in it.',
      items: {
        type: 'object',
        required: ['key', 'change', 'version'],
        properties: {
          key,
          change: {
            type: 'string',
            enum: KEY_CHANGES,
            description:
              '`added`, `changed`, or `removed`. `added-or-changed`: there now, and the stream that the node still has does not say ' +
              'whether it was there at `from`. `removed-or-passing`: not there now, and it does not say whether it was there at `from`, ' +
              'or came and went in between. A key counts as changed if it was written, also with the value that it had.',
          },
          version: {
            ...version,
            type: ['integer', 'null'],
            description: 'Version of the entry at `to`; null: it is removed, or only its expiry was changed.',
          },
        },
      },
    },
    next: {
      type: ['string', 'null'],
      description:
        '`after` of the next page; ask with the same `from`, and with `to` of this page. null: this is the last one.',
    },
  },
} as const;

export const diffQuery = {
  type: 'object',
  additionalProperties: false,
  required: ['from'],
  properties: {
    from: {
      ...position,
      description:
        'What has changed since this position? A position of an older run ID of the lineage is as good.',
    },
    to: { ...positionParameter, description: 'And until this one. Absent: until now.' },
    prefix,
    after: {
      type: 'string',
      description: 'Only keys after this one: `next` of the page before. It needs `to`.',
    },
    limit: {
      type: 'integer',
      minimum: 1,
      maximum: MAX_CHANGES,
      default: MAX_CHANGES,
      description: 'Largest number of keys of the page. A page may have fewer although there is a next one.',
    },
    ...waitParameters,
  },
} as const;
