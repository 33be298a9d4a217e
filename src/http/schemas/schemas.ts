/** JSON Schemas of what the API sends and takes; openapi.yaml is made from the routes that name them. */
import { PROBLEMS, type ProblemCode } from '../../node/problem.ts';
import { SESSION_EVENTS } from '../../node/session/session-log.ts';
import { FULL_RESYNC_REASONS } from '../../replication/decide.ts';
import { LINEAGE_REASONS } from '../../replication/history.ts';
import { config, configPatch } from './config.ts';
import {
  EXAMPLE_BACKLOG,
  EXAMPLE_MASTER,
  EXAMPLE_POSITION,
  EXAMPLE_REPLICA,
  EXAMPLE_RUN_ID,
  EXAMPLE_SESSIONS,
  problemExample,
} from './examples.ts';
import { HISTORY_HASH_PATTERN, INT64_PATTERN, POSITION_PATTERN, RUN_ID_PATTERN } from './patterns.ts';

const RUN_ID = {
  type: 'string',
  pattern: RUN_ID_PATTERN,
  description: 'Names one history of writes.',
  examples: [EXAMPLE_RUN_ID],
} as const;
const COUNT = { type: 'integer', minimum: 0 } as const;

export const position = {
  type: 'string',
  pattern: POSITION_PATTERN,
  description: 'A position in the stream: `<run ID>:<offset>`.',
  examples: [EXAMPLE_POSITION],
} as const;

export const historyHash = {
  type: 'string',
  pattern: HISTORY_HASH_PATTERN,
  description:
    'A hash over all bytes of the stream up to a position: two nodes that have the same hold the same.',
  examples: ['5bd1e995a2c4f037'],
} as const;

export const key = {
  type: 'string',
  minLength: 1,
  description: 'At most 1,024 bytes of UTF-8.',
  examples: ['user:1'],
} as const;

export const version = {
  type: 'integer',
  minimum: 1,
  description: 'The offset of the end of the command that last set the entry; its ETag.',
} as const;

export const expiresAt = {
  type: ['integer', 'null'],
  description: 'When the entry expires, in milliseconds since 1970; null: never.',
} as const;

export const problem = {
  $id: 'Problem',
  type: 'object',
  description: 'An error, as RFC 9457 has it.',
  required: ['type', 'title', 'status', 'code', 'detail'],
  properties: {
    type: { type: 'string', format: 'uri', examples: ['urn:psyncd:problem:not-found'] },
    title: { type: 'string' },
    status: { type: 'integer' },
    code: { type: 'string', enum: Object.keys(PROBLEMS), description: 'Stable: what programs look at.' },
    detail: { type: 'string', description: 'What happened, for people.' },
    master: { type: 'string', description: 'READONLY: the URL of the master.' },
    line: { type: 'integer', minimum: 1, description: 'BAD_LINE: which line, counted from 1.' },
    imported: { type: 'integer', minimum: 0, description: 'How many entries of the import are in.' },
    op: { type: 'integer', minimum: 0, description: 'Which operation of the batch, counted from 0.' },
    reason: {
      type: 'string',
      enum: FULL_RESYNC_REASONS,
      description: 'POSITION_LOST: why, in the words of a resync.',
    },
    currentVersion: {
      type: ['integer', 'null'],
      description: 'PRECONDITION_FAILED: the version that the entry has; null: there is none.',
    },
  },
} as const;

/** How many replicas have a write, in the answer to one that asked. */
const acks = { ...COUNT, description: 'With `acks`: how many replicas have it in their journals.' } as const;

export const written = {
  $id: 'Written',
  examples: [
    { key: 'greeting', version: 1048576, created: true, expiresAt: null, position: EXAMPLE_POSITION },
  ],
  type: 'object',
  required: ['key', 'version', 'created', 'expiresAt', 'position'],
  properties: {
    key,
    version,
    created: { type: 'boolean', description: 'The key was not there before.' },
    expiresAt,
    position,
    acks,
  },
} as const;

