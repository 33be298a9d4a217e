/**
 * The settings. Each has one name in three spellings: `--backlog-size`, `PSYNCD_BACKLOG_SIZE`, and `"backlogSize"`
 * in the config file; a flag beats the environment, which beats the file. What happens at a limit stands with it.
 */
import { JsonError, parseJson } from './keyspace/json.ts';
import { isRawJSON } from './keyspace/json-number.ts';
import type { Origins } from './node/origins.ts';
import { canonicalUpstream, parseUpstream } from './replication/upstream.ts';
import { readSmallFile } from './small-file.ts';
import type { FsyncPolicy } from './store/state-file.ts';

export interface Settings {
  readonly port: number;
  readonly host: string;
  readonly data: string;
  /** `ws://HOST:PORT`; `no-one`: be a master; null: whatever it was when it stopped. */
  readonly replicaOf: string | null;
  /** `ws://HOST:PORT` under which other nodes reach this one; null: where it listens. */
  readonly announceUrl: string | null;
  /** In bytes; or how long replicas may be away, and the size follows from how much is written. */
  readonly backlogSize: number | { readonly awayMs: number };
  readonly backlogFloor: number;
  readonly backlogCeiling: number;
  readonly fsync: FsyncPolicy;
  readonly overlaySize: number;
  readonly applyInterval: number;
  readonly replTimeout: number;
  readonly replPingInterval: number;
  readonly replicaOutputLimit: number;
  readonly replicaOutputSoftLimit: number;
  readonly replicaOutputSoftTime: number;
  readonly maxReplicas: number;
  readonly maxFollowers: number;
  readonly followerOutputLimit: number;
  readonly allowOrigin: Origins;
  /** DNS names, in lowercase, that requests may call this node by. */
  readonly allowHost: readonly string[];
  readonly minReplicasToWrite: number;
  readonly minReplicasMaxLag: number;
  readonly allowEmptyMaster: boolean;
  readonly keepReplaced: number;
  readonly onDamage: 'stop' | 'resync';
  readonly scrubInterval: number;
  readonly verifyInterval: number;
  readonly maxConnections: number;
  readonly bodyTimeout: number;
  readonly requestMemory: number;
  readonly maxWaiting: number;
  readonly shutdownTimeout: number;
  readonly logLevel: LogLevel;
  readonly allowAnonymous: boolean;
}

export type LogLevel = 'error' | 'warn' | 'info';

/** A setting that cannot be used: wrong usage, exit code 2. The message is one line. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

interface Kind<T> {
  /** For `--help`: what stands behind the flag; null for a switch. */
  readonly placeholder: string | null;
  /** @throws UsageError that says what is expected */
  parse(text: string): T;
}

export interface Setting<T = unknown> extends Kind<T> {
  readonly name: keyof Settings;
  readonly initial: string | null;
  readonly help: string;
  /** The flag may be given several times, and means the same as one with all values separated by commas. */
  readonly isList?: true;
}

type Units = ReadonlyMap<string, number>;
const SIZE_UNITS: Units = new Map(Object.entries({ b: 1, kb: 1024, mb: 1024 ** 2, gb: 1024 ** 3 }));
const TIME_UNITS: Units = new Map(Object.entries({ ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }));

/** `1mb`, `512kb`, `100` (bytes); units of 1,024. @throws UsageError */
export function parseSize(text: string): number {
  return scaled(text, SIZE_UNITS, 'b', 'a size such as 512kb, 1mb or 2gb');
}

/** `500ms`, `10s`, `2m`; a bare number is milliseconds. @throws UsageError */
export function parseTime(text: string): number {
  return scaled(text, TIME_UNITS, 'ms', 'a time such as 500ms, 10s or 2m');
}

function scaled(text: string, units: Units, bare: string, expected: string): number {
  const match = /^(\d{1,15}(?:\.\d{1,6})?)\s*([a-z]*)$/i.exec(text.trim());
  const unit = units.get((match?.[2] || bare).toLowerCase());
  const value = Math.round(Number(match?.[1]) * (unit ?? Number.NaN));
  if (!Number.isSafeInteger(value)) throw new UsageError(`expected ${expected}`);
  return value;
}

