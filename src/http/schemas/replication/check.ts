/** Schema of `/v1/replication/check`. */
import { FULL_RESYNC_REASONS } from '../../../replication/decide.ts';
import { COUNT, historyHash, position, positionParameter } from '../common/members.ts';
import { PARTIAL_PATTERN } from '../common/patterns.ts';

export const check = {
  $id: 'Check',
  examples: [
    { decision: 'continue', reason: null, bytes: 53, resumedBytes: 0, notNow: null },
    { decision: 'full-resync', reason: 'behind-backlog', bytes: 24_576, resumedBytes: 0, notNow: null },
  ],
  type: 'object',
  required: ['decision', 'reason', 'bytes', 'resumedBytes', 'notNow'],
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
        'Number of bytes that the replica lacks; for a full resync: the approximate size of the snapshot, or exactly the rest of it ' +
        'that would be sent, and the stream behind it.',
    },
    resumedBytes: {
      ...COUNT,
      description:
        'Number of the first bytes of the snapshot that the replica has and would not be sent again; 0: it would be sent as a whole, or is not needed.',
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
    snapshot: {
      type: 'string',
      pattern: PARTIAL_PATTERN,
      description:
        'The part of a snapshot that the replica has from a connection that broke, as it announces it: `upstream.keptSnapshot.announced` ' +
        'in its `/v1/replication`.',
    },
    hash: { type: historyHash.type, pattern: historyHash.pattern, description: historyHash.description },
  },
} as const;
