/** Settings that may change while the node runs. */
import { backlogSize, formatBacklogSize, formatJournalKeep, journalKeep, oneOf } from '../parse.ts';
import { COUNT, count, type Setting, size, time, toggle } from '../setting.ts';

/** From the level with the fewest lines to the one with all. */
export const LOG_LEVELS = ['error', 'warn', 'info', 'debug'] as const;

export const RUNNING = {
  logLevel: {
    placeholder: 'LEVEL',
    initial: 'info',
    parse: oneOf(...LOG_LEVELS),
    help:
      'lowest level of the messages that the node logs to standard error: error, warn, info, debug. debug has a line for each ' +
      'request and for each step of a link',
    isLive: true,
    schema: { type: 'string', enum: LOG_LEVELS, description: 'Lowest level of the messages in the log.' },
  },
  /** The node reads it as `backlogBytes` and `backlogAwayMs`. */
  backlogSize: {
    placeholder: 'SIZE',
    initial: '1mb',
    parse: backlogSize,
    show: formatBacklogSize,
    help:
      'bytes of the stream that the node keeps in memory; a replica that lacks more gets a full resync. auto:TIME: large enough ' +
      'for replicas that are away for TIME, at the highest write rate of the last ten minutes',
    isLive: true,
    schema: {
      type: ['integer', 'string'],
      description: 'Bytes; or `auto:TIME`: large enough for replicas that are away for TIME.',
    },
  },
  backlogFloor: {
    ...size('1mb', '16kb', '4gb'),
    atMost: 'backlogCeiling',
    help: 'smallest backlog that --backlog-size auto:TIME chooses',
    isLive: true,
    node: 'backlogFloorBytes',
  },
  backlogCeiling: {
    ...size('256mb', '16kb', '4gb'),
    help: 'largest backlog that --backlog-size auto:TIME chooses',
    isLive: true,
    node: 'backlogCeilingBytes',
  },
  /** The node reads it as `journalKeepBytes` and `journalKeepMs`. */
  journalKeep: {
    placeholder: 'TIME|SIZE',
    initial: '0',
    parse: journalKeep,
    show: formatJournalKeep,
    help:
      'what the journal on the disk keeps of the stream beyond the backlog, so that replicas and followers that were away for ' +
      'long continue: 2h, 4gb, or both as 2h,4gb. A number without a unit is bytes. A time (1s to 168h) alone keeps 16gb at most; 0: nothing. A nearly full disk ends it',
    isLive: true,
    schema: {
      type: ['integer', 'string'],
      description:
        'Bytes; or `TIME,SIZE`: what was committed within the time, and so many bytes of it at most.',
    },
  },
  overlaySize: {
    ...size('64mb', '1mb', '16gb'),
    help: 'memory for entries that the keyspace file does not hold yet; at the limit writers wait',
    isLive: true,
    node: 'overlayBytes',
  },
  applyInterval: {
    ...time('2s', '1ms', '1h'),
    help: 'longest time before the node writes an entry from the journal into the keyspace file',
    isLive: true,
    node: 'applyIntervalMs',
  },
  replTimeout: {
    ...time('60s', '100ms', '24h'),
    help: 'silence of the other node after which a node drops a replication link',
    isLive: true,
    node: 'timeoutMs',
  },
  replPingInterval: {
    ...time('10s', '10ms', '1h'),
    help: 'time between two ping frames, which both ends of a replication link send',
    isLive: true,
    node: 'pingIntervalMs',
  },
  replicaOutputLimit: {
    ...size('256mb', '16kb', '1024gb'),
    help: "largest lag of a replica that reads slowly; beyond, the node disconnects it. Never less than the backlog's size",
    isLive: true,
    node: 'outputLimitBytes',
  },
  replicaOutputSoftLimit: {
    ...size('64mb', '16kb', '1024gb'),
    help: 'lag that a replica may have for --replica-output-soft-time only; after that, the node disconnects it',
    isLive: true,
    node: 'outputSoftBytes',
  },
  replicaOutputSoftTime: {
    ...time('60s', '100ms', '24h'),
    help: 'longest time for which a replica may lag by more than --replica-output-soft-limit',
    isLive: true,
    node: 'outputSoftMs',
  },
  maxReplicas: {
    ...count('256', '0', '100000'),
    help: 'largest number of replicas at the same time; the node refuses more',
    isLive: true,
    node: 'maxReplicas',
  },
  maxFollowers: {
    ...count('10000', '0', '1000000'),
    help: 'largest number of followers of /v1/changes at the same time; the node refuses more',
    isLive: true,
    node: 'maxFollowers',
  },
  followerOutputLimit: {
    ...size('64mb', '16kb', '1024gb'),
    help: "largest lag of a follower that reads slowly; beyond, the node disconnects it. Never less than the backlog's size",
    isLive: true,
    node: 'followerOutputBytes',
  },
  minReplicasToWrite: {
    ...count('0', '0', '1000'),
    help:
      'number of replicas without which the node refuses writes (503 NOREPLICAS); a replica counts if it has acknowledged ' +
      'something within --min-replicas-max-lag. 0: the node needs none',
    isLive: true,
    node: 'minReplicasToWrite',
  },
  minReplicasMaxLag: {
    // Replicas acknowledge once a second, so with a limit of one second every other acknowledgement would come too late.
    ...time('10s', '2s', '24h'),
    help:
      'longest time since the last acknowledgement of a replica that counts for --min-replicas-to-write; replicas acknowledge ' +
      'once a second',
    isLive: true,
    node: 'minReplicasMaxLagMs',
  },
  allowEmptyMaster: {
    ...toggle(),
    help: "let a full resync replace this node's data by the empty keyspace of an unrelated history",
    isLive: true,
    node: 'allowEmptyMaster',
    schema: {
      type: 'boolean',
      description:
        "A full resync may replace this node's data by the empty keyspace of an unrelated history.",
    },
  },
  keepReplaced: {
    ...count('3', '0', '100'),
    help: 'number of keyspace files that the node keeps when full resyncs replace data that only this node has',
    isLive: true,
    node: 'keepReplaced',
    schema: { ...COUNT, description: 'Number of replaced keyspace files that the node keeps.' },
  },
  snapshotKeep: {
    ...time('30m', '100ms', '480h'),
    help: 'how long the node keeps a snapshot of /v1/snapshot after it was last read',
    isLive: true,
    node: 'snapshotKeepMs',
  },
  snapshotBudget: {
    ...size('16gb', '16kb', '1048576gb'),
    help:
      'room on the disk that the snapshots of /v1/snapshot may take together; for a new one the node removes those that nobody ' +
      'reads, and a larger one it does not make (507)',
    isLive: true,
    node: 'snapshotBudgetBytes',
  },
  scrubInterval: {
    // Node's timers accept at most 24 days.
    ...time('24h', '0', '480h'),
    help: 'how often the node searches the keyspace file for damage in data that no request reads; 0: never',
    isLive: true,
    node: 'scrubIntervalMs',
    schema: {
      ...COUNT,
      description: 'Milliseconds; 0: the node does not search the keyspace file for damage.',
    },
  },
  verifyInterval: {
    ...time('24h', '0', '480h'),
    help: "how often a replica compares its data with its master's; 0: never",
    isLive: true,
    node: 'verifyIntervalMs',
    schema: { ...COUNT, description: 'Milliseconds; 0: a replica does not compare itself with its master.' },
  },
  bodyTimeout: {
    ...time('30s', '100ms', '24h'),
    help: 'time without a byte of a request body after which the node answers 408; it does so too for less than 1 KiB a second',
    isLive: true,
  },
  requestMemory: {
    ...size('256mb', '1mb', '1024gb'),
    help:
      'memory for request bodies (one half) and for answers that clients have not taken (the other half); at the limit ' +
      'large bodies and large answers wait',
    isLive: true,
  },
  maxWaiting: {
    ...count('10000', '0', '1000000'),
    help:
      'largest number of writes that wait for acks, and of reads that wait for a position, at the same time; the node refuses ' +
      'more (429), and more than three quarters of it of one client. 0: the node refuses all requests that would have to wait',
    isLive: true,
    node: 'maxWaiting',
  },
  shutdownTimeout: {
    ...time('10s', '0', '24h'),
    help:
      'longest time that a master waits, when it stops, until its replicas have everything; after that it stops anyway, and logs ' +
      'how many bytes each replica lacks. A node waits for its archive too, five seconds at most. 0: it does not wait',
    isLive: true,
    node: 'shutdownTimeoutMs',
    schema: {
      ...COUNT,
      description: 'Milliseconds; 0: a node that stops waits neither for its replicas nor for its archive.',
    },
  },
} as const satisfies Readonly<Record<string, Setting>>;
