/** Schema of `/v1/replication`: the state of replication. */
import { FULL_RESYNC_REASONS } from '../../replication/decide.ts';
import { LINEAGE_REASONS } from '../../replication/history.ts';
import { EXAMPLE_MASTER, EXAMPLE_REPLICA, EXAMPLE_RUN_ID } from './examples.ts';
import { COUNT, historyHash, position, RUN_ID, syncReason } from './members.ts';

export const replication = {
  $id: 'Replication',
  examples: [EXAMPLE_MASTER, EXAMPLE_REPLICA],
  type: 'object',
  required: [
    'role',
    'nodeId',
    'runId',
    'offset',
    'position',
    'historyHash',
    'lineage',
    'backlog',
    'upstream',
    'replicas',
    'failover',
    'kept',
    'verified',
    'counters',
    'feed',
  ],
  properties: {
    role: { type: 'string', enum: ['master', 'replica'] },
    nodeId: {
      type: 'string',
      description: 'Names this process: what is the same node under two addresses has the same.',
      examples: [EXAMPLE_RUN_ID],
    },
    runId: RUN_ID,
    offset: { ...COUNT, description: 'How many bytes of the stream have been applied.' },
    position,
    historyHash: {
      type: ['string', 'null'],
      pattern: historyHash.pattern,
      description:
        'A hash over all bytes of the stream up to `position`: two nodes that have the same hold the same. Null: not known, ' +
        'because the data came from a psyncd that kept none, or from such a master.',
    },
    lineage: {
      type: 'array',
      description: 'The run IDs that this history grew out of, newest first.',
      items: {
        type: 'object',
        required: ['runId', 'validTo', 'reason', 'at'],
        properties: {
          runId: RUN_ID,
          validTo: { ...COUNT, description: 'The offset up to which that history is shared.' },
          reason: { type: 'string', enum: LINEAGE_REASONS },
          at: { type: 'integer', description: 'Milliseconds since 1970.' },
        },
      },
    },
    backlog: {
      type: 'object',
      description: 'The last bytes of the stream; what a partial resync is served from. Bytes count from 1.',
      required: ['size', 'firstOffset', 'length'],
      properties: { size: COUNT, firstOffset: COUNT, length: COUNT },
    },
    upstream: {
      type: ['object', 'null'],
      description: 'The master that this node follows; null: it is one.',
      required: ['url', 'state'],
      properties: {
        url: { type: 'string', description: 'Where this node dials it.' },
        announcedUrl: {
          type: 'string',
          description:
            'Where the master says that clients reach it (`--announce-url`): writes are redirected there.',
        },
        state: {
          type: 'string',
          enum: ['connecting', 'handshake', 'snapshot', 'streaming', 'waiting', 'refused'],
        },
        detail: { type: 'string', description: 'What went wrong last.' },
        lastSync: {
          type: 'object',
          required: ['kind', 'reason', 'bytes', 'durationMs'],
          properties: {
            kind: { type: 'string', enum: ['full', 'partial'] },
            reason: { type: ['string', 'null'], description: 'Of a full resync.' },
            bytes: {
              type: ['integer', 'null'],
              description:
                "The snapshot's size, or the bytes that were lacking; null: the master did not tell.",
            },
            durationMs: COUNT,
          },
        },
        progress: {
          type: 'object',
          description: 'While a snapshot arrives: bytes.',
          required: ['received', 'total'],
          properties: { received: COUNT, total: COUNT },
        },
        lastIoAgeMs: { ...COUNT, description: 'How long nothing has been heard of the master.' },
        downMs: { ...COUNT, description: 'While it is not streaming: since when.' },
        guarded: {
          type: 'boolean',
          description:
            'A full resync would replace this node’s data by nothing, and waits for `POST /v1/replication/accept`.',
        },
      },
    },
    replicas: {
      type: 'array',
      items: {
        type: 'object',
        required: ['id', 'peer', 'state', 'offset', 'lagBytes', 'lagSeconds'],
        properties: {
          id: { type: 'string' },
          url: { type: 'string', description: 'Where the replica says that it can be reached.' },
          peer: { type: 'string', description: 'Where the connection comes from.' },
          state: { type: 'string', enum: ['handshake', 'snapshot', 'online'] },
          offset: { ...COUNT, description: 'What it has acknowledged.' },
          lagBytes: COUNT,
          lagSeconds: {
            type: 'number',
            minimum: 0,
            description:
              'How long ago the first byte was committed here that the replica has not acknowledged; 0: it has everything.',
          },
          ackAgeMs: { ...COUNT, description: 'How long ago it acknowledged something.' },
          progress: {
            type: 'object',
            description: 'While a snapshot is sent: bytes.',
            required: ['sent', 'total'],
            properties: { sent: COUNT, total: COUNT },
          },
          sync: {
            type: 'object',
            description: 'How it was last brought up to date.',
            required: ['kind', 'bytes'],
            properties: {
              kind: { type: 'string', enum: ['full', 'partial'] },
              reason: syncReason,
              bytes: { ...COUNT, description: "The snapshot's size, or the bytes that were lacking." },
            },
          },
        },
      },
    },
    goodReplicas: {
      ...COUNT,
      description: 'With `minReplicasToWrite`: how many replicas have acknowledged something lately.',
    },
    failover: {
      type: ['object', 'null'],
      description: 'The hand-over that is going on.',
      required: ['state', 'to'],
      properties: {
        state: { type: 'string', enum: ['waiting-for-sync', 'in-progress'] },
        to: {
          type: ['string', 'null'],
          description: 'The replica; null: the first one that has everything.',
        },
      },
    },
    kept: {
      type: 'array',
      description:
        'Keyspace files that full resyncs on a diverged history have replaced, oldest first: SQLite files in the data folder.',
      items: {
        type: 'object',
        required: ['file', 'position', 'reason', 'at'],
        properties: {
          file: { type: 'string', examples: ['replaced-1-8f3b0c6d-1048576.db'] },
          position,
          reason: { type: ['string', 'null'], description: 'Of the full resync.' },
          at: { type: 'integer', description: 'Milliseconds since 1970.' },
        },
      },
    },
    verified: {
      type: ['object', 'null'],
      description:
        'How a replica was last compared with its master in the background (`--verify-interval`); null: not yet, or it is a master.',
      required: ['at', 'against', 'position', 'equal'],
      properties: {
        at: { type: 'integer', description: 'Milliseconds since 1970.' },
        against: { type: 'string', description: 'The master.' },
        position,
        equal: {
          type: 'boolean',
          description: 'false: this node held other data at the same position, and gets everything anew.',
        },
      },
    },
    counters: {
      type: 'object',
      description: 'Since the process started, counted as Redis counts them.',
      required: ['syncFull', 'syncPartialOk', 'syncPartialErr'],
      properties: { syncFull: COUNT, syncPartialOk: COUNT, syncPartialErr: COUNT },
    },
    feed: {
      type: 'object',
      description: 'The followers of `/v1/changes`.',
      required: ['followers', 'behind', 'inSnapshot', 'counters'],
      properties: {
        followers: { ...COUNT, description: 'How many are connected.' },
        behind: { ...COUNT, description: 'How many of them read more slowly than is written.' },
        inSnapshot: { ...COUNT, description: 'How many wait for a snapshot, or are being given one.' },
        counters: {
          type: 'object',
          description: 'Since the process started.',
          required: ['continued', 'resets', 'tooFarBehind'],
          properties: {
            continued: { ...COUNT, description: 'Followers that went on from their position.' },
            resets: {
              type: 'object',
              description: 'Snapshots that were begun, by reason.',
              propertyNames: { enum: FULL_RESYNC_REASONS },
              additionalProperties: COUNT,
            },
            tooFarBehind: {
              ...COUNT,
              description: 'Followers that were let go because they lagged too far.',
            },
          },
        },
      },
    },
  },
} as const;
