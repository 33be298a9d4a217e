/**
 * Schedules the background scrub, which searches the keyspace file for damage in data that no request reads: one minute after an
 * unclean stop, one hour after a clean start, and then every `scrubIntervalMs`. One scrub runs at a time. An interrupted one begins
 * again within a minute. If a replica refuses a snapshot as damaged, a scrub begins at once, whatever the interval is.
 */
import { msSince } from '../elapsed.ts';
import type { StreamHead } from '../head/stream-head.ts';
import { inLogOf } from '../ports/failures.ts';
import type { Log, World } from '../ports/world.ts';
import { logUnexpected, unattended } from '../unattended.ts';

export interface ScrubSettings {
  /** Milliseconds between two scrubs; 0: no scrub begins by itself. */
  readonly scrubIntervalMs: number;
}

export interface ScrubStatus {
  readonly running: boolean;
  /** The last scrub that has ended since the node started; null: none has. */
  readonly last: {
    /** Begin of the scrub, in milliseconds since 1970. */
    readonly at: number;
    readonly durationMs: number;
    /** `ok`: the file has no damage; `interrupted`: a full resync replaced the file; `failed`: the log says why. */
    readonly result: 'ok' | 'interrupted' | 'failed';
    /** Number of entries that the scrub has read. */
    readonly entries: number;
  } | null;
}

/** Longest time from a clean start to the first scrub, in milliseconds; the interval may be shorter. */
const AFTER_START_MS = 3_600_000;
/** Longest time from the start after an unclean stop to the first scrub, in milliseconds. */
const AFTER_CRASH_MS = 60_000;
/** Longest time from an interrupted scrub to the next one, in milliseconds. */
const AGAIN_MS = 60_000;
/** Shortest time from the end of a scrub to the next one that a refused snapshot causes, in milliseconds. */
const SUSPECT_EVERY_MS = 60_000;

export class Scrubber {
  readonly #world: World;
  readonly #log: Log;
  readonly #head: StreamHead;
  readonly #settings: ScrubSettings;
  #cancel: (() => void) | null = null;
  /** The interval with which the next scrub was scheduled. */
  #intervalMs = 0;
  #running = false;
  #stopped = false;
  #last: ScrubStatus['last'] = null;
  /** End of the last scrub, on the monotonic clock; null: none has ended. */
  #endedAt: number | null = null;
  /** Whether a replica has refused a snapshot since the last scrub began. */
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

  /** Schedules the first scrub. @param wasClean whether the last run of the node ended with a clean stop */
  start(wasClean: boolean): void {
    this.#schedule(wasClean ? AFTER_START_MS : AFTER_CRASH_MS);
  }

  /**
   * Begins a scrub at once, because a replica has refused a snapshot of this node as damaged. The replica may be wrong, and it may
   * refuse often, so the scrubs that refusals cause are at least a minute apart.
   * @param replica name of the replica
   * @param reason in the replica's words
   */
  suspect(replica: string, reason: string): void {
    this.#log.error('snapshot-refused', { replica, reason });
    if (this.#suspected) return;
    this.#suspected = true;
    if (!this.#running) this.#schedule();
  }

  /** Schedules the next scrub anew if the interval in the settings has changed. */
  adjust(): void {
    if (this.#settings.scrubIntervalMs !== this.#intervalMs && !this.#running) this.#schedule();
  }

  /** Begins no further scrub. A running one ends when the keyspace file is closed. */
  stop(): void {
    this.#stopped = true;
    this.#cancel?.();
  }

  /** @param mostMs longest time to the next scrub; the interval may be shorter */
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

  /** @returns milliseconds until a scrub may begin because of a refused snapshot */
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
      // The keyspace file has already reported damage to the code that ends the node.
      this.#log.warn('scrub-failed', { error: inLogOf(error) });
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