export const appended = {
  $id: 'Appended',
  examples: [{ size: 12, version: 1048576, position: EXAMPLE_POSITION }],
  type: 'object',
  required: ['size', 'version', 'position'],
  properties: { size: { ...COUNT, description: 'Of the value, in bytes.' }, version, position, acks },
} as const;

export const incremented = {
  $id: 'Incremented',
  examples: [{ value: 42, version: 1048576, position: EXAMPLE_POSITION }],
  type: 'object',
  required: ['value', 'version', 'position'],
  properties: {
    value: { type: 'integer', format: 'int64', description: 'The new value.' },
    version,
    position,
    acks,
  },
} as const;

export const incrementRequest = {
  $id: 'IncrementRequest',
  examples: [{ by: 1 }, { by: '-9223372036854775808' }],
  type: 'object',
  additionalProperties: false,
  properties: {
    by: {
      type: ['integer', 'string'],
      pattern: INT64_PATTERN,
      description: 'What is added, negative or not; beyond 2^53 as a string of digits. 1 if it is not given.',
    },
  },
} as const;

export const expiryRequest = {
  $id: 'ExpiryRequest',
  examples: [{ ttl: 60 }, { expiresAt: 1_900_000_000_000 }],
  type: 'object',
  description: 'One of the two.',
  additionalProperties: false,
  minProperties: 1,
  maxProperties: 1,
  properties: {
    ttl: {
      type: 'number',
      exclusiveMinimum: 0,
      description: 'Seconds from now; fractions are allowed.',
    },
    expiresAt: { type: 'integer', minimum: 1, description: 'Milliseconds since 1970, in the future.' },
  },
} as const;

export const expiry = {
  $id: 'Expiry',
  examples: [
    { key: 'session:7', expiresAt: 1_900_000_000_000, version: 1048576, position: EXAMPLE_POSITION },
  ],
  type: 'object',
  required: ['key', 'expiresAt', 'version', 'position'],
  properties: { key, expiresAt, version, position, acks },
} as const;

export const mergePatch = {
  $id: 'MergePatch',
  description:
    'Any JSON. An object is merged into the value, null removes a member; everything else replaces it.',
  examples: [{ name: 'Ada', nickname: null }],
} as const;

export const deletedMany = {
  $id: 'DeletedMany',
  examples: [
    { deleted: 3, position: EXAMPLE_POSITION },
    { deleted: null, position: EXAMPLE_POSITION },
  ],
  type: 'object',
  required: ['deleted', 'position'],
  properties: {
    deleted: {
      type: ['integer', 'null'],
      minimum: 0,
      description: 'How many entries; null with `all=true`, which does not count them.',
    },
    position,
    acks,
  },
} as const;

/** The most operations of one batch. */
export const MAX_BATCH = 10_000;

export const batchRequest = {
  $id: 'Batch',
  examples: [
    {
      ops: [
        { op: 'set', key: 'user:1', value: { name: 'Ada' }, encoding: 'json', ifAbsent: true },
        { op: 'increment', key: 'users', by: 1 },
        { op: 'get', key: 'users' },
      ],
    },
  ],
  type: 'object',
  required: ['ops'],
  additionalProperties: false,
  properties: {
    ops: {
      type: 'array',
      maxItems: MAX_BATCH,
      items: {
        type: 'object',
        required: ['op', 'key'],
        additionalProperties: false,
        properties: {
          op: { type: 'string', enum: ['set', 'delete', 'increment', 'append', 'expire', 'persist', 'get'] },
          key: { type: 'string', examples: ['user:1'] },
          value: { description: '`set`, `append`: text, base64 or any JSON, as `encoding` says.' },
          // No `default`: Ajv would write it into operations that have no value, where it is refused.
          encoding: {
            type: 'string',
            enum: ['utf8', 'base64', 'json'],
            description: '`set`, `append`: how `value` is written; utf8 if it is not given.',
          },
          ttl: { type: 'number', description: '`set`, `expire`: seconds.' },
          expiresAt: { type: ['integer', 'null'], description: '`set`, `expire`: milliseconds since 1970.' },
          by: { type: ['integer', 'string'], description: '`increment`: 1 if it is not given.' },
          ifAbsent: { type: 'boolean', description: '`set`: only if there is no such entry.' },
          ifVersion: { type: 'integer', description: 'Only if the entry has this version.' },
        },
      },
    },
  },
} as const;

