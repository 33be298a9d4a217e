/** Schema of `/v1/replication/backlog`. */
import { EXAMPLE_BACKLOG } from '../common/examples.ts';
import { COUNT, position, syncReason } from '../common/members.ts';

export const backlogReport = {
  $id: 'BacklogReport',
  examples: [EXAMPLE_BACKLOG],
  type: 'object',
  required: [
    'position',
    'size',
    'firstOffset',
    'length',
    'auto',
    'rate',
    'historySeconds',
    'coversSeconds',
    'outages',
    'advice',
  ],
  properties: {
    position,
    size: { ...COUNT, description: 'Largest number of bytes that the backlog holds.' },
    firstOffset: { ...COUNT, description: 'First byte that the backlog holds, counted from 1.' },
    length: { ...COUNT, description: 'Number of bytes that the backlog holds.' },
    auto: {
      type: ['object', 'null'],
      description: 'With `--backlog-size auto:TIME`: what the size follows; null: it is fixed.',
      required: ['awaySeconds', 'floor', 'ceiling'],
      properties: { awaySeconds: { type: 'number' }, floor: COUNT, ceiling: COUNT },
    },
    rate: {
      type: 'object',
      description:
        'Bytes written a second: the mean of the last ten seconds, and of the busiest ten of ten minutes.',
      required: ['current', 'peak'],
      properties: { current: COUNT, peak: COUNT },
    },
    historySeconds: {
      type: 'number',
      minimum: 0,
      description:
        'Seconds since the oldest byte of the backlog was committed; after a restart: since the start.',
    },
    coversSeconds: {
      type: ['number', 'null'],
      description: 'Seconds that a full backlog lasts at the peak rate; null: nothing was written lately.',
    },
    outages: {
      type: 'array',
      description: 'Replicas that lost their connection and came back, newest first.',
      items: {
        type: 'object',
        required: ['replica', 'at', 'awayMs', 'bytes', 'kind'],
        properties: {
          replica: { type: 'string', description: 'Where it can be reached, or where it came from.' },
          at: {
            type: 'integer',
            description: 'Time at which the replica came back, in milliseconds since 1970.',
          },
          awayMs: COUNT,
          bytes: { ...COUNT, description: 'Number of bytes that were written meanwhile.' },
          kind: { type: 'string', enum: ['full', 'partial'] },
          reason: syncReason,
        },
      },
    },
    advice: {
      type: 'object',
      description:
        'The rule: seconds that a replica may be away, times the bytes written a second at the peak.',
      required: ['awaySeconds', 'size', 'enough', 'text'],
      properties: {
        awaySeconds: { type: 'number' },
        size: { ...COUNT, description: 'Size in bytes that the backlog should have.' },
        enough: {
          type: 'boolean',
          description: 'Whether the backlog has that size, or `--journal-keep` keeps as much.',
        },
        text: { type: 'string', description: 'The same for people.' },
      },
    },
  },
} as const;

export const backlogQuery = {
  type: 'object',
  additionalProperties: false,
  properties: {
    seconds: {
      type: 'number',
      exclusiveMinimum: 0,
      maximum: 86_400,
      description: 'What the advice is for; without it: the longest outage that was seen, or 60 s.',
    },
  },
} as const;
