/** The settings of the running node, and the ones among them that may change while it runs. */
import { isDeepStrictEqual } from 'node:util';
import { contradictionIn, formatBacklogSize, SETTINGS, type Settings, UsageError } from './config.ts';
import type { RunningSettings } from './http/routes/admin-routes.ts';
import type { NodeSettings } from './node/node.ts';
import type { LoopLag } from './runtime/loop-lag.ts';
import { version } from './runtime/version.ts';
import type { StateFile } from './store/state/state-file.ts';
import { KnownHosts } from './web/hosts.ts';
import type { Origins } from './web/origins.ts';

const CHANGEABLE: ReadonlySet<keyof Settings> = new Set([
  'backlogSize',
  'backlogFloor',
  'backlogCeiling',
  'overlaySize',
  'applyInterval',
  'replTimeout',
  'replPingInterval',
  'replicaOutputLimit',
  'replicaOutputSoftLimit',
  'replicaOutputSoftTime',
  'maxReplicas',
  'maxFollowers',
  'followerOutputLimit',
  'minReplicasToWrite',
  'minReplicasMaxLag',
  'allowEmptyMaster',
  'keepReplaced',
  'scrubInterval',
  'verifyInterval',
  'bodyTimeout',
  'requestMemory',
  'maxWaiting',
  'shutdownTimeout',
]);

type Writable<T> = { -readonly [K in keyof T]: T[K] };

export class LiveSettings implements RunningSettings {
  readonly version = version();
  readonly startedAt = performance.now();
  readonly #loopLag: LoopLag;
  readonly #state: Pick<StateFile, 'journalCounters'>;
  /** What the node reads, each time that it needs it. */
  readonly node: NodeSettings;
  readonly #node: Writable<NodeSettings>;
  readonly hosts: KnownHosts;
  #settings: Settings;
  /** As they were read last from flags, environment and file. */
  #loaded: Settings;

  constructor(settings: Settings, loopLag: LoopLag, state: Pick<StateFile, 'journalCounters'>) {
    this.#loopLag = loopLag;
    this.#state = state;
    this.#loaded = settings;
    this.#settings = settings;
    this.hosts = new KnownHosts(ownNames(settings));
    this.#node = nodeSettings(settings);
    this.node = this.#node;
  }

  get allowedOrigins(): Origins {
    return this.#settings.allowOrigin;
  }

  get bodyTimeoutMs(): number {
    return this.#settings.bodyTimeout;
  }

  get requestMemoryBytes(): number {
    return this.#settings.requestMemory;
  }

  get loopLag(): { readonly p99Ms: number; readonly maxMs: number } {
    return this.#loopLag.last;
  }

  get journal(): { readonly commits: number; readonly fsyncs: number } {
    return this.#state.journalCounters;
  }

  current(): Readonly<Record<string, unknown>> {
    const { host, port, data, fsync, announceUrl, maxConnections, allowOrigin, allowHost } = this.#settings;
    const { onDamage, logLevel } = this.#settings;
    const changeable = Object.fromEntries([...CHANGEABLE].map((name) => [name, this.#settings[name]]));
    const backlogSize = formatBacklogSize(this.#settings.backlogSize);
    const listening = { host, port, data, fsync, announceUrl, maxConnections };
    return { ...listening, allowOrigin, allowHost, onDamage, logLevel, ...changeable, backlogSize };
  }

  change(values: Readonly<Record<string, string>>): string | null {
    const changed: Record<string, unknown> = {};
    for (const [name, text] of Object.entries(values)) {
      const setting = SETTINGS.find((each) => each.name === name);
      if (setting === undefined) return `there is no setting ${JSON.stringify(name)}`;
      if (!CHANGEABLE.has(setting.name)) return `${name} can only be set when the node starts`;
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
   * Takes over what may change while the node runs.
   * @param settings as they would be if the node started now
   * @returns the names of the settings that were changed, and of those that differ and need a restart
   */
  reload(settings: Settings): {
    readonly changed: readonly string[];
    readonly needRestart: readonly string[];
  } {
    const names = SETTINGS.map(({ name }) => name).filter(
      (name) => !isDeepStrictEqual(settings[name], this.#loaded[name]),
    );
    // What PATCH has changed meanwhile stays, unless the file says something new of it.
    this.#loaded = settings;
    const changed = names.filter((name) => CHANGEABLE.has(name));
    this.#take({ ...this.#settings, ...Object.fromEntries(changed.map((name) => [name, settings[name]])) });
    return { changed, needRestart: names.filter((name) => !CHANGEABLE.has(name)) };
  }

  #take(settings: Settings): void {
    this.#settings = settings;
    Object.assign(this.#node, nodeSettings(settings));
  }
}

/** What this node is called, beside IP addresses. */
function ownNames({ host, announceUrl, allowHost }: Settings): readonly string[] {
  return [...allowHost, host, ...(announceUrl === null ? [] : [new URL(announceUrl).host])];
}

function nodeSettings(settings: Settings): Writable<NodeSettings> {
  const { backlogSize, backlogFloor } = settings;
  return {
    backlogBytes: typeof backlogSize === 'number' ? backlogSize : backlogFloor,
    backlogAwayMs: typeof backlogSize === 'number' ? null : backlogSize.awayMs,
    backlogFloorBytes: backlogFloor,
    backlogCeilingBytes: settings.backlogCeiling,
    overlayBytes: settings.overlaySize,
    applyIntervalMs: settings.applyInterval,
    timeoutMs: settings.replTimeout,
    pingIntervalMs: settings.replPingInterval,
    outputLimitBytes: settings.replicaOutputLimit,
    outputSoftBytes: settings.replicaOutputSoftLimit,
    outputSoftMs: settings.replicaOutputSoftTime,
    maxReplicas: settings.maxReplicas,
    maxFollowers: settings.maxFollowers,
    followerOutputBytes: settings.followerOutputLimit,
    minReplicasToWrite: settings.minReplicasToWrite,
    minReplicasMaxLagMs: settings.minReplicasMaxLag,
    allowEmptyMaster: settings.allowEmptyMaster,
    keepReplaced: settings.keepReplaced,
    scrubIntervalMs: settings.scrubInterval,
    verifyIntervalMs: settings.verifyInterval,
    maxWaiting: settings.maxWaiting,
    shutdownTimeoutMs: settings.shutdownTimeout,
  };
}
