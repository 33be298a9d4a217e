/** Schemas of `/v1/replication/sessions`. */
import { SESSION_EVENTS } from '../../../node/session/session-log.ts';
import { EXAMPLE_SESSIONS } from '../common/examples.ts';

export const sessions = {
  $id: 'Sessions',
  examples: [EXAMPLE_SESSIONS],
  type: 'object',
  required: ['sessions'],
  properties: {
    sessions: {
      type: 'array',
      description:
        'Sessions of the connected replicas, and the last ones that ended, newest first: 64, and 16 of peers that never showed that they may replicate.',
      items: {
        type: 'object',
        required: ['id', 'peer', 'open', 'events'],
        properties: {
          id: { type: 'string' },
          peer: { type: 'string', description: 'Address from which the replica connects.' },
          url: { type: 'string', description: 'URL under which the replica says that other nodes reach it.' },
          open: { type: 'boolean', description: 'Whether the replica is connected.' },
          events: {
            type: 'array',
            description: 'The last 32 events, oldest first.',
            items: {
              type: 'object',
              required: ['at', 'event', 'fields'],
              properties: {
                at: { type: 'integer', description: 'Milliseconds since 1970.' },
                event: { type: 'string', enum: SESSION_EVENTS },
                fields: {
                  type: 'object',
                  description:
                    'Facts of the event: `reason`, `bytes`, `runId`, `asked`, `position`, `code` …',
                  additionalProperties: { type: ['string', 'number'] },
                },
              },
            },
          },
        },
      },
    },
  },
} as const;

export const sessionParams = {
  type: 'object',
  required: ['id'],
  properties: {
    id: { type: 'string', description: 'ID of an open session, as the list shows it.', examples: ['2'] },
  },
} as const;

export const endedSession = {
  $id: 'EndedSession',
  examples: [{ id: '2', ended: true }],
  type: 'object',
  required: ['id', 'ended'],
  properties: { id: { type: 'string' }, ended: { type: 'boolean', const: true } },
} as const;
