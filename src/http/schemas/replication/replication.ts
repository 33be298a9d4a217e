/** Schema of `/v1/replication`: the state of replication. */
import { FULL_RESYNC_REASONS } from '../../../replication/decide.ts';
import { LINEAGE_REASONS } from '../../../replication/history.ts';
import { EXAMPLE_MASTER, EXAMPLE_REPLICA, EXAMPLE_RUN_ID } from '../common/examples.ts';
import { COUNT, historyHash, position, RUN_ID, syncReason } from '../common/members.ts';
import { NODE_IDS_PATTERN } from '../common/patterns.ts';
import { archive } from './archive.ts';
import { backups } from './backups.ts';
import { keptSnapshot } from './kept-snapshot.ts';

/** Query of `/v1/replication`. */
export const replicationQuery = {
  type: 'object',
  additionalProperties: false,
  properties: {
    asked: {
      type: 'string',
      pattern: NODE_IDS_PATTERN,
      description:
        'Asks for `masters` too. Nodes send it to find circles: the node IDs of those that ask each other, with commas between them.',
    },
  },
} as const;

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
    'window',
    'upstream',
    'replicas',
    'failover',
    'writes',
    'kept',
    'verified',
    'backups',
    'archive',
    'counters',
    'countersResetAt',
    'feed',
  ],
  properties: {
    role: { type: 'string', enum: ['master', 'replica'] },
    nodeId: {
      type: 'string',
      description: 'Name of this process. Two addresses with the same name are one node.',
      examples: [EXAMPLE_RUN_ID],
    },
    runId: RUN_ID,
    offset: { ...COUNT, description: 'Number of bytes of the stream that this node has applied.' },
    position,
    historyHash: {
      type: ['string', 'null'],
      pattern: historyHash.pattern,
      description:
        'Hash over all bytes of the stream up to `position`. Two nodes with the same hash hold the same data. Null: unknown, ' +
        'because the data came from a psyncd that kept none, or from such a master; or the token has neither `replicate` nor `read` for all keys.',
    },
    lineage: {
      type: 'array',
      description: 'Run IDs of the earlier histories that this history continues, newest first.',
      items: {
        type: 'object',
        required: ['runId', 'validTo', 'reason', 'at'],
        properties: {
          runId: RUN_ID,
          validTo: { ...COUNT, description: 'Offset up to which both histories have the same bytes.' },
          reason: { type: 'string', enum: LINEAGE_REASONS },
          at: { type: 'integer', description: 'Milliseconds since 1970.' },
        },
      },
    },
    backlog: {
      type: 'object',
      description:
        'Last bytes of the stream, in memory, from which this node serves partial resyncs. Bytes count from 1.',
      required: ['size', 'firstOffset', 'length'],
      properties: { size: COUNT, firstOffset: COUNT, length: COUNT },
    },
    window: {
      type: 'object',
      description:
        'The bytes from which this node serves partial resyncs: the backlog, and before it what `--journal-keep` keeps on the disk. They begin behind what was found damaged.',
      required: ['firstOffset', 'length'],
      properties: { firstOffset: COUNT, length: COUNT },
    },
    upstream: {
      type: ['object', 'null'],
      description: 'The master that this node follows; null: this node is a master.',
      required: ['url', 'state'],
      properties: {
        url: { type: 'string', description: 'URL that this node dials.' },
        announcedUrl: {
          type: 'string',
          description:
            'URL that the master announces to clients (`--public-url`, else `--announce-url`). This node redirects writes there.',
        },
        state: {
          type: 'string',
          enum: [
            'connecting',
            'handshake',
            'snapshot',
            'streaming',
            'waiting',
            'refused',
            'unauthorized',
            'tls',
          ],
          description:
            '`unauthorized`: the master wants a token, or another one (`--upstream-token-file`). `tls`: the two nodes do not agree on ' +
            'TLS, or one does not trust the certificate of the other (`--upstream-ca`, `--upstream-cert`).',
        },
        detail: { type: 'string', description: 'The last error of the link.' },
        lastSync: {
          type: 'object',
          required: ['kind', 'reason', 'bytes', 'durationMs'],
          properties: {
            kind: { type: 'string', enum: ['full', 'partial'] },
            reason: {
              type: ['string', 'null'],
              description: 'Reason of a full resync; null for a partial one.',
            },
            bytes: {
              type: ['integer', 'null'],
              description:
                'Size of the snapshot, or of the part of the stream that this node lacked; null: the master did not say.',
            },
            durationMs: COUNT,
            resumedBytes: {
              ...COUNT,
              description:
                'Bytes of the snapshot that had come on connections before, which broke; absent: none.',
            },
          },
        },
        progress: {
          type: 'object',
          description: 'Bytes of the snapshot, while it arrives.',
          required: ['received', 'total'],
          properties: { received: COUNT, total: COUNT },
        },
        keptSnapshot,
        lastIoAgeMs: { ...COUNT, description: 'Milliseconds since this node last heard from the master.' },
        downMs: {
          ...COUNT,
          description: 'Milliseconds since the link stopped streaming, while it does not stream.',
        },
        guarded: {
          type: 'boolean',
          description:
            'Whether a full resync that would replace the data of this node by nothing waits for `POST /v1/replication/accept`.',
        },
        handsOverTo: {
          type: ['string', 'null'],
          description:
            'Present while this node asks the other one to become the master: the `nodeId` of that one; null: not known yet. A replica ' +
            'takes over only if its own master names it here.',
        },
      },
    },
    openToAll: {
      type: 'boolean',
      description:
        'In the answer to GET: whether everybody may do everything, without tokens or certificates. No node that needs some hands over to it.',
    },
    masters: {
      type: 'array',
      description:
        'With `asked`: the masters above this node, the nearest first. Each node asks the one that it follows, and shows its own token.',
      items: {
        type: 'object',
        required: ['url', 'nodeId'],
        properties: {
          url: { type: 'string', description: 'URL under which the node below follows it.' },
          nodeId: {
            type: ['string', 'null'],
            description: 'Name of its process; null: it does not answer the node below it.',
          },
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
          url: { type: 'string', description: 'URL under which the replica says that other nodes reach it.' },
          peer: { type: 'string', description: 'Address from which the replica connects.' },
          state: { type: 'string', enum: ['handshake', 'snapshot', 'online'] },
          offset: {
            ...COUNT,
            description: 'Offset up to which the replica has the stream in its journal, as it says.',
          },
          durableOffset: {
            ...COUNT,
            description:
              'Offset up to which it has the stream on its disk; it says so at each acknowledgement.',
          },
          lagBytes: COUNT,
          lagSeconds: {
            type: 'number',
            minimum: 0,
            description:
              'Seconds since this node committed the first byte that the replica has not acknowledged; 0: the replica has everything.',
          },
          ackAgeMs: { ...COUNT, description: 'Milliseconds since the last acknowledgement.' },
          progress: {
            type: 'object',
            description: 'Bytes of the snapshot, while this node sends it.',
            required: ['sent', 'total'],
            properties: { sent: COUNT, total: COUNT },
          },
          sync: {
            type: 'object',
            description: 'The last resync of the replica.',
            required: ['kind', 'bytes'],
            properties: {
              kind: { type: 'string', enum: ['full', 'partial'] },
              reason: syncReason,
              bytes: {
                ...COUNT,
                description: 'Size of the snapshot, or of the part of the stream that the replica lacked.',
              },
              resumedBytes: {
                ...COUNT,
                description:
                  'Bytes of the snapshot that the replica had from connections before, which broke; absent: none.',
              },
            },
          },
        },
      },
    },
    goodReplicas: {
      ...COUNT,
      description: 'With `minReplicasToWrite`: number of replicas that have acknowledged something lately.',
    },
    failover: {
      type: ['object', 'null'],
      description: 'The hand-over in progress; null: there is none.',
      required: ['state', 'to'],
      properties: {
        state: { type: 'string', enum: ['waiting-for-sync', 'in-progress'] },
        to: {
          type: ['string', 'null'],
          description: 'The replica; null: the first one that has everything.',
        },
      },
    },
    writes: {
      type: 'object',
      description: 'Whether this node takes writes now, and if not, why.',
      required: ['state', 'problem', 'reason'],
      properties: {
        state: {
          type: 'string',
          enum: ['taken', 'held', 'refused'],
          description: '`held`: they wait, during a hand-over or because of `PUT /v1/writes/hold`.',
        },
        problem: { type: ['string', 'null'], description: 'The code that refused writes get.' },
        reason: { type: ['string', 'null'], description: 'The reason in words.' },
      },
    },
    kept: {
      type: 'array',
      description:
        'Keyspace files that full resyncs on a diverged history have replaced, oldest first. They are SQLite files in the data folder.',
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
    backups,
    archive,
    verified: {
      type: ['object', 'null'],
      description:
        'Last comparison of this replica with its master in the background (`--verify-interval`); null: there was none, or this node is a master.',
      required: ['at', 'against', 'position', 'equal'],
      properties: {
        at: { type: 'integer', description: 'Milliseconds since 1970.' },
        against: { type: 'string', description: 'The master.' },
        position,
        equal: {
          type: 'boolean',
          description:
            'Whether both held the same data at the position. If not, this node gets a full resync.',
        },
      },
    },
    counters: {
      type: 'object',
      description:
        'Resyncs since the process started, or since `countersResetAt`, counted as Redis counts them.',
      required: ['syncFull', 'syncPartialOk', 'syncPartialErr'],
      properties: { syncFull: COUNT, syncPartialOk: COUNT, syncPartialErr: COUNT },
    },
    countersResetAt: {
      type: ['integer', 'null'],
      description:
        'When the counters, those of `feed` too, were last set to 0, in milliseconds since 1970; null: never since the process started.',
    },
    feed: {
      type: 'object',
      description: 'The followers of `/v1/changes`.',
      required: ['followers', 'behind', 'inSnapshot', 'counters'],
      properties: {
        followers: { ...COUNT, description: 'Number of connected followers.' },
        behind: { ...COUNT, description: 'Number of followers that read more slowly than clients write.' },
        inSnapshot: { ...COUNT, description: 'Number of followers that wait for a snapshot or receive one.' },
        counters: {
          type: 'object',
          description: 'Counts since the process started, or since `countersResetAt`.',
          required: ['continued', 'resets', 'tooFarBehind'],
          properties: {
            continued: { ...COUNT, description: 'Number of followers that continued from their position.' },
            resets: {
              type: 'object',
              description: 'Number of snapshots that the node began to send, by reason.',
              propertyNames: { enum: FULL_RESYNC_REASONS },
              additionalProperties: COUNT,
            },
            tooFarBehind: {
              ...COUNT,
              description: 'Number of followers that the node disconnected because they lagged too far.',
            },
          },
        },
      },
    },
  },
} as const;
