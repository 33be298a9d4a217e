/** Schemas of the calls that change the role of a node: `/v1/replication/upstream` and `/v1/replication/failover`. */
import { EXAMPLE_POSITION } from './examples.ts';
import { COUNT, position } from './members.ts';

export const failoverRequest = {
  $id: 'FailoverRequest',
  examples: [{ to: 'ws://127.0.0.1:7797', timeoutMs: 10_000 }, {}],
  type: 'object',
  additionalProperties: false,
  properties: {
    to: {
      type: 'string',
      maxLength: 2048,
      description: 'The replica that is to become the master; without it, the first one that has everything.',
    },
    timeoutMs: {
      type: 'integer',
      minimum: 1,
      maximum: 3_600_000,
      default: 10_000,
      description:
        'How long writes may be held. When it is up before a target had everything, nothing has happened.',
    },
  },
} as const;

export const failoverResult = {
  $id: 'FailoverResult',
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
    position: { ...position, description: 'Where this node stands, under the run ID of the new master.' },
    heldMs: { ...COUNT, description: 'How long writes were held.' },
    replicas: {
      type: 'array',
      items: { type: 'string' },
      description:
        'Replicas that go on following this node, as a chain; they can be pointed at the new master.',
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
    url: { type: 'string', maxLength: 2048, description: 'Of the master: `ws://HOST:PORT`.' },
  },
} as const;
