/**
 * Compares a replica with its master in the background: every `verifyIntervalMs`, and the first time an hour after the start at
 * the latest. A difference at one position is what must never be. It is an alarm, and the replica gets everything anew from its
 * master; the file that it had is kept.
 */
import { formatPosition } from '../../replication/position.ts';
import type { Log, World } from '../ports.ts';
import { logUnexpected, unattended } from '../unattended.ts';
import { type Comparison, isExpected } from './comparison.ts';

export interface VerifySettings {
  /** 0: never. */
  readonly verifyIntervalMs: number;
}

/** The last comparison that has come to an end. */
export interface Verified {
  /** In milliseconds since 1970. */
  readonly at: number;
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
  /** Everything is to come anew from the master. */
  resync(): void;
}

/** The longest before the first one, in milliseconds. */
const AFTER_START_MS = 3_600_000;
/** The longest before the next one, if one was not possible, in milliseconds. */
const AGAIN_MS = 600_000;
/** How long one may take, in milliseconds: both nodes read everything that they hold. */
const TIMEOUT_MS = 600_000;
/** Differences make a full resync no sooner than so long after the one before, in milliseconds; the alarm is given each time. */
const RESYNC_EVERY_MS = 3_600_000;

export class Verifier {
  readonly #parts: VerifierParts;
  readonly #gone = new AbortController();
  #cancel: (() => void) | null = null;
  #intervalMs = 0;
  #running = false;
  #resyncedAt: number | null = null;
  #last: Verified | null = null;

  constructor(parts: VerifierParts) {
    this.#parts = parts;
  }

  get last(): Verified | null {
    return this.#last;
  }

  start(): void {
    this.#schedule(AFTER_START_MS);
  }

  /** Another interval counts from now on. */
  adjust(): void {
    if (this.#parts.settings.verifyIntervalMs !== this.#intervalMs && !this.#running) this.#schedule();
  }

  stop(): void {
    this.#gone.abort();
    this.#cancel?.();
  }

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
          this.#parts.log.warn('verify-failed', { against: url, error: String(error) });
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
