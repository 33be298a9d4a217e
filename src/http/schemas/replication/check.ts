/** Schema of `/v1/replication/check`. */
import { FULL_RESYNC_REASONS } from '../../../replication/decide.ts';
import { COUNT, historyHash, position, positionParameter } from '../common/members.ts';

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
      description: 'Reason of a full resync; null for a partial one.',
      enum: [...FULL_RESYNC_REASONS, null],
    },
    bytes: {
      ...COUNT,
      description:
        'Number of bytes that the replica lacks; for a full resync: the approximate size of the snapshot.',
    },
    notNow: {
      type: ['string', 'null'],
      description:
        'What the node would answer now, because it is a replica without a connection to its master; null: it would decide.',
    },
  },
} as const;

export const checkQuery = {
  type: 'object',
  additionalProperties: false,
  properties: {
    position: { ...positionParameter, description: position.description },
    hash: { type: historyHash.type, pattern: historyHash.pattern, description: historyHash.description },
  },
} as const;
