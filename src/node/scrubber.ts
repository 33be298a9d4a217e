/**
 * When the keyspace file is looked through for damage that nobody touches: soon after a stop that was none, an hour
 * after any other start, and then every `scrubIntervalMs`. One at a time; what found no end is begun again soon.
 */
import { msSince } from './elapsed.ts';
import type { Log, World } from './ports.ts';
import type { StreamHead } from './stream-head.ts';
import { logUnexpected, unattended } from './unattended.ts';

export interface ScrubSettings {
  /** 0: never. */
  readonly scrubIntervalMs: number;
}

export interface ScrubStatus {
  readonly running: boolean;
  /** The last one that has ended since the node has started. */
  readonly last: {
    /** When it began, in milliseconds since 1970. */
    readonly at: number;
    readonly durationMs: number;
    /** `interrupted`: a full resync has replaced the file. */
    readonly result: 'ok' | 'interrupted' | 'failed';
    readonly entries: number;
  } | null;
}

/** The longest before the first one. */
const AFTER_START_MS = 3_600_000;
const AFTER_CRASH_MS = 60_000;
/** The longest before one that was interrupted is begun again. */
const AGAIN_MS = 60_000;

export class Scrubber {
  readonly #world: World;
  readonly #log: Log;
  readonly #head: StreamHead;
  readonly #settings: ScrubSettings;
  #cancel: (() => void) | null = null;
  #intervalMs = 0;
  #running = false;
  #stopped = false;
  #last: ScrubStatus['last'] = null;

  constructor(parts: { world: World; log: Log; head: StreamHead; settings: ScrubSettings }) {
    this.#world = parts.world;
    this.#log = parts.log;
    this.#head = parts.head;
    this.#settings = parts.settings;
  }

  get status(): ScrubStatus {
    return { running: this.#running, last: this.#last };
  }

  /** @param wasClean the last run has ended as it should */
  start(wasClean: boolean): void {
    this.#schedule(wasClean ? AFTER_START_MS : AFTER_CRASH_MS);
  }

  /** Another interval counts from now on. */
  adjust(): void {
    if (this.#settings.scrubIntervalMs !== this.#intervalMs && !this.#running) this.#schedule();
  }

  /** Nothing is begun any more; what is going on ends when the keyspace file is closed. */
  stop(): void {
    this.#stopped = true;
    this.#cancel?.();
  }

  #schedule(mostMs = Number.POSITIVE_INFINITY): void {
    this.#cancel?.();
    this.#intervalMs = this.#settings.scrubIntervalMs;
    if (this.#intervalMs === 0 || this.#stopped) return;
    this.#cancel = this.#world.after(Math.min(this.#intervalMs, mostMs), () =>
      unattended(this.#run(), (error) => logUnexpected(this.#log, 'scrub', error)),
    );
  }

  async #run(): Promise<void> {
    const at = this.#world.now();
    const startedAt = this.#world.monotonic();
    this.#running = true;
    let ended = { result: 'failed' as NonNullable<ScrubStatus['last']>['result'], entries: 0 };
    try {
      const { finished, entries } = await this.#head.scrub();
      ended = { result: finished ? 'ok' : 'interrupted', entries };
    } catch (error) {
      // Damage has been told to whoever decides what becomes of the node.
      this.#log.warn('scrub-failed', { error: String(error) });
    }
    this.#running = false;
    this.#last = { ...ended, at, durationMs: msSince(this.#world, startedAt) };
    if (ended.result !== 'failed') this.#log.info('scrubbed', this.#last);
    this.#schedule(ended.result === 'interrupted' ? AGAIN_MS : undefined);
  }
}