/** @returns what takes a time or size from `least` to `most`, and throws a UsageError for any other */
export function between(
  parse: (text: string) => number,
  least: string,
  most: string,
): (text: string) => number {
  return (text) => {
    const value = parse(text);
    if (value < parse(least) || value > parse(most))
      throw new UsageError(
        `allowed are ${least} to ${most}${/\d$/.test(text) && parse !== whole ? ' (a number without a unit is bytes or milliseconds)' : ''}`,
      );
    return value;
  };
}

function whole(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new UsageError('expected a whole number');
  return Number(text);
}

function oneOf<T extends string>(...words: readonly T[]): (text: string) => T {
  return (text) => {
    const word = words.find((each) => each === text);
    if (word === undefined) throw new UsageError(`expected one of ${words.join(', ')}`);
    return word;
  };
}

/** `1mb`, or `auto:120s`. */
function backlogSize(text: string): Settings['backlogSize'] {
  const auto = /^auto:(.*)$/i.exec(text.trim());
  if (auto !== null) return { awayMs: between(parseTime, '1s', '24h')(auto[1] as string) };
  try {
    return between(parseSize, '16kb', '4gb')(text);
  } catch (error) {
    if (error instanceof UsageError) throw new UsageError(`${error.message}; or auto:TIME, as in auto:120s`);
    throw error;
  }
}

/** How `backlogSize` is written. */
export function formatBacklogSize(size: Settings['backlogSize']): number | string {
  if (typeof size === 'number') return size;
  return size.awayMs % 1000 === 0 ? `auto:${size.awayMs / 1000}s` : `auto:${size.awayMs}ms`;
}

function listed(text: string): readonly string[] {
  return text
    .split(',')
    .map((each) => each.trim())
    .filter((each) => each !== '');
}

