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
    'failing',
  ],
  properties: {
    position: {
      type: ['string', 'null'],
      description: 'The archive has the stream up to here; null: the node has not asked the target yet.',
      examples: [EXAMPLE_POSITION],
    },
    at: {
      type: ['integer', 'null'],
      description:
        'When the last byte there was written at the latest, in milliseconds since 1970; null: unknown, as when that was before the start.',
    },
    lagBytes: { ...COUNT, description: 'Bytes of the stream that the archive does not have.' },
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
    restarts: { ...COUNT, description: 'How often it began anew with a new backup, and got a gap.' },
    failing,
  },
} as const;
