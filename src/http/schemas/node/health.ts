/** Schemas of `/healthz` and `/readyz`. */
import { MAX_LAG_PATTERN } from '../common/patterns.ts';

export const health = {
  $id: 'Health',
  examples: [{ status: 'ok' }],
  type: 'object',
  required: ['status'],
  properties: { status: { type: 'string', enum: ['ok', 'ready'] } },
} as const;

export const readinessQuery = {
  type: 'object',
  additionalProperties: false,
  properties: {
    role: {
      type: 'string',
      enum: ['master', 'replica', 'any'],
      default: 'any',
      description: 'The node must have this role.',
    },
    maxLag: {
      type: 'string',
      pattern: MAX_LAG_PATTERN,
      description:
        'A replica may be behind its master by this time, also without a link to it, or lack so many bytes that its master has; ' +
        'with a unit, such as `5s`: `ms`, `s`, `m`, `h`, `b`, `kb`, `mb` or `gb`. Without it the link must be up.',
    },
  },
} as const;