/** `https://app.example,http://localhost:3000`; `null` is what pages of local files have. */
function origins(text: string): Origins {
  const list = listed(text);
  if (list.includes('*')) return 'any';
  const wrong = list.find((each) => each !== 'null' && !/^https?:\/\/[^/?#@\s]+$/.test(each));
  if (wrong !== undefined) throw new UsageError('expected origins of the form https://HOST[:PORT], or *');
  return list.map((each) => each.toLowerCase());
}

/** `db.example,db`, without ports: on which port a request arrived is known. */
function hostNames(text: string): readonly string[] {
  return listed(text).map((name) => {
    const url = `http://${name}`;
    if (/[:/?#@\\\s*]|^\./.test(name) || !URL.canParse(url)) {
      throw new UsageError('expected names such as db.example, without a port');
    }
    return new URL(url).hostname;
  });
}

const trueOrFalse = (text: string): boolean => oneOf('true', 'false')(text) === 'true';

function upstream(text: string): string {
  if (text !== 'no-one' && parseUpstream(text) === null) {
    throw new UsageError('expected a URL of the form ws://HOST:PORT, or no-one');
  }
  return text;
}

function masterUrl(text: string): string {
  const url = parseUpstream(text);
  if (url === null) throw new UsageError('expected a URL of the form ws://HOST:PORT');
  return canonicalUpstream(url);
}

function filled(text: string): string {
  if (text === '') throw new UsageError('it is empty');
  return text;
}

/** Every setting of `serve`, in the order of its `--help`. */
export const SETTINGS: readonly Setting[] = [
  {
    name: 'port',
    placeholder: 'N',
    initial: '7796',
    parse: between(whole, '0', '65535'),
    help: 'TCP port; 0 picks a free one',
  },
  { name: 'host', placeholder: 'ADDRESS', initial: '127.0.0.1', parse: filled, help: 'address to listen on' },
  {
    name: 'data',
    placeholder: 'FOLDER',
    initial: './psyncd-data',
    parse: filled,
    help: 'data folder; made if it is not there',
  },
  {
    name: 'replicaOf',
    placeholder: 'URL',
    initial: null,
    parse: upstream,
    help: 'follow this master, ws://HOST:PORT; no-one: be a master. Without it the node is what it was',
  },
  {
    name: 'announceUrl',
    placeholder: 'URL',
    initial: null,
    parse: masterUrl,
    help: 'ws://HOST:PORT under which other nodes reach this one, if that is not where it listens; redirected writes go there',
  },
  {
    name: 'backlogSize',
    placeholder: 'SIZE',
    initial: '1mb',
    parse: backlogSize,
    help:
      'bytes of the stream kept in memory; a replica that lacks more gets a full resync. auto:TIME: as large as replicas ' +
      'need that are away for so long, at the rate that is written',
  },
  {
    name: 'backlogFloor',
    placeholder: 'SIZE',
    initial: '1mb',
    parse: between(parseSize, '16kb', '4gb'),
    help: 'the smallest that --backlog-size auto makes it',
  },
  {
    name: 'backlogCeiling',
    placeholder: 'SIZE',
    initial: '256mb',
    parse: between(parseSize, '16kb', '4gb'),
    help: 'the largest that --backlog-size auto makes it',
  },
  {
    name: 'fsync',
    placeholder: 'POLICY',
    initial: 'everysec',
    parse: oneOf<FsyncPolicy>('always', 'everysec', 'no'),
    help: 'when an answered write is on disk: always, everysec, no',
  },
  {
    name: 'overlaySize',
    placeholder: 'SIZE',
    initial: '64mb',
    parse: between(parseSize, '1mb', '16gb'),
    help: 'memory for writes that SQLite does not hold yet; at the limit writers wait',
  },
  {
    name: 'applyInterval',
    placeholder: 'TIME',
    initial: '2s',
    parse: between(parseTime, '1ms', '1h'),
    help: 'longest time before a write is moved from the journal into the keyspace file',
  },
  {
    name: 'replTimeout',
    placeholder: 'TIME',
    initial: '60s',
    parse: between(parseTime, '100ms', '24h'),
    help: 'a replication link silent for so long is dropped',
  },
  {
    name: 'replPingInterval',
    placeholder: 'TIME',
    initial: '10s',
    parse: between(parseTime, '10ms', '1h'),
    help: 'how often both sides of a link send a ping frame',
  },
  {
    name: 'replicaOutputLimit',
    placeholder: 'SIZE',
    initial: '256mb',
    parse: between(parseSize, '16kb', '1024gb'),
    help: 'a replica that reads so slowly that it lags by more is disconnected; never below the backlog',
  },
  {
    name: 'replicaOutputSoftLimit',
    placeholder: 'SIZE',
    initial: '64mb',
    parse: between(parseSize, '16kb', '1024gb'),
    help: 'a replica that lags by more for longer than --replica-output-soft-time is disconnected',
  },
  {
    name: 'replicaOutputSoftTime',
    placeholder: 'TIME',
    initial: '60s',
    parse: between(parseTime, '100ms', '24h'),
    help: 'how long a replica may lag by more than --replica-output-soft-limit',
  },
  {
    name: 'maxReplicas',
    placeholder: 'N',
    initial: '256',
    parse: between(whole, '0', '100000'),
    help: 'replicas served at the same time; more are refused',
  },
  {
    name: 'maxFollowers',
    placeholder: 'N',
    initial: '10000',
    parse: between(whole, '0', '1000000'),
    help: 'followers of /v1/changes served at the same time; more are refused',
  },
  {
    name: 'followerOutputLimit',
    placeholder: 'SIZE',
    initial: '64mb',
    parse: between(parseSize, '16kb', '1024gb'),
    help: 'a follower that reads so slowly that it lags by more of the stream is let go; never below the backlog',
  },
  {
    name: 'allowOrigin',
    placeholder: 'ORIGINS',
    initial: '',
    parse: origins,
    isList: true,
    help: 'origins whose web pages may read, write and follow here, such as https://app.example, separated by commas; * for all',
  },
  {
    name: 'allowHost',
    placeholder: 'NAMES',
    initial: '',
    parse: hostNames,
    isList: true,
    help:
      'names by which clients reach this node, such as db.example, separated by commas; IP addresses, localhost and the names ' +
      'in --host and --announce-url need not be given. Requests for other names are refused (403)',
  },
  {
    name: 'minReplicasToWrite',
    placeholder: 'N',
    initial: '0',
    parse: between(whole, '0', '1000'),
    help: 'refuse writes (503 NOREPLICAS) unless so many replicas have acknowledged something lately; 0: never',
  },
  {
    name: 'minReplicasMaxLag',
    placeholder: 'TIME',
    initial: '10s',
    // With one second every other ACK would come too late.
    parse: between(parseTime, '2s', '24h'),
    help: 'how long ago "lately" may be; replicas acknowledge once a second',
  },
  {
    name: 'allowEmptyMaster',
    placeholder: null,
    initial: 'false',
    parse: trueOrFalse,
    help: 'let a full resync replace data by the empty keyspace of an unrelated history',
  },
  {
    name: 'keepReplaced',
    placeholder: 'N',
    initial: '3',
    parse: between(whole, '0', '100'),
    help: 'how many keyspace files are kept that a full resync has replaced on a diverged history',
  },
  {
    name: 'onDamage',
    placeholder: 'WHAT',
    initial: 'stop',
    parse: oneOf('stop', 'resync'),
    help: 'what a replica does whose files are damaged: stop, or resync from its master. A master always stops',
  },
  {
    name: 'scrubInterval',
    placeholder: 'TIME',
    initial: '24h',
    // A timer takes no more than 24 days.
    parse: between(parseTime, '0', '480h'),
    help: 'how often the keyspace file is looked through for damage that nobody touches; 0: never',
  },
  {
    name: 'verifyInterval',
    placeholder: 'TIME',
    initial: '24h',
    parse: between(parseTime, '0', '480h'),
    help: 'how often a replica compares what it holds with what its master holds; 0: never',
  },
  {
    name: 'maxConnections',
    placeholder: 'N',
    initial: '16000',
    parse: between(whole, '1', '1000000'),
    help: 'connections at the same time, replicas and followers included; more are closed at once',
  },
  {
    name: 'bodyTimeout',
    placeholder: 'TIME',
    initial: '30s',
    parse: between(parseTime, '100ms', '24h'),
    help: 'a request of whose body nothing arrives for so long, or less than 1 KiB a second, is given up with 408',
  },
  {
    name: 'requestMemory',
    placeholder: 'SIZE',
    initial: '256mb',
    parse: between(parseSize, '1mb', '1024gb'),
    help:
      'memory for request bodies (one half) and for answers that clients have not taken (the other); at the limit ' +
      'large bodies and large answers wait',
  },
  {
    name: 'maxWaiting',
    placeholder: 'N',
    initial: '10000',
    parse: between(whole, '0', '1000000'),
    help:
      'writes that wait for acks at the same time, and so many reads that wait for a position; more are refused (429). ' +
      '0: every one that would have to wait is refused',
  },
  {
    name: 'shutdownTimeout',
    placeholder: 'TIME',
    initial: '10s',
    parse: between(parseTime, '0', '24h'),
    help:
      'how long a master that stops waits until its replicas have everything; then it stops all the same, and the log says who ' +
      'lacks how much. 0: it does not wait',
  },
  {
    name: 'logLevel',
    placeholder: 'LEVEL',
    initial: 'info',
    parse: oneOf<LogLevel>('error', 'warn', 'info'),
    help: 'what goes to standard error: error, warn, info',
  },
  {
    name: 'allowAnonymous',
    placeholder: null,
    initial: 'false',
    parse: trueOrFalse,
    help: 'let everybody who can reach a --host other than loopback read and write',
  },
];

/** `backlogSize` as `--backlog-size`. */
export function flagOf(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** `backlogSize` as `PSYNCD_BACKLOG_SIZE`. */
export function variableOf(name: string): string {
  return `PSYNCD_${name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
}

/**
 * @param flags what the command line gave, by setting name
 * @param environment the process's variables
 * @param configFile the path of a JSON file, or null
 * @throws UsageError with one line for a setting that is unknown or cannot be used
 */
export function loadSettings(
  flags: Readonly<Record<string, string | undefined>>,
  environment: Readonly<Record<string, string | undefined>>,
  configFile: string | null,
): Settings {
  const file = configFile === null ? {} : readConfigFile(configFile);
  const values: Record<string, unknown> = {};
  for (const { name, initial, parse } of SETTINGS) {
    const [text, source] = first(
      [flags[name], flagOf(name)],
      // An empty variable is what a unit file or a container leaves of one that has no value.
      [environment[variableOf(name)] || undefined, variableOf(name)],
      [file[name], `"${name}" in ${configFile}`],
      [initial ?? undefined, 'the default'],
    );
    try {
      values[name] = text === null ? null : parse(text);
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      throw new UsageError(`${source}: ${error.message}, got ${JSON.stringify(text)}`);
    }
  }
  const settings = values as unknown as Settings;
  const contradiction = contradictionIn(settings);
  if (contradiction !== null) throw new UsageError(contradiction);
  if (!isLoopback(settings.host) && !settings.allowAnonymous) {
    throw new UsageError(
      `--host ${settings.host} lets others in without a password; --allow-anonymous says that this is meant`,
    );
  }
  return settings;
}

/** Variables that begin like settings and are none: of the command line, and for tests. */
const OTHER_VARIABLES: ReadonlySet<string> = new Set([
  'PSYNCD_NODE',
  'PSYNCD_TOKEN',
  'PSYNCD_FAULTS',
  'PSYNCD_SEED',
]);
const TEST_VARIABLE = /^PSYNCD_(?:TEST|WAL)_/;

/** @returns the environment variables that look like settings of psyncd and are none, as misspelt ones do */
export function unknownVariables(
  environment: Readonly<Record<string, string | undefined>>,
): readonly string[] {
  const known = new Set([...SETTINGS.map(({ name }) => variableOf(name)), ...OTHER_VARIABLES]);
  return Object.keys(environment)
    .filter((name) => name.startsWith('PSYNCD_') && !known.has(name) && !TEST_VARIABLE.test(name))
    .sort();
}

/** @returns what in these settings cannot be together, or null */
export function contradictionIn({ backlogFloor, backlogCeiling }: Settings): string | null {
  return backlogFloor > backlogCeiling
    ? `backlogFloor (${backlogFloor}) is larger than backlogCeiling (${backlogCeiling})`
    : null;
}

function first(
  ...candidates: readonly (readonly [string | undefined, string])[]
): readonly [string | null, string] {
  for (const [text, source] of candidates) if (text !== undefined) return [text, source];
  return [null, ''];
}

/** The largest configuration file, in bytes. */
const MAX_CONFIG_BYTES = 1024 * 1024;

function readConfigFile(path: string): Readonly<Record<string, string>> {
  let parsed: unknown;
  try {
    parsed = parseJson(readSmallFile(path, MAX_CONFIG_BYTES));
  } catch (error) {
    const detail = error instanceof JsonError ? `it is not JSON: ${error.detail}` : error;
    throw new UsageError(`--config ${path}: ${detail instanceof Error ? detail.message : detail}`);
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed) || isRawJSON(parsed)) {
    throw new UsageError(`--config ${path}: expected a JSON object`);
  }
  const known = new Set<string>(SETTINGS.map(({ name }) => name));
  const values: Record<string, string> = {};
  for (const [name, value] of Object.entries(parsed)) {
    if (!known.has(name)) throw new UsageError(`--config ${path}: there is no setting "${name}"`);
    if (isRawJSON(value)) values[name] = value.rawJSON;
    else if (['string', 'number', 'boolean'].includes(typeof value)) values[name] = String(value);
    else throw new UsageError(`--config ${path}: "${name}" is no string, number or boolean`);
  }
  return values;
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host);
}
