/** The settings of the running node, as the node and the HTTP server read them. Some of them change while the node runs. */
import { isDeepStrictEqual } from 'node:util';
import type { RunningSettings } from '../http/routes/node/admin-routes.ts';
import type { NodeSettings } from '../node/node.ts';
import type { LoopLag } from '../runtime/loop-lag.ts';
import { version } from '../runtime/version.ts';
import type { StateFile } from '../store/state/state-file.ts';
import { hostName, isDisguised, KnownHosts } from '../web/hosts.ts';
import type { Origins } from '../web/origins.ts';
import { Proxies } from '../web/proxies.ts';
import { LOG_LEVELS } from './entries/running.ts';
import { contradictionIn } from './load.ts';
import { UsageError } from './parse.ts';
import { type LogLevel, type NodeValues, SETTINGS, type Settings, shown } from './table.ts';

/** Names of settings that a reload has found to differ. */
export interface Reloaded {
  readonly changed: readonly string[];
  /** Those that only a start can set. */
  readonly needRestart: readonly string[];
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

export class LiveSettings implements RunningSettings {
  readonly version = version();
  readonly startedAt = performance.now();
  readonly #loopLag: LoopLag;
  readonly #state: Pick<StateFile, 'journalCounters'>;
  readonly #levelChanged: (level: LogLevel) => void;
  /** Settings of the node, which reads a value each time that it needs it. */
  readonly node: NodeSettings;
  readonly #node: Writable<NodeSettings>;
  readonly hosts: KnownHosts;
  readonly proxies: Proxies;
  #settings: Settings;
  /** Settings as the last load read them from flags, environment and file. */
  #loaded: Settings;

  /** @param levelChanged called with each new level of the log */
  constructor(
    settings: Settings,
    loopLag: LoopLag,
    state: Pick<StateFile, 'journalCounters'>,
    levelChanged: (level: LogLevel) => void,
  ) {
    this.#loopLag = loopLag;
    this.#levelChanged = levelChanged;
    this.#state = state;
    this.#loaded = settings;
    this.#settings = settings;
    this.hosts = knownHosts(settings);
    this.proxies = new Proxies(settings.trustProxy);
    this.#node = nodeSettings(settings);
    this.node = this.#node;
  }

  get allowedOrigins(): Origins {
    return this.#settings.allowOrigin;
  }

  get publicUrl(): string | null {
    return this.#settings.publicUrl;
  }

  get bodyTimeoutMs(): number {
    return this.#settings.bodyTimeout;
  }

  get requestMemoryBytes(): number {
    return this.#settings.requestMemory;
  }

  get logsRequests(): boolean {
    return this.#settings.logLevel === 'debug';
  }

  get loopLag(): { readonly p99Ms: number; readonly maxMs: number } {
    return this.#loopLag.last;
  }

  get journal(): { readonly commits: number; readonly fsyncs: number } {
    return this.#state.journalCounters;
  }

  current(): Readonly<Record<string, unknown>> {
    return shown(this.#settings);
  }

  change(values: Readonly<Record<string, string>>): string | null {
    const changed: Record<string, unknown> = {};
    for (const [name, text] of Object.entries(values)) {
      const setting = SETTINGS.find((each) => each.name === name);
      if (setting === undefined) return `there is no setting ${JSON.stringify(name)}`;
      if (!setting.isLive) return `${name} can only be set when the node starts`;
      try {
        changed[name] = setting.parse(text);
      } catch (error) {
        if (!(error instanceof UsageError)) throw error;
        return `${name}: ${error.message}, got ${JSON.stringify(text)}`;
      }
    }
    const settings = { ...this.#settings, ...changed };
    const contradiction = contradictionIn(settings);
    if (contradiction !== null) return contradiction;
    this.#take(settings);
    return null;
  }

  /**
   * Takes over the settings that may change while the node runs.
   * @param settings the settings with which the node would start now
   * @param tell gets the names of the settings that were changed, and of those that differ and need a restart, while the log has
   *   the level at which it writes more
   */
  reload(settings: Settings, tell: (reloaded: Reloaded) => void): void {
    const different = SETTINGS.filter(({ name }) => !isDeepStrictEqual(settings[name], this.#loaded[name]));
    // The new settings are compared with the last load, so a value that PATCH has set stays unless the file has a new one.
    this.#loaded = settings;
    const changed = different.filter(({ isLive }) => isLive).map(({ name }) => name);
    const needRestart = different.filter(({ isLive }) => !isLive).map(({ name }) => name);
    const next = { ...this.#settings, ...Object.fromEntries(changed.map((name) => [name, settings[name]])) };
    const isQuieter = LOG_LEVELS.indexOf(next.logLevel) < LOG_LEVELS.indexOf(this.#settings.logLevel);
    if (isQuieter) tell({ changed, needRestart });
    this.#take(next);
    if (!isQuieter) tell({ changed, needRestart });
  }

  #take(settings: Settings): void {
    if (settings.logLevel !== this.#settings.logLevel) this.#levelChanged(settings.logLevel);
    this.#settings = settings;
    Object.assign(this.#node, nodeSettings(settings));
  }
}

/** @returns the names that the node answers to, beside IP addresses and this machine */
export function knownHosts(settings: Settings): KnownHosts {
  const listening = [...ownNames(settings), ...otherNames(settings)];
  // A node that listens on all addresses does not answer to `0.0.0.0` because of that.
  return new KnownHosts([
    ...settings.allowHost,
    ...listening.filter((name) => !isDisguised(hostName(name) ?? '')),
  ]);
}

/** @returns the names of this node, beside its IP addresses and those that clients use */
function ownNames({ host, announceUrl, publicUrl }: Settings): readonly string[] {
  const urls = [announceUrl, publicUrl].filter((url) => url !== null);
  return [host, ...urls.map((url) => new URL(url).host)];
}

/** @returns the settings that have a name in the node, under that name */
function nodeValues(settings: Settings): NodeValues {
  const named = SETTINGS.flatMap(({ name, node }) => (node === undefined ? [] : [[node, settings[name]]]));
  return Object.fromEntries(named) as NodeValues;
}

function nodeSettings(settings: Settings): Writable<NodeSettings> {
  const { backlogSize, backlogFloor, journalKeep } = settings;
  return {
    ...nodeValues(settings),
    backlogBytes: typeof backlogSize === 'number' ? backlogSize : backlogFloor,
    backlogAwayMs: typeof backlogSize === 'number' ? null : backlogSize.awayMs,
    journalKeepBytes: journalKeep.bytes,
    journalKeepMs: journalKeep.ms,
  };
}

/** @returns the names in the addresses of the other listeners */
function otherNames({ adminListen, metricsListen }: Settings): readonly string[] {
  return [adminListen, metricsListen].flatMap((address) => (address === null ? [] : [address.host]));
}
