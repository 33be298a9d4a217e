/** Schema of `/healthz` and `/readyz`. */

export const health = {
  $id: 'Health',
  examples: [{ status: 'ok' }],
  type: 'object',
  required: ['status'],
  properties: { status: { type: 'string', enum: ['ok', 'ready'] } },
} as const;
