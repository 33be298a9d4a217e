/** Settings of a start: addresses, data folder, logs, and who may call. They stay while the node runs. */
import {
  address,
  clusterName,
  filled,
  formatAddress,
  hostNames,
  masterUrl,
  oneOf,
  origins,
  proxies,
  publicUrl,
  upstream,
} from '../parse.ts';
import { COUNT, count, FIXED, type Setting, toggle } from '../setting.ts';

const FSYNC_POLICIES = ['always', 'everysec', 'no'] as const;
const ON_DAMAGE = ['stop', 'resync'] as const;

export const STARTING = {
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
  /** null: `/metrics` is on the other listeners only. */
  metricsListen: {
    placeholder: 'HOST:PORT',
    initial: null,
    parse: address,
    show: formatAddress,
    help:
      'one more address to listen on, such as 127.0.0.1:9151, for /metrics, /healthz and /readyz alone; nobody needs a token there. On ' +
      'the other addresses /metrics needs the right metrics',
    isLive: false,
    schema: { type: ['string', 'null'], description: FIXED },
  },
  /** null: metrics have no such label. */
  cluster: {
    placeholder: 'NAME',
    initial: null,
    parse: clusterName,
    help: 'name that all nodes of a chain share; every metric has it as the label cluster',
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
      'the URL under which other nodes reach this one, ws://HOST:PORT or wss://HOST:PORT, if it differs from the address on which it listens; ' +
      'replicas redirect writes to it',
    isLive: false,
    schema: { type: ['string', 'null'], description: FIXED },
  },
  maxConnections: {
    ...count('16000', '1', '1000000'),
    help:
      'largest number of connections at the same time, replicas and followers included; a new one takes the place of the one that is idle ' +
      'longest, or is closed at once if none is idle',
    isLive: false,
    schema: { ...COUNT, description: FIXED },
  },
  allowOrigin: {
    placeholder: 'ORIGINS',
    initial: '',
    parse: origins,
    isList: true,
    help:
      'origins whose web pages may read, write and follow here, under each name and address of this node, such as https://app.example, ' +
      'separated by commas; * for all',
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
      'its API description name it. Its pages count as own ones only in requests for its host; --allow-origin lets them call other hosts',
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
} as const satisfies Readonly<Record<string, Setting>>;
