/** Schema of `/v1/digest`. */
import { MAX_NODE_URL_LENGTH } from '../../../replication/upstream.ts';
import { EXAMPLE_POSITION } from '../common/examples.ts';
import { COUNT, position } from '../common/members.ts';
import { waitParameters, waitQuery } from '../common/queries.ts';

export const digest = {
  $id: 'Digest',
  examples: [{ position: EXAMPLE_POSITION, keys: 171000, digest: '0f343b0931126a20f133d67c2b018a3b' }],
  type: 'object',
  required: ['position', 'keys', 'digest'],
  properties: {
    position,
    keys: { ...COUNT, description: 'Number of entries.' },
    digest: {
      type: 'string',
      pattern: '^[0-9a-f]{32}$',
      description:
        'Hash over key, value and expiry of all entries. It is equal on all nodes at the same position.',
    },
    against: {
      type: 'object',
      description: 'With `against`: what the other node holds at the same position.',
      required: ['url', 'position', 'keys', 'digest'],
      properties: {
        url: { type: 'string' },
        position,
        keys: COUNT,
        digest: { type: 'string', pattern: '^[0-9a-f]{32}$' },
      },
    },
    equal: {
      type: 'boolean',
      description:
        'With `against`: whether both nodes hold the same data. If not, one of them is wrong: stop it and look at it.',
    },
  },
} as const;

export const digestQuery = {
  ...waitQuery,
  properties: {
    ...waitParameters,
    timeout: {
      ...waitParameters.timeout,
      description:
        'How long to wait for `position`, in milliseconds; and, with `against`, how long the comparison may take: both nodes read ' +
        'all of their entries for it, some 100,000 a second.',
    },
    against: {
      type: 'string',
      maxLength: MAX_NODE_URL_LENGTH,
      description:
        'Another node, `http://HOST:PORT` or `ws://HOST:PORT`, such as `http://127.0.0.1:7797`: compare with it.',
    },
  },
} as const;
