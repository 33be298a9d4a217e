/** Schemas of the calls that change the role of a node: `/v1/replication/upstream` and `/v1/replication/failover`. */
import { EXAMPLE_POSITION } from '../common/examples.ts';
import { COUNT, position } from '../common/members.ts';

export const failoverRequest = {
  $id: 'FailoverRequest',
  examples: [{ to: 'ws://127.0.0.1:7797', timeoutMs: 10_000 }, {}],
  type: 'object',
  additionalProperties: false,
  properties: {
    to: {
      type: 'string',
      maxLength: 2048,
      description:
        'URL of the replica that becomes the master. Without it, the first replica that has everything; if the node needs tokens or has ' +
        'one to show (`--upstream-token-file`), of those that have shown that same token.',
    },
    timeoutMs: {
      type: 'integer',
      minimum: 1,
      maximum: 3_600_000,
      default: 10_000,
      description:
        'Milliseconds for which the node may hold writes. If no target has everything by then, nothing changes.',
    },
  },
} as const;

export const failoverResult = {
  // Some generators name the result of the operation `failover` FailoverResult.
  $id: 'HandedOver',
  examples: [
    {
      master: 'ws://127.0.0.1:7797',
      position: EXAMPLE_POSITION,
      heldMs: 12,
      replicas: ['ws://127.0.0.1:7798'],
    },
  ],
  type: 'object',
  required: ['master', 'position', 'heldMs', 'replicas'],
  properties: {
    master: { type: 'string', description: 'The new master; this node follows it.' },
    position: { ...position, description: 'Position of this node, under the run ID of the new master.' },
    heldMs: { ...COUNT, description: 'Milliseconds for which writes were held.' },
    replicas: {
      type: 'array',
      items: { type: 'string' },
      description:
        'Replicas that still follow this node, as a chain. They can be told to follow the new master.',
    },
  },
} as const;

export const upstreamRequest = {
  $id: 'UpstreamRequest',
  examples: [{ url: 'ws://127.0.0.1:7796' }],
  type: 'object',
  required: ['url'],
  additionalProperties: false,
  properties: {
    url: { type: 'string', maxLength: 2048, description: 'URL of the master, `ws://HOST:PORT`.' },
  },
} as const;
