/** Repeats what fails: counts the failures, logs the first one of each code in a row, says how long to wait, and waits. */
import type { ArchiveStatus } from '../../node/ports/archived-stream.ts';
import { TargetError } from '../../node/ports/backup-target.ts';
import { inLogOf, StorageError } from '../../node/ports/failures.ts';
import type { Log, World } from '../../node/ports/world.ts';

/** Waits between attempts. */
interface Pace {
  /** The wait after the first failure, in milliseconds. */
  readonly firstMs: number;
  /** By how much it grows with each failure. */
  readonly factor: number;
  /** The longest wait, in milliseconds. */
  readonly mostMs: number;
}

/** What is attempted, and the name of the target, for people. */
interface Told {
  readonly what: 'segments' | 'backup';
  readonly target: string;
}

const SEGMENT_PACE: Pace = { firstMs: 1_000, factor: 2, mostMs: 60_000 };
/** Each attempt copies the keyspace file before the target is asked. */
export const BASE_PACE: Pace = { firstMs: 5_000, factor: 4, mostMs: 5 * 60_000 };
/** Most failures in a row that lengthen the wait. */
const MAX_GROWTH = 16;
/** Shortest time between two warnings that the archive begins anew, in milliseconds. */
const WARN_MS = 60_000;

export class Attempts {
  readonly #world: Pick<World, 'now' | 'random'>;
  readonly #log: Log;
  /** What is attempted, and where, for the log. */
  readonly #told: Told;
  readonly #pace: Pace;
  #total = 0;
  #inARow = 0;
  #failing: ArchiveStatus['failing'] = null;

  constructor(world: Pick<World, 'now' | 'random'>, log: Log, told: Told, pace = SEGMENT_PACE) {
    this.#world = world;
    this.#log = log;
    this.#told = told;
    this.#pace = pace;
  }

  /** Failures since the start. */
  get failures(): number {
    return this.#total;
  }

  /** The last failure; null: there was none, or a success came after it. */
  get failing(): ArchiveStatus['failing'] {
    return this.#failing;
  }

  succeeded(): void {
    if (this.#inARow > 0) this.#log.info('archive-works-again', { ...this.#told, failures: this.#inARow });
    this.#inARow = 0;
    this.#failing = null;
  }

  /** @returns the wait before the next attempt, in milliseconds: it grows to the longest one, less up to half of it */
  failed(error: unknown): number {
    const code = codeOf(error);
    const isNew = this.#failing?.code !== code;
    if (isNew) this.#log.error('archive-failed', { ...this.#told, code, error: inLogOf(error) });
    this.#total += 1;
    this.#inARow += 1;
    const at = this.#world.now();
    this.#failing = { since: this.#failing?.since ?? at, at, code };
    const { factor, firstMs, mostMs } = this.#pace;
    const most = Math.min(mostMs, firstMs * factor ** Math.min(this.#inARow - 1, MAX_GROWTH));
    return Math.round(most * (1 - this.#world.random() / 2));
  }
}

/** Counts the gaps of the archive, and warns now and then when it begins anew. */
export class Restarts {
  readonly #world: Pick<World, 'monotonic'>;
  readonly #log: Log;
  #warnedAt = Number.NEGATIVE_INFINITY;
  count = 0;

  constructor(world: Pick<World, 'monotonic'>, log: Log) {
    this.#world = world;
    this.#log = log;
  }

  /** @param detail why, for people @param isGap whether the archive has got one more gap */
  happened(detail: string, isGap: boolean): void {
    if (isGap) this.count += 1;
    const now = this.#world.monotonic();
    if (now - this.#warnedAt < WARN_MS) return;
    this.#warnedAt = now;
    this.#log.warn('archive-begins-anew', { detail });
  }
}

/** Waits that one call can end. */
export class Pauses {
  readonly #world: Pick<World, 'after'>;
  readonly #ends = new Set<() => void>();

  constructor(world: Pick<World, 'after'>) {
    this.#world = world;
  }

  /** @returns a promise that resolves after so many milliseconds, or when all waits end */
  async wait(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const cancel = this.#world.after(ms, () => end());
      const end = (): void => {
        cancel();
        this.#ends.delete(end);
        resolve();
      };
      this.#ends.add(end);
    });
  }

  /** Ends all waits. */
  end(): void {
    for (const end of this.#ends) end();
  }
}

/** @returns what kind of failure it was: its message may name files and hosts, and is for the log only */
function codeOf(error: unknown): string {
  if (error instanceof TargetError) return error.code;
  if (error instanceof StorageError) return error.full ? 'DISK_FULL' : 'STORAGE_FAILED';
  const isProblem = error instanceof Error && error.name === 'Problem' && 'code' in error;
  return isProblem ? String(error.code) : 'UNEXPECTED';
}