export const batchResults = {
  $id: 'BatchResults',
  examples: [
    {
      results: [
        { created: true, version: 1048533, expiresAt: null },
        { value: 42, version: 1048576 },
        { found: true, value: '42', encoding: 'utf8', expiresAt: null, version: 1048576 },
      ],
      position: EXAMPLE_POSITION,
    },
  ],
  type: 'object',
  required: ['results', 'position'],
  properties: {
    results: {
      type: 'array',
      description: 'One for each operation, in order.',
      items: {
        type: 'object',
        properties: {
          version,
          expiresAt,
          created: { type: 'boolean', description: '`set`: the key was not there before.' },
          deleted: { type: 'boolean', description: '`delete`: the key was there.' },
          found: { type: 'boolean', description: '`expire`, `persist`, `get`: the key is there.' },
          size: { ...COUNT, description: '`append`: of the value, in bytes.' },
          value: {
            type: ['integer', 'string'],
            description: '`increment`: the new value. `get`: the value.',
          },
          encoding: {
            type: 'string',
            enum: ['utf8', 'base64'],
            description: '`get`: how `value` is written.',
          },
        },
      },
    },
    position,
    acks,
  },
} as const;

export const exportedEntry = {
  $id: 'ExportedEntry',
  examples: [{ key: 'greeting', value: 'hello', encoding: 'utf8', version: 1048576, expiresAt: null }],
  type: 'object',
  required: ['key', 'value', 'encoding', 'version', 'expiresAt'],
  properties: {
    key,
    value: { type: 'string' },
    encoding: { type: 'string', enum: ['utf8', 'base64'] },
    version,
    expiresAt,
  },
} as const;

export const deleted = {
  $id: 'Deleted',
  examples: [{ key: 'greeting', deleted: true, position: EXAMPLE_POSITION }],
  type: 'object',
  required: ['key', 'deleted', 'position'],
  properties: { key, deleted: { type: 'boolean', const: true }, position, acks },
} as const;

export const keyPage = {
  $id: 'KeyPage',
  examples: [
    {
      keys: [
        {
          key: 'user:1',
          version: 1048533,
          size: 14,
          expiresAt: null,
          value: '{"name":"Ada"}',
          encoding: 'utf8',
        },
        {
          key: 'user:2',
          version: 1048576,
          size: 2,
          expiresAt: 1_900_000_000_000,
          value: 'AP8=',
          encoding: 'base64',
        },
      ],
      next: 'user:2',
      position: EXAMPLE_POSITION,
    },
  ],
  type: 'object',
  required: ['keys', 'next', 'position'],
  properties: {
    keys: {
      type: 'array',
      items: {
        type: 'object',
        required: ['key', 'version', 'size', 'expiresAt'],
        properties: {
          key,
          version,
          size: { ...COUNT, description: 'Of the value, in bytes.' },
          expiresAt,
          value: { type: 'string', description: 'With `values=true`.' },
          encoding: {
            type: 'string',
            enum: ['utf8', 'base64'],
            description:
              'How `value` is written: text if it is valid UTF-8, unless escapes would more than double it.',
          },
        },
      },
    },
    next: {
      type: ['string', 'null'],
      description: 'Ask again with `after` = this; null: that was the last page.',
    },
    position,
  },
} as const;

