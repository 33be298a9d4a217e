/**
 * The settings of `psyncd serve`. An entry is all that one needs: the command line, the environment, the config file,
 * `/v1/config` with its schemas, the node's settings and docs/settings.md follow from it.
 *
 * Each setting has one name in three spellings: `--backlog-size`, `PSYNCD_BACKLOG_SIZE`, and `"backlogSize"` in the config
 * file. The order is that of `--help` and of `/v1/config`: first the settings that only a start can set.
 */
import {
  backlogSize,
  filled,
  formatBacklogSize,
  hostNames,
  masterUrl,
  oneOf,
  origins,
  upstream,
} from './parse.ts';
import { COUNT, count, type Setting, size, time, toggle } from './setting.ts';

const FSYNC_POLICIES = ['always', 'everysec', 'no'] as const;
const ON_DAMAGE = ['stop', 'resync'] as const;
const LOG_LEVELS = ['error', 'warn', 'info'] as const;
const FIXED = 'Fixed while running.';

export const TABLE = {
  host: {
    placeholder: 'ADDRESS',
    initial: '127.0.0.1',
    parse: filled,
    help: 'address to listen on',
    isLive: false,
    schema: { type: 'string', description: FIXED },
  },
  port: {
    ...count('7796', '0', '65535'),
    help: 'TCP port; 0 picks a free one',
    isLive: false,
    schema: { type: 'integer', description: FIXED },
  },
  data: {
    placeholder: 'FOLDER',
    initial: './psyncd-data',
    parse: filled,
    help: 'data folder; made if it is not there',
    isLive: false,
    schema: { type: 'string', description: `The data folder. ${FIXED}` },
  },
  /** `ws://HOST:PORT`; `no-one`: be a master; null: keep the role that the node had when it stopped. */
  replicaOf: {
    placeholder: 'URL',
    initial: null,
    parse: upstream,
    help: 'follow this master, ws://HOST:PORT; no-one: be a master. Without it the node is what it was',
    isLive: false,
    schema: null,
  },
  fsync: {
    placeholder: 'POLICY',
    initial: 'everysec',
    parse: oneOf(...FSYNC_POLICIES),
    help: 'when an answered write is on disk: always, everysec, no',
    isLive: false,
    schema: { type: 'string', enum: FSYNC_POLICIES, description: FIXED },
  },
  /** `ws://HOST:PORT` under which other nodes reach this one; null: where it listens. */
  announceUrl: {
    placeholder: 'URL',
    initial: null,
    parse: masterUrl,
    help: 'ws://HOST:PORT under which other nodes reach this one, if that is not where it listens; redirected writes go there',
    isLive: false,
    schema: { type: ['string', 'null'], description: FIXED },
  },
  maxConnections: {
    ...count('16000', '1', '1000000'),
    help: 'connections at the same time, replicas and followers included; more are closed at once',
    isLive: false,
    schema: { ...COUNT, description: FIXED },
  },
  allowOrigin: {
    placeholder: 'ORIGINS',
    initial: '',
    parse: origins,
    isList: true,
    help: 'origins whose web pages may read, write and follow here, such as https://app.example, separated by commas; * for all',
    isLive: false,
    schema: {
      type: ['array', 'string'],
      items: { type: 'string' },
      description: `Origins whose pages may come; \`any\`: all. ${FIXED}`,
    },
  },
  allowHost: {
    placeholder: 'NAMES',
    initial: '',
    parse: hostNames,
    isList: true,
    help:
      'names by which clients reach this node, such as db.example, separated by commas; IP addresses, localhost and the names ' +
      'in --host and --announce-url need not be given. Requests for other names are refused (403)',
    isLive: false,
    schema: {
      type: 'array',
      items: { type: 'string' },
      description: `Names that requests may call the node by, beside those of \`host\` and \`announceUrl\`. ${FIXED}`,
    },
  },
  onDamage: {
    placeholder: 'WHAT',
    initial: 'stop',
    parse: oneOf(...ON_DAMAGE),
    help: 'what a replica does whose files are damaged: stop, or resync from its master. A master always stops',
    isLive: false,
    schema: { type: 'string', enum: ON_DAMAGE, description: FIXED },
  },
  logLevel: {
    placeholder: 'LEVEL',
    initial: 'info',
    parse: oneOf(...LOG_LEVELS),
    help: 'what goes to standard error: error, warn, info',
    isLive: false,
    schema: { type: 'string', enum: LOG_LEVELS, description: FIXED },
  },
  allowAnonymous: {
    ...toggle(),
    help: 'let everybody who can reach a --host other than loopback read and write',
    isLive: false,
    schema: null,
  },
  /** The node reads it as `backlogBytes` and `backlogAwayMs`. */
  backlogSize: {
    placeholder: 'SIZE',
    initial: '1mb',
    parse: backlogSize,
    show: formatBacklogSize,
    help:
      'bytes of the stream kept in memory; a replica that lacks more gets a full resync. auto:TIME: as large as replicas ' +
      'need that are away for so long, at the rate that is written',
    isLive: true,
    schema: {
      type: ['integer', 'string'],
      description: 'Bytes; or `auto:TIME`: as large as replicas need that are away for so long.',
    },
  },
  backlogFloor: {
    ...size('1mb', '16kb', '4gb'),
    atMost: 'backlogCeiling',
    help: 'the smallest that --backlog-size auto makes it',
    isLive: true,
    node: 'backlogFloorBytes',
  },
  backlogCeiling: {
    ...size('256mb', '16kb', '4gb'),
    help: 'the largest that --backlog-size auto makes it',
    isLive: true,
    node: 'backlogCeilingBytes',
  },
  overlaySize: {
    ...size('64mb', '1mb', '16gb'),
    help: 'memory for writes that SQLite does not hold yet; at the limit writers wait',
    isLive: true,
    node: 'overlayBytes',
  },
  applyInterval: {
    ...time('2s', '1ms', '1h'),
    help: 'longest time before a write is moved from the journal into the keyspace file',
    isLive: true,
    node: 'applyIntervalMs',
  },
  replTimeout: {
    ...time('60s', '100ms', '24h'),
    help: 'a replication link silent for so long is dropped',
    isLive: true,
    node: 'timeoutMs',
  },
  replPingInterval: {
    ...time('10s', '10ms', '1h'),
    help: 'how often both sides of a link send a ping frame',
    isLive: true,
    node: 'pingIntervalMs',
  },
  replicaOutputLimit: {
    ...size('256mb', '16kb', '1024gb'),
    help: 'a replica that reads so slowly that it lags by more is disconnected; never below the backlog',
    isLive: true,
    node: 'outputLimitBytes',
  },
  replicaOutputSoftLimit: {
    ...size('64mb', '16kb', '1024gb'),
    help: 'a replica that lags by more for longer than --replica-output-soft-time is disconnected',
    isLive: true,
    node: 'outputSoftBytes',
  },
  replicaOutputSoftTime: {
    ...time('60s', '100ms', '24h'),
    help: 'how long a replica may lag by more than --replica-output-soft-limit',
    isLive: true,
    node: 'outputSoftMs',
  },
  maxReplicas: {
    ...count('256', '0', '100000'),
    help: 'replicas served at the same time; more are refused',
    isLive: true,
    node: 'maxReplicas',
  },
  maxFollowers: {
    ...count('10000', '0', '1000000'),
    help: 'followers of /v1/changes served at the same time; more are refused',
    isLive: true,
    node: 'maxFollowers',
  },
  followerOutputLimit: {
    ...size('64mb', '16kb', '1024gb'),
    help: 'a follower that reads so slowly that it lags by more of the stream is let go; never below the backlog',
    isLive: true,
    node: 'followerOutputBytes',
  },
  minReplicasToWrite: {
    ...count('0', '0', '1000'),
    help: 'refuse writes (503 NOREPLICAS) unless so many replicas have acknowledged something lately; 0: never',
    isLive: true,
    node: 'minReplicasToWrite',
  },
  minReplicasMaxLag: {
    // Replicas acknowledge once a second: with a limit of one second every other ACK would come too late.
    ...time('10s', '2s', '24h'),
    help: 'how long ago "lately" may be; replicas acknowledge once a second',
    isLive: true,
    node: 'minReplicasMaxLagMs',
  },
  allowEmptyMaster: {
    ...toggle(),
    help: 'let a full resync replace data by the empty keyspace of an unrelated history',
    isLive: true,
    node: 'allowEmptyMaster',
    schema: { type: 'boolean', description: 'A full resync may replace data by nothing.' },
  },
  keepReplaced: {
    ...count('3', '0', '100'),
    help: 'how many keyspace files are kept that a full resync has replaced on a diverged history',
    isLive: true,
    node: 'keepReplaced',
    schema: { ...COUNT, description: 'Files of diverged histories that are kept.' },
  },
  scrubInterval: {
    // Timers of Node take at most 24 days.
    ...time('24h', '0', '480h'),
    help: 'how often the node searches the keyspace file for damage in data that no request reads; 0: never',
    isLive: true,
    node: 'scrubIntervalMs',
    schema: { ...COUNT, description: 'Milliseconds; 0: the keyspace file is not looked through.' },
  },
  verifyInterval: {
    ...time('24h', '0', '480h'),
    help: 'how often a replica compares what it holds with what its master holds; 0: never',
    isLive: true,
    node: 'verifyIntervalMs',
    // `/v1/config` answers it and takes it, but openapi.yaml has never named it.
    schema: null,
  },
  bodyTimeout: {
    ...time('30s', '100ms', '24h'),
    help: 'a request of whose body nothing arrives for so long, or less than 1 KiB a second, is given up with 408',
    isLive: true,
  },
  requestMemory: {
    ...size('256mb', '1mb', '1024gb'),
    help:
      'memory for request bodies (one half) and for answers that clients have not taken (the other); at the limit ' +
      'large bodies and large answers wait',
    isLive: true,
  },
  maxWaiting: {
    ...count('10000', '0', '1000000'),
    help:
      'writes that wait for acks at the same time, and so many reads that wait for a position; more are refused (429). ' +
      '0: every one that would have to wait is refused',
    isLive: true,
    node: 'maxWaiting',
  },
  shutdownTimeout: {
    ...time('10s', '0', '24h'),
    help:
      'how long a master that stops waits until its replicas have everything; then it stops all the same, and the log says who ' +
      'lacks how much. 0: it does not wait',
    isLive: true,
    node: 'shutdownTimeoutMs',
    schema: {
      ...COUNT,
      description: 'Milliseconds; 0: a master that stops does not wait for its replicas.',
    },
  },
} as const satisfies Readonly<Record<string, Setting>>;

