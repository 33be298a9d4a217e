/** Schema of the part of a snapshot that a replica keeps, in `/v1/replication`. */
import { COUNT, position } from '../common/members.ts';

export const keptSnapshot = {
  type: 'object',
  description: 'The part of a snapshot that this node keeps from a connection that broke; absent: none.',
  required: ['position', 'length', 'bytes', 'announced'],
  properties: {
    position,
    length: { ...COUNT, description: 'Bytes of the whole snapshot.' },
    bytes: { ...COUNT, description: 'Number of its first bytes that are here.' },
    announced: {
      type: ['string', 'null'],
      description:
        'What the next connection announces, and `snapshot` of `/v1/replication/check` takes. Null: as with `historyHash` the token ' +
        'may not know it.',
    },
  },
} as const;
