/** Schemas of `/v1/writes/hold`. */
import { MAX_HOLD_MS } from '../../../node/write/write-hold.ts';

export const holdRequest = {
  $id: 'HoldRequest',
  examples: [{ ms: 5_000 }],
  type: 'object',
  additionalProperties: false,
  required: ['ms'],
  properties: {
    ms: {
      type: 'integer',
      minimum: 1,
      maximum: MAX_HOLD_MS,
      description: 'Milliseconds from now on, whatever is left of an earlier hold.',
    },
  },
} as const;

export const writeHold = {
  $id: 'WriteHold',
  examples: [{ remainingMs: 5_000 }],
  type: 'object',
  required: ['remainingMs'],
  properties: {
    remainingMs: {
      type: 'integer',
      minimum: 0,
      description: 'Milliseconds until the node carries out writes again; 0: it does.',
    },
  },
} as const;
