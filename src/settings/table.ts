/**
 * The settings of `psyncd serve`, one entry each. The command line, the environment, the config file, `/v1/config` with its
 * schemas, the node's settings and docs/settings.md all follow from these entries.
 *
 * Each setting has one name in three spellings: `--backlog-size`, `PSYNCD_BACKLOG_SIZE`, and `"backlogSize"` in the config
 * file. `--help` and `/v1/config` show the settings in this order: first those that only a start can set.
 */
import {
  address,
  backlogSize,
  filled,
  formatAddress,
  formatBacklogSize,
  hostNames,
  keySet,
  masterUrl,
  oneOf,
  origins,
  parseRate,
  proxies,
  publicUrl,
  rights,
  upstream,
} from './parse.ts';
import { COUNT, count, type Setting, size, time, toggle } from './setting.ts';

const FSYNC_POLICIES = ['always', 'everysec', 'no'] as const;
const ON_DAMAGE = ['stop', 'resync'] as const;
const TLS_CLIENT_AUTH = ['no', 'optional', 'required'] as const;
const TLS_VERSIONS = ['1.2', '1.3'] as const;
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
  /** null: the other listener serves everything. */
  adminListen: {
    placeholder: 'HOST:PORT',
    initial: null,
    parse: address,
    show: formatAddress,
    help:
      'a second address to listen on, such as 127.0.0.1:7797, for everything that needs the right admin; the first address then ' +
      'answers 404 to it',
    isLive: false,
    schema: { type: ['string', 'null'], description: FIXED },
  },
  data: {
    placeholder: 'FOLDER',
    initial: './psyncd-data',
    parse: filled,
    help: 'data folder; the node makes it if it does not exist',
    isLive: false,
    schema: { type: 'string', description: `The data folder. ${FIXED}` },
  },
  /** `ws://HOST:PORT`; `no-one`: be a master; null: keep the role that the node had when it stopped. */
  replicaOf: {
    placeholder: 'URL',
    initial: null,
    parse: upstream,
    help: 'follow this master, ws://HOST:PORT or wss://HOST:PORT; no-one: be a master. Without it, the node keeps the role that it had when it stopped',
    isLive: false,
    schema: null,
  },
  fsync: {
    placeholder: 'POLICY',
    initial: 'everysec',
    parse: oneOf(...FSYNC_POLICIES),
    help:
      'when an answered write is on the disk: always (before the answer), everysec (after a second at most), no (when the ' +
      'operating system writes it)',
    isLive: false,
    schema: { type: 'string', enum: FSYNC_POLICIES, description: FIXED },
  },
  /** `ws://HOST:PORT` under which other nodes reach this one; null: the address on which it listens. */
  announceUrl: {
    placeholder: 'URL',
    initial: null,
    parse: masterUrl,
    help:
      'ws://HOST:PORT under which other nodes reach this one, if it differs from the address on which the node listens; ' +
      'replicas redirect writes to it',
    isLive: false,
    schema: { type: ['string', 'null'], description: FIXED },
  },
  maxConnections: {
    ...count('16000', '1', '1000000'),
    help: 'largest number of connections at the same time, replicas and followers included; the node closes more at once',
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
      description: `Origins whose web pages may read, write and follow here; \`any\`: all. ${FIXED}`,
    },
  },
  allowHost: {
    placeholder: 'NAMES',
    initial: '',
    parse: hostNames,
    isList: true,
    help:
      'names by which clients reach this node, such as db.example, separated by commas; IP addresses, localhost and the names ' +
      'in --host and --announce-url are known without it. The node refuses requests for other names (403)',
    isLive: false,
    schema: {
      type: 'array',
      items: { type: 'string' },
      description: `Names that the node answers to, beside those of \`host\` and \`announceUrl\`. ${FIXED}`,
    },
  },
  trustProxy: {
    placeholder: 'ADDRESSES',
    initial: '',
    parse: proxies,
    isList: true,
    help:
      'addresses and networks of proxies in front of this node, such as 10.0.0.7 or 10.0.0.0/8, separated by commas; the node believes ' +
      'their X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host',
    isLive: false,
    schema: {
      type: 'array',
      items: { type: 'string' },
      description: `Proxies whose X-Forwarded headers the node believes. ${FIXED}`,
    },
  },
  /** Without a final slash. */
  publicUrl: {
    placeholder: 'URL',
    initial: null,
    parse: publicUrl,
    help:
      'URL under which clients reach this node, such as https://app.example/kv, if proxies in front change it; redirects to this node and ' +
      'its API description name it',
    isLive: false,
    schema: { type: ['string', 'null'], description: FIXED },
  },
  onDamage: {
    placeholder: 'WHAT',
    initial: 'stop',
    parse: oneOf(...ON_DAMAGE),
    help: 'action of a replica that finds its files damaged: stop, or resync from its master. A master always stops',
    isLive: false,
    schema: { type: 'string', enum: ON_DAMAGE, description: FIXED },
  },
  logLevel: {
    placeholder: 'LEVEL',
    initial: 'info',
    parse: oneOf(...LOG_LEVELS),
    help: 'lowest level of the messages that the node logs to standard error: error, warn, info',
    isLive: false,
    schema: { type: 'string', enum: LOG_LEVELS, description: FIXED },
  },
  /** A path, or `-` for standard output; null: none. */
  accessLog: {
    placeholder: 'FILE',
    initial: null,
    parse: filled,
    help:
      'file for one JSON line about each request and each WebSocket, opened again on SIGHUP; - is standard output. Lines hold no keys, ' +
      'values or tokens; if the disk does not keep up, lines are lost and counted',
    isLive: false,
    schema: { type: ['string', 'null'], description: FIXED },
  },
  allowAnonymous: {
    ...toggle(),
    help: 'accept a --host other than loopback, where everybody who can reach it may read and write',
    isLive: false,
    schema: null,
  },
  /** null: `tokens.json` in the data folder. */
  tokensFile: {
    placeholder: 'FILE',
    initial: null,
    parse: filled,
    help: 'the tokens that clients need, as psyncd token makes them (default: tokens.json in the data folder, if it is there)',
    isLive: false,
    schema: { type: ['string', 'null'], description: FIXED },
  },
  anonymousRights: {
    placeholder: 'RIGHTS',
    initial: '',
    parse: rights,
    isList: true,
    help: 'on a node with tokens: what a request without one may do, of read, write, replicate, metrics, admin, separated by commas',
    isLive: false,
    schema: { type: 'array', items: { type: 'string' }, description: FIXED },
  },
  authFailures: {
    ...count('10', '1', '1000000'),
    help: 'tokens that are not valid which one address may show in a minute; then it has to wait (429)',
    isLive: false,
    schema: { ...COUNT, description: FIXED },
  },
  /** Requests a second; 0: no limit. */
  rateLimit: {
    placeholder: 'N/s',
    initial: '0',
    parse: parseRate,
    help:
      'requests that one token, or one address without a token, may send in a second, such as 100/s; more get 429. ' +
      '/healthz, /readyz and preflights do not count. 0: no limit',
    isLive: false,
    schema: { ...COUNT, description: `Requests a second; 0: no limit. ${FIXED}` },
  },
  maxConnectionsPerToken: {
    ...count('0', '0', '1000000'),
    help:
      'largest number of connections of one token, or of one address without a token, at the same time; the node closes more ' +
      '(429). 0: no limit but --max-connections',
    isLive: false,
    schema: { ...COUNT, description: `0: no limit but that of all connections. ${FIXED}` },
  },
  maxFollowersPerToken: {
    ...count('0', '0', '1000000'),
    help:
      'largest number of followers of /v1/changes of one token, or of one address without a token, at the same time; the node ' +
      'refuses more. 0: no limit but --max-followers',
    isLive: false,
    schema: { ...COUNT, description: `0: no limit but that of all followers. ${FIXED}` },
  },
  jwtJwks: {
    placeholder: 'URL|FILE',
    initial: null,
    parse: keySet,
    help: 'JWKS with the public keys of signed tokens (JWT) that clients may show: an https URL or a file',
    isLive: false,
    schema: { type: ['string', 'null'], description: FIXED },
  },
  jwtKeyFile: {
    placeholder: 'FILE',
    initial: null,
    parse: filled,
    help: 'key of signed tokens (JWT) that clients may show: public keys as PEM, or a JWK; a symmetric JWK is for HS256',
    isLive: false,
    schema: { type: ['string', 'null'], description: FIXED },
  },
  jwtAudience: {
    placeholder: 'NAME',
    initial: null,
    parse: filled,
    help: 'what the claim "aud" of a JWT must name; needed with --jwt-jwks and with --jwt-key-file',
    isLive: false,
    schema: { type: ['string', 'null'], description: FIXED },
  },
  jwtIssuer: {
    placeholder: 'NAME',
    initial: null,
    parse: filled,
    help: 'what the claim "iss" of a JWT must be (default: anything)',
    isLive: false,
    schema: { type: ['string', 'null'], description: FIXED },
  },
  jwtMaxAge: {
    ...time('24h', '1s', '8760h'),
    help: 'longest life of a JWT; the node refuses one that lives longer, because it cannot be revoked',
    isLive: false,
    schema: { ...COUNT, description: `Milliseconds. ${FIXED}` },
  },
  /** Read again for each connection, so that a token can be exchanged without a restart. */
  upstreamTokenFile: {
    placeholder: 'FILE',
    initial: null,
    parse: filled,
    help: 'file with the token that this node shows to its master; read again for each connection',
    isLive: false,
    schema: { type: ['string', 'null'], description: FIXED },
  },
  /** Read again for each connection, like the certificate and the key. */
  upstreamCa: {
    placeholder: 'FILE',
    initial: null,
    parse: filled,
    help: 'PEM file with the CAs of masters at wss:// URLs, beside those of the system; read again for each connection',
    isLive: false,
    schema: { type: ['string', 'null'], description: FIXED },
  },
  upstreamCaOnly: {
    ...toggle(),
    needs: ['upstreamCa'],
    help: 'trust only the CAs in --upstream-ca, not those of the system',
    isLive: false,
    schema: { type: 'boolean', description: FIXED },
  },
  upstreamCert: {
    placeholder: 'FILE',
    initial: null,
    parse: filled,
    needs: ['upstreamKey'],
    help: 'PEM file with the certificate that this node shows to its master; read again for each connection',
    isLive: false,
    schema: { type: ['string', 'null'], description: FIXED },
  },
  upstreamKey: {
    placeholder: 'FILE',
    initial: null,
    parse: filled,
    needs: ['upstreamCert'],
    help: 'PEM file with the key of --upstream-cert, without a pass phrase',
    isLive: false,
    schema: { type: ['string', 'null'], description: FIXED },
  },
  tlsCert: {
    placeholder: 'FILE',
    initial: null,
    parse: filled,
    needs: ['tlsKey'],
    help: 'PEM file with the certificate of this node and those between it and its CA: the node then takes only https and wss',
    isLive: false,
    schema: { type: ['string', 'null'], description: FIXED },
  },
  tlsKey: {
    placeholder: 'FILE',
    initial: null,
    parse: filled,
    needs: ['tlsCert'],
    help: 'PEM file with the key of --tls-cert, without a pass phrase',
    isLive: false,
    schema: { type: ['string', 'null'], description: FIXED },
  },
  tlsClientCa: {
    placeholder: 'FILE',
    initial: null,
    parse: filled,
    needs: ['tlsCert', 'tlsClientAuth'],
    help: 'PEM file with the CAs that sign the certificates of clients and replicas',
    isLive: false,
    schema: { type: ['string', 'null'], description: FIXED },
  },
  tlsClientAuth: {
    placeholder: 'WHO',
    initial: 'no',
    parse: oneOf(...TLS_CLIENT_AUTH),
    needs: ['tlsClientCa'],
    help: 'whether clients show a certificate that --tls-client-ca has signed: no, optional, required',
    isLive: false,
    schema: { type: 'string', enum: TLS_CLIENT_AUTH, description: FIXED },
  },
  tlsMinVersion: {
    placeholder: 'VERSION',
    initial: '1.2',
    parse: oneOf(...TLS_VERSIONS),
    help: 'oldest version of TLS that the node speaks: 1.2 or 1.3',
    isLive: false,
    schema: { type: 'string', enum: TLS_VERSIONS, description: FIXED },
  },
  tlsReloadInterval: {
    ...time('1m', '0', '24h'),
    help: 'how often the node looks whether the files for TLS have changed; it also looks on SIGHUP. 0: on SIGHUP only',
    isLive: false,
    schema: { ...COUNT, description: `Milliseconds; 0: on SIGHUP only. ${FIXED}` },
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
      'more (429). 0: the node refuses all requests that would have to wait',
    isLive: true,
    node: 'maxWaiting',
  },
  shutdownTimeout: {
    ...time('10s', '0', '24h'),
    help:
      'longest time that a master waits, when it stops, until its replicas have everything; after that it stops anyway, and logs ' +
      'how many bytes each replica lacks. 0: it does not wait',
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

/** The values of the settings of TLS for the listener. */
export type TlsSettings = {
  readonly [Name in SettingName as Name extends `tls${string}` ? Name : never]: Settings[Name];
};

/** The values of the settings for connections to a master. */
export type UpstreamSettings = {
  readonly [Name in SettingName as Name extends `upstream${string}` ? Name : never]: Settings[Name];
};

/** The values of `NodeSettings`, by the names in it. */
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

/** @returns the values as `/v1/config` shows them: of all settings that openapi.yaml names */
export function shown(settings: Settings): Readonly<Record<string, unknown>> {
  const visible = SETTINGS.filter(({ schema }) => schema !== null);
  return Object.fromEntries(
    visible.map(({ name, show }) => [
      name,
      show === undefined || settings[name] === null ? settings[name] : show(settings[name] as never),
    ]),
  );
}
