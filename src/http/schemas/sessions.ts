/** Schema of `/v1/replication/sessions`. */
import { SESSION_EVENTS } from '../../node/session/session-log.ts';
import { EXAMPLE_SESSIONS } from './examples.ts';

export const sessions = {
  $id: 'Sessions',
  examples: [EXAMPLE_SESSIONS],
  type: 'object',
  required: ['sessions'],
  properties: {
    sessions: {
      type: 'array',
      description: 'Of replicas that are connected, and the last 64 that were, newest first.',
      items: {
        type: 'object',
        required: ['id', 'peer', 'open', 'events'],
        properties: {
          id: { type: 'string' },
          peer: { type: 'string', description: 'Where the connection comes from.' },
          url: { type: 'string', description: 'Where the replica says that it can be reached.' },
          open: { type: 'boolean', description: 'It is connected.' },
          events: {
            type: 'array',
            description: 'The last 32, oldest first.',
            items: {
              type: 'object',
              required: ['at', 'event', 'fields'],
              properties: {
                at: { type: 'integer', description: 'Milliseconds since 1970.' },
                event: { type: 'string', enum: SESSION_EVENTS },
                fields: {
                  type: 'object',
                  description: 'What it is about: `reason`, `bytes`, `runId`, `asked`, `position`, `code` …',
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
