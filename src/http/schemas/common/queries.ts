/** Queries that many routes share: waiting for a position, and waiting for acknowledgements. */
import type { Described } from './described.ts';
import { positionParameter } from './members.ts';

/** Longest wait that a request may ask for, and the default, in milliseconds. */
const MAX_TIMEOUT_MS = 600_000;
const TIMEOUT_MS = 5_000;

/** How long a request waits, without a description of what for. */
export const timeout = {
  type: 'integer',
  minimum: 0,
  maximum: MAX_TIMEOUT_MS,
  default: TIMEOUT_MS,
} as const;

/** Query parameters of every read; the request header `Psync-Position` does the same as `position`. */
export const waitParameters = {
  position: {
    ...positionParameter,
    description:
      'Answer when this node has reached the position: what a write was answered with is there then. 412 if it is not ' +
      "on this node's history; 503 when time is up. The header `Psync-Position` does the same.",
  },
  timeout: { ...timeout, description: 'How long to wait for `position`, in milliseconds.' },
} as const;

/** Query of a read that has no other parameters. */
export const waitQuery = { type: 'object', additionalProperties: false, properties: waitParameters } as const;
export type WaitQuery = Described<typeof waitQuery>;

/** Query parameters of every write. */
export const acksParameters = {
  acks: {
    type: 'integer',
    minimum: 0,
    maximum: 1_000,
    description:
      'Answer when so many replicas have the write in their journals. If they have not when time is up, the answer is ' +
      '202 and tells how many have; it is written either way. If too many writes wait already it is 429, and nothing is written.',
  },
  durable: {
    type: 'boolean',
    description:
      'Answer when this node, and as many replicas as `acks` says, have the write on their disks, whatever `--fsync` says; otherwise 202.',
  },
  timeout: { ...timeout, description: 'How long to wait for `acks` and `durable`, in milliseconds.' },
} as const;

/** Query of a write that has no other parameters. */
export const acksQuery = { type: 'object', additionalProperties: false, properties: acksParameters } as const;
export type AcksQuery = Described<typeof acksQuery>;

/** Query parameter of calls that concern only some keys. */
export const prefix = {
  type: 'string',
  description: 'Only keys that begin with this text, such as `user:`.',
} as const;
