/**
 * Compares a replica with its master in the background: the first time within an hour after the start, and then every
 * `verifyIntervalMs`. Equal positions must have equal data. If they have not, the verifier logs an error, and the replica gets a
 * full resync from its master; the node keeps the file that the replica had.
 */
import { formatPosition } from '../../replication/position.ts';
import { inLogOf } from '../ports/failures.ts';
import type { Log, World } from '../ports/world.ts';
import { logUnexpected, unattended } from '../unattended.ts';
import { type Comparison, isExpected } from './comparison.ts';

export interface VerifySettings {
  /** Milliseconds between two comparisons; 0: the node makes none. */
  readonly verifyIntervalMs: number;
}

/** A finished comparison. */
export interface Verified {
  /** End of the comparison, in milliseconds since 1970. */
  readonly at: number;
  /** URL of the master. */
  readonly against: string;
  readonly position: string;
  readonly equal: boolean;
}

interface VerifierParts {
  readonly world: World;
  readonly log: Log;
  readonly settings: VerifySettings;
  /** The master, `ws://HOST:PORT`, if this node is a replica and its link streams; else null. */
  master(): string | null;
  compare(url: string, timeoutMs: number, gone: AbortSignal): Promise<Comparison>;
  /** Replaces the data of this node by a full resync from the master. */
  resync(): void;
}

/** Longest time from the start to the first comparison, in milliseconds; the interval may be shorter. */
const AFTER_START_MS = 3_600_000;
/** Longest time from a comparison that failed to the next one, in milliseconds. */
const AGAIN_MS = 600_000;
/** Longest time of one comparison, in milliseconds: both nodes read all their entries. */
const TIMEOUT_MS = 600_000;
/** Shortest time between two full resyncs because of a difference, in milliseconds. The node logs every difference. */
const RESYNC_EVERY_MS = 3_600_000;

export class Verifier {
  readonly #parts: VerifierParts;
  readonly #gone = new AbortController();
  #cancel: (() => void) | null = null;
  /** The interval with which the next comparison was scheduled. */
  #intervalMs = 0;
  #running = false;
  /** Last full resync because of a difference, on the monotonic clock; null: there was none. */
  #resyncedAt: number | null = null;
  #last: Verified | null = null;

  constructor(parts: VerifierParts) {
    this.#parts = parts;
  }

  /** The last finished comparison; null: there is none. */
  get last(): Verified | null {
    return this.#last;
  }

  start(): void {
    this.#schedule(AFTER_START_MS);
  }

  /** Schedules the next comparison anew if the interval in the settings has changed. */
  adjust(): void {
    if (this.#parts.settings.verifyIntervalMs !== this.#intervalMs && !this.#running) this.#schedule();
  }

  /** Ends a running comparison and begins no further one. */
  stop(): void {
    this.#gone.abort();
    this.#cancel?.();
  }

  /** @param mostMs longest time to the next comparison; the interval may be shorter */
  #schedule(mostMs = Number.POSITIVE_INFINITY): void {
    this.#cancel?.();
    const { world, log, settings } = this.#parts;
    this.#intervalMs = settings.verifyIntervalMs;
    if (this.#intervalMs === 0 || this.#gone.signal.aborted) return;
    this.#cancel = world.after(Math.min(this.#intervalMs, mostMs), () =>
      unattended(this.#run(), (error) => logUnexpected(log, 'verify', error)),
    );
  }

  async #run(): Promise<void> {
    const url = this.#parts.master();
    let done = true;
    if (url !== null) {
      this.#running = true;
      try {
        this.#compared(await this.#parts.compare(url, TIMEOUT_MS, this.#gone.signal));
      } catch (error) {
        done = false;
        if (!isExpected(error)) logUnexpected(this.#parts.log, 'verify', error);
        else if (!this.#gone.signal.aborted)
          this.#parts.log.warn('verify-failed', { against: url, error: inLogOf(error) });
      }
      this.#running = false;
    }
    this.#schedule(done ? undefined : AGAIN_MS);
  }

  #compared({ equal, position, keys, digest, against }: Comparison): void {
    const { log, world } = this.#parts;
    const verified = { at: world.now(), against: against.url, position: formatPosition(position), equal };
    this.#last = verified;
    if (equal) {
      log.info('verified', verified);
      return;
    }
    const now = world.monotonic();
    const isSoon = this.#resyncedAt !== null && now - this.#resyncedAt < RESYNC_EVERY_MS;
    log.error('data-differs', {
      ...verified,
      own: { keys, digest },
      theirs: { keys: against.keys, digest: against.digest },
      error: `this node holds other data than its master at the same position; ${
        isSoon
          ? 'it was replaced for that reason less than an hour ago, and is left as it is: find out which node is wrong'
          : 'it is replaced by a full resync, and the file that it had is kept'
      }`,
    });
    if (isSoon) return;
    this.#resyncedAt = now;
    this.#parts.resync();
  }
}