type Table = typeof TABLE;
export type SettingName = keyof Table;

/** The values of all settings, by name. */
export type Settings = {
  readonly [Name in SettingName]:
    | ReturnType<Table[Name]['parse']>
    | (Table[Name]['initial'] extends null ? null : never);
};

/** The values that the node reads, by the names under which it reads them. */
export type NodeValues = {
  [Name in SettingName as Table[Name] extends { readonly node: infer N extends string }
    ? N
    : never]: Settings[Name];
};

export type LogLevel = Settings['logLevel'];

/** A setting with its name. */
export interface NamedSetting extends Setting {
  readonly name: SettingName;
}

/** Every setting, in the order of the table. */
export const SETTINGS: readonly NamedSetting[] = Object.entries<Setting>(TABLE).map(([name, setting]) => ({
  name: name as SettingName,
  ...setting,
}));

/** @returns the values as `/v1/config` shows them: of all settings that openapi.yaml names or that may change */
export function shown(settings: Settings): Readonly<Record<string, unknown>> {
  const visible = SETTINGS.filter(({ isLive, schema }) => isLive || schema !== null);
  return Object.fromEntries(
    visible.map(({ name, show }) => [
      name,
      show === undefined ? settings[name] : show(settings[name] as never),
    ]),
  );
}