export const imported = {
  $id: 'Imported',
  examples: [{ imported: 171000, position: EXAMPLE_POSITION }],
  type: 'object',
  required: ['imported', 'position'],
  properties: { imported: { ...COUNT, description: 'How many entries were written.' }, position, acks },
} as const;

export const digest = {
  $id: 'Digest',
  examples: [{ position: EXAMPLE_POSITION, keys: 171000, digest: '0f343b0931126a20f133d67c2b018a3b' }],
  type: 'object',
  required: ['position', 'keys', 'digest'],
  properties: {
    position,
    keys: { ...COUNT, description: 'How many entries.' },
    digest: {
      type: 'string',
      pattern: '^[0-9a-f]{32}$',
      description:
        'A hash over key, value and expiry of all entries: equal on every node at equal positions.',
    },
    against: {
      type: 'object',
      description: 'With `against`: what the other node holds at the same position.',
      required: ['url', 'position', 'keys', 'digest'],
      properties: {
        url: { type: 'string' },
        position,
        keys: COUNT,
        digest: { type: 'string', pattern: '^[0-9a-f]{32}$' },
      },
    },
    equal: {
      type: 'boolean',
      description:
        'With `against`: both hold the same. If not, one of them is wrong, and should be stopped and looked at.',
    },
  },
} as const;

const syncReason = { type: 'string', enum: FULL_RESYNC_REASONS } as const;

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
    size: { ...COUNT, description: 'How many bytes it holds at most.' },
    firstOffset: { ...COUNT, description: 'The first byte that is held, counted from 1.' },
    length: { ...COUNT, description: 'How many bytes are held.' },
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
        'How long ago the oldest byte that is held was committed; after a restart: since the start.',
    },
    coversSeconds: {
      type: ['number', 'null'],
      description: 'How long a full backlog lasts at the peak rate; null: nothing was written lately.',
    },
    outages: {
      type: 'array',
      description: 'Replicas that were away and have come back, newest first.',
      items: {
        type: 'object',
        required: ['replica', 'at', 'awayMs', 'bytes', 'kind'],
        properties: {
          replica: { type: 'string', description: 'Where it can be reached, or where it came from.' },
          at: { type: 'integer', description: 'When it came back, in milliseconds since 1970.' },
          awayMs: COUNT,
          bytes: { ...COUNT, description: 'How many bytes were written meanwhile.' },
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
        size: { ...COUNT, description: 'How large the backlog should be, in bytes.' },
        enough: { type: 'boolean', description: 'It is that large.' },
        text: { type: 'string', description: 'The same for people.' },
      },
    },
  },
} as const;

export const check = {
  $id: 'Check',
  examples: [
    { decision: 'continue', reason: null, bytes: 53, notNow: null },
    { decision: 'full-resync', reason: 'behind-backlog', bytes: 24_576, notNow: null },
  ],
  type: 'object',
  required: ['decision', 'reason', 'bytes', 'notNow'],
  properties: {
    decision: { type: 'string', enum: ['continue', 'full-resync'] },
    reason: {
      type: ['string', 'null'],
      description: 'Of a full resync.',
      enum: [...FULL_RESYNC_REASONS, null],
    },
    bytes: { ...COUNT, description: 'How many bytes are lacking; of a full resync: of the snapshot, about.' },
    notNow: {
      type: ['string', 'null'],
      description: 'The node is a replica that is not connected, and would say this until it is.',
    },
  },
} as const;

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

export const health = {
  $id: 'Health',
  examples: [{ status: 'ok' }],
  type: 'object',
  required: ['status'],
  properties: { status: { type: 'string', enum: ['ok', 'ready'] } },
} as const;

export const SHARED = [
  problem,
  written,
  appended,
  incremented,
  incrementRequest,
  expiryRequest,
  expiry,
  mergePatch,
  deleted,
  deletedMany,
  keyPage,
  batchRequest,
  batchResults,
  exportedEntry,
  imported,
  digest,
  replication,
  backlogReport,
  check,
  sessions,
  failoverRequest,
  failoverResult,
  upstreamRequest,
  config,
  configPatch,
  health,
] as const;

