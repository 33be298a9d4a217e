/** Schema of the archive of the stream, in `/v1/replication`. */
import { EXAMPLE_POSITION } from '../common/examples.ts';
import { COUNT } from '../common/members.ts';
import { failing } from './backups.ts';

export const archive = {
  type: ['object', 'null'],
  description: 'The archive of the stream (`--archive-to`); null: this node archives nothing.',
  required: [
    'position',
    'at',
    'lagBytes',
    'hasBase',
    'isWhole',
    'lastSuccessAt',
    'failures',
    'restarts',
    'gap',
    'failing',
  ],
  properties: {
    position: {
      type: ['string', 'null'],
      description:
        'The stream can be restored up to here; null: nothing is known that can, as before the target has answered, and before it has the first backup.',
      examples: [EXAMPLE_POSITION],
    },
    at: {
      type: ['integer', 'null'],
      description:
        'When the last byte there was written at the latest, in milliseconds since 1970; null: unknown, as when that was before the start.',
    },
    lagBytes: {
      ...COUNT,
      description:
        'Bytes of the stream after what can be restored: without a backup in front of them, also those that the target has. Before the target has answered, those that it may lack.',
    },
    hasBase: {
      type: 'boolean',
      description:
        'Whether a backup is in front of the segments; without one, nothing can be restored of them.',
    },
    isWhole: {
      type: 'boolean',
      description: 'Whether it has a backup and everything after it, up to the last byte.',
    },
    lastSuccessAt: {
      type: ['integer', 'null'],
      description:
        'When the archive last got something, or had everything, in milliseconds since 1970; null: not since the start.',
    },
    failures: { ...COUNT, description: 'Number of failures since the start.' },
    restarts: {
      ...COUNT,
      description:
        'Number of gaps since the start. The archive begins anew after each, with a new backup; until that is there, the same gap grows.',
    },
    gap: {
      type: ['object', 'null'],
      description:
        'The last gap since the start, of which nothing can be restored unless another node has archived it; null: there was none.',
      required: ['after', 'to', 'at'],
      properties: {
        after: {
          type: ['string', 'null'],
          description: 'The last position before it that can be restored; null: nothing before it can.',
          examples: [EXAMPLE_POSITION],
        },
        to: {
          type: ['string', 'null'],
          description: 'The position of the backup that ends it; null: the target does not have that yet.',
          examples: [EXAMPLE_POSITION],
        },
        at: {
          type: 'integer',
          description: 'When the archive began anew, in milliseconds since 1970.',
        },
      },
    },
    failing,
  },
} as const;
