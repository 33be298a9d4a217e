/** Schema of `/v1/replication/check`. */
import { FULL_RESYNC_REASONS } from '../../replication/decide.ts';
import { COUNT, historyHash, position } from './members.ts';

export const check = {
  $id: 'Check',
  examples: [
    { decision: 'continue', reason: null, bytes: 53, notNow: null },
    { decision: 'full-resync', reason: 'behind-backlog', bytes: 24_576, notNow: null },
  ],
  type: 'object',
  required: ['decision', 'reason', 'bytes', 'notNow'],
  properties: {
    decision: { type: 'string', enum: ['continue', 'full-resync'] },
    reason: {
      type: ['string', 'null'],
      description: 'Of a full resync.',
      enum: [...FULL_RESYNC_REASONS, null],
    },
    bytes: { ...COUNT, description: 'How many bytes are lacking; of a full resync: of the snapshot, about.' },
    notNow: {
      type: ['string', 'null'],
      description: 'The node is a replica that is not connected, and would say this until it is.',
    },
  },
} as const;

export const checkQuery = {
  type: 'object',
  additionalProperties: false,
  properties: { position, hash: historyHash },
} as const;