/** `required`: of the header, not of its schema; `document.ts` moves it. */
const HEADERS = {
  'Psync-Position': {
    ...position,
    description: 'Where this node stands in the stream; of a write: where it stands after it.',
    required: true,
  },
  'Psync-Role': {
    description: 'Whether it takes writes.',
    type: 'string',
    enum: ['master', 'replica'],
    required: true,
  },
} as const;
const ENTRY_HEADERS = {
  ...HEADERS,
  ETag: { description: 'The version, quoted.', type: 'string', examples: ['"1048576"'], required: true },
  'Psync-Expires-At': {
    description: 'If the entry expires: when, in milliseconds since 1970.',
    type: 'integer',
    examples: [1_900_000_000_000],
  },
} as const;

const IF_MATCH = {
  type: 'string',
  description: 'Only if the entry has one of these versions (`"17"`, `"17", "42"`), or `*`: if there is one.',
  examples: ['"1048576"'],
} as const;

/** The conditions that a write may bring. */
export const WRITE_HEADERS = {
  type: 'object',
  properties: {
    'If-Match': IF_MATCH,
    'If-None-Match': {
      type: 'string',
      description: '`*`: only if there is no such entry.',
      examples: ['*'],
    },
  },
} as const;

export const READ_HEADERS = {
  type: 'object',
  properties: {
    'Psync-Position': {
      ...position,
      description: 'Answer when this node has reached the position: like `position` in the query.',
    },
    'If-Match': IF_MATCH,
    'If-None-Match': {
      type: 'string',
      description: 'Answer 304 if the entry still has one of these versions.',
      examples: ['"1048576"'],
    },
  },
} as const;

/** A request's body of any bytes. Without a `type`: JSON Schema has none for bytes (OpenAPI 3.1, "binary data"). */
export const RAW_BODY = {
  content: {
    'application/octet-stream': {
      schema: { contentMediaType: 'application/octet-stream', description: 'Any bytes.' },
    },
  },
} as const;

const NDJSON_EXAMPLE = [
  '{"key":"greeting","value":"hello"}\n',
  '{"key":"bytes","value":"AP8=","encoding":"base64","expiresAt":1900000000000}\n',
].join('');

/** A request's body of lines of JSON, streamed. Without a `type`, so that clients may bring a stream or text. */
export const NDJSON_BODY = {
  content: {
    'application/x-ndjson': {
      schema: {
        contentMediaType: 'application/x-ndjson',
        description: 'One object a line.',
        examples: [NDJSON_EXAMPLE],
      },
    },
  },
} as const;

/** An answer in JSON; `etag`: of one entry. */
export function json(description: string, schema: { readonly $id: string }, of?: 'etag'): object {
  return {
    description,
    headers: of === 'etag' ? ENTRY_HEADERS : HEADERS,
    content: { 'application/json': { schema: { $ref: `${schema.$id}#` } } },
  };
}

/** The answer to a write that asked for more acknowledgements than came in time. */
export function writtenOnly(schema: { readonly $id: string }, of?: 'etag'): object {
  return json('It is written; fewer replicas than `acks` had it when time was up.', schema, of);
}

/** An answer of the value's own bytes. */
export function bytes(description: string): object {
  return {
    description,
    headers: ENTRY_HEADERS,
    content: {
      ...RAW_BODY.content,
      'application/json': {
        schema: { description: 'Any JSON: if the value is JSON and the client asked for it.' },
        example: { name: 'Ada' },
      },
    },
  };
}

/** Lines of JSON, streamed. */
export function ndjson(description: string, line: { readonly $id: string }): object {
  const schema = {
    type: 'string',
    contentMediaType: 'application/x-ndjson',
    contentSchema: { $ref: `${line.$id}#` },
    description: `One \`${line.$id}\` a line, streamed.`,
  };
  return { description, headers: HEADERS, content: { 'application/x-ndjson': { schema } } };
}

