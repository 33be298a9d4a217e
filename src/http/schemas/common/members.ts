/** Members that several schemas have. */
import { FULL_RESYNC_REASONS } from '../../../replication/decide.ts';
import { EXAMPLE_POSITION, EXAMPLE_RUN_ID } from './examples.ts';
import { HISTORY_HASH_PATTERN, POSITION_PATTERN, RUN_ID_PATTERN } from './patterns.ts';

export const RUN_ID = {
  type: 'string',
  pattern: RUN_ID_PATTERN,
  description: 'Name of one history of writes.',
  examples: [EXAMPLE_RUN_ID],
} as const;
export const COUNT = { type: 'integer', minimum: 0 } as const;

export const position = {
  type: 'string',
  pattern: POSITION_PATTERN,
  description: 'A position in the stream: `<run ID>:<offset>`.',
  examples: [EXAMPLE_POSITION],
} as const;

/**
 * A position that a request may bring. Without an example, as every parameter that may be left out: pages that show the API
 * send examples, and most requests with this one would wait or fail.
 */
export const positionParameter = { type: 'string', pattern: POSITION_PATTERN } as const;

export const historyHash = {
  type: 'string',
  pattern: HISTORY_HASH_PATTERN,
  description:
    'Hash over all bytes of the stream up to a position. Two nodes with the same hash hold the same data.',
  examples: ['5bd1e995a2c4f037'],
} as const;

export const key = {
  type: 'string',
  minLength: 1,
  description: 'At most 1,024 bytes of UTF-8.',
  examples: ['user:1'],
} as const;

export const version = {
  type: 'integer',
  minimum: 1,
  description: 'Offset of the end of the command that last set the entry. It is also the ETag.',
} as const;

export const expiresAt = {
  type: ['integer', 'null'],
  description: 'When the entry expires, in milliseconds since 1970; null: never.',
} as const;

/** How many replicas have a write, in the answer to one that asked. */
export const acks = {
  ...COUNT,
  description:
    'With `acks`: number of replicas that have the write in their journals; with `durable`: on their disks.',
} as const;

/** Whether this node has a write on its disk, in the answer to one that asked. */
export const durable = {
  type: 'boolean',
  description: 'With `durable`: whether this node has the write on its disk.',
} as const;

/** Reason of a full resync. */
export const syncReason = { type: 'string', enum: FULL_RESYNC_REASONS } as const;
