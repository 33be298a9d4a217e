/**
 * Schedules the background scrub, which looks through the keyspace file for damage that no request reads: a minute after an
 * unclean stop, an hour after a clean start, and then every `scrubIntervalMs`. One runs at a time; one that was interrupted
 * is begun again soon. If a replica refuses a snapshot because it is damaged, one is begun at once, whatever the interval is.
 */
import { msSince } from '../elapsed.ts';
import type { StreamHead } from '../head/stream-head.ts';
import type { Log, World } from '../ports.ts';
import { logUnexpected, unattended } from '../unattended.ts';

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
/** Replicas that refuse what they get make a scrub begin no sooner than so long after the end of the one before. */
const SUSPECT_EVERY_MS = 60_000;

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
  /** When the last one ended, on the monotonic clock. */
  #endedAt: number | null = null;
  /** A replica has refused a snapshot since the last one began. */
  #suspected = false;

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

  /**
   * A replica has refused a snapshot of this node because it is damaged: it is looked for at once. Replicas may be wrong, and say
   * so as often as they like.
   * @param reason the replica's words
   */
  suspect(replica: string, reason: string): void {
    this.#log.error('snapshot-refused', { replica, reason });
    if (this.#suspected) return;
    this.#suspected = true;
    if (!this.#running) this.#schedule();
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
    if (this.#stopped) return;
    const nextMs = this.#intervalMs === 0 ? Number.POSITIVE_INFINITY : Math.min(this.#intervalMs, mostMs);
    const delayMs = this.#suspected ? Math.min(nextMs, this.#suspectedMs()) : nextMs;
    if (delayMs === Number.POSITIVE_INFINITY) return;
    this.#cancel = this.#world.after(delayMs, () =>
      unattended(this.#run(), (error) => logUnexpected(this.#log, 'scrub', error)),
    );
  }

  #suspectedMs(): number {
    return this.#endedAt === null
      ? 0
      : Math.max(0, this.#endedAt + SUSPECT_EVERY_MS - this.#world.monotonic());
  }

  async #run(): Promise<void> {
    const suspected = this.#suspected;
    this.#suspected = false;
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
    this.#endedAt = this.#world.monotonic();
    if (ended.result !== 'failed') this.#log.info('scrubbed', this.#last);
    if (suspected && ended.result === 'ok') this.#log.warn('refused-snapshot-was-whole', this.#last);
    if (suspected && ended.result === 'interrupted') this.#suspected = true;
    this.#schedule(ended.result === 'interrupted' ? AGAIN_MS : undefined);
  }
}