/** An answer that comes in pieces, in several media types. */
export function streamed(description: string, content: object): object {
  return { description, headers: HEADERS, content };
}

export function plainText(description: string, example: string): object {
  return {
    description,
    headers: HEADERS,
    content: { 'text/plain': { schema: { type: 'string' }, example } },
  };
}

/** An answer without a body. */
export function noContent(description: string, of?: 'etag'): object {
  return { description, headers: of === 'etag' ? ENTRY_HEADERS : HEADERS, type: 'null' };
}

/** What groups of routes may answer. */
const GROUPS = {
  /** Every route. */
  any: [
    'BAD_REQUEST',
    'FORBIDDEN',
    'REQUEST_TIMEOUT',
    'HEADERS_TOO_LARGE',
    'INTERNAL',
    'NOT_IMPLEMENTED',
    'STORAGE_FAILED',
    'SHUTTING_DOWN',
  ],
  /** Every write; what is no media type at all in `Content-Type` is refused also where any would do. */
  write: ['READONLY', 'NOREPLICAS', 'LOADING', 'TOO_MANY_REQUESTS', 'DISK_FULL', 'UNSUPPORTED_MEDIA_TYPE'],
  /** Every read that may wait for a position. */
  wait: ['UNKNOWN_HISTORY', 'NOT_REACHED', 'TOO_MANY_REQUESTS'],
  /** What reads a body as JSON; also a DELETE that brings one. */
  body: ['BODY_TOO_LARGE', 'UNSUPPORTED_MEDIA_TYPE'],
} as const satisfies Readonly<Record<string, readonly ProblemCode[]>>;

type Group = keyof typeof GROUPS;

/** Sent before there is a request that could be answered, so without the headers that every answer carries. */
const WITHOUT_HEADERS: ReadonlySet<ProblemCode> = new Set(['REQUEST_TIMEOUT', 'HEADERS_TOO_LARGE']);

/**
 * Error answers by status: these, and those that every route may give.
 * @param names codes, or groups of codes
 */
export function problems(...names: (Group | ProblemCode)[]): Record<number, object> {
  const wanted = new Set<ProblemCode>([
    ...GROUPS.any,
    ...names.flatMap((name): readonly ProblemCode[] =>
      name in GROUPS ? GROUPS[name as Group] : [name as ProblemCode],
    ),
  ]);
  const codes = PROBLEM_CODES.filter((code) => wanted.has(code));
  const byStatus: Record<number, object> = {};
  for (const status of new Set(codes.map((code) => PROBLEMS[code].status))) {
    const these = codes.filter((code) => PROBLEMS[code].status === status);
    byStatus[status] = {
      description: these.map((code) => `\`${code}\`: ${PROBLEMS[code].title}.`).join(' '),
      headers: {
        ...(these.every((code) => WITHOUT_HEADERS.has(code)) ? {} : HEADERS),
        ...(status === 307 ? { Location: LOCATION } : {}),
        ...(status === 503 || status === 429 ? { 'Retry-After': RETRY_AFTER } : {}),
      },
      content: {
        'application/problem+json': {
          schema: { $ref: 'Problem#' },
          examples: Object.fromEntries(these.map((code) => [code, problemExample(code)])),
        },
      },
    };
  }
  return byStatus;
}

const PROBLEM_CODES = Object.keys(PROBLEMS) as ProblemCode[];
const RETRY_AFTER = {
  description: 'After so many seconds it may be possible.',
  type: 'integer',
  examples: [1],
  required: true,
} as const;
const LOCATION = {
  description: 'The same call on the master.',
  type: 'string',
  format: 'uri',
  examples: ['http://127.0.0.1:7796/v1/keys/greeting'],
  required: true,
} as const;
