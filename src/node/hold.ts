/**
 * Limits the disk space that the reader of a snapshot holds. While a snapshot is read, the WAL of the keyspace file cannot begin
 * anew, and the journal keeps the bytes after the snapshot; each write adds to both. So this class ends a reader that holds
 * much more than it has taken, and a reader that takes almost nothing while others wait.
 */
import { CloseCode } from '../replication/close-code.ts';
import type { World } from './ports/world.ts';

/**
 * Milliseconds between two looks at a reader. The limits count looks, not time on the clock: while the whole node is stopped,
 * its readers cannot take anything.
 */
export const LOOK_MS = 1_000;
/** Bytes beyond the limit that a reader may hold for each byte that it has taken: a reader faster than the writers may finish. */
const CREDIT = 2;
/** Bytes a second below which a reader is slow, on average over `SLOW_LOOKS` looks. */
const LEAST_BYTES_PER_SECOND = 256 * 1024;
/** Number of looks after which this class decides anew whether a reader is slow. */
const SLOW_LOOKS = 10;

/** Smallest number of bytes that the WAL counts as for each byte of the stream; the next ones are twice as many. */
const LEAST_GROWTH = 1.5;
/** Number of bytes of the stream, at least, by which the growth of the WAL is measured: a short one says little about it. */
const LEAST_STREAM_BYTES = 64 * 1024;

/**
 * What the growth of the WAL counts as for a reader of some of the keys. How much the WAL takes depends on which pages the writes change,
 * and so on foreign keys and values; how much is written is no secret. So it counts as one of a few multiples of what was written, and the
 * moment at which a reader ends tells no more of foreign entries than that.
 * @param streamBytes bytes that were written to the stream since the reader began
 * @param walBytes bytes by which the WAL has grown since
 * @returns at least `walBytes`
 */
export function countedGrowth(streamBytes: number, walBytes: number): number {
  if (streamBytes <= 0 && walBytes <= 0) return 0;
  const least = LEAST_GROWTH * Math.max(streamBytes, LEAST_STREAM_BYTES);
  return least * 2 ** Math.max(0, Math.ceil(Math.log2(walBytes / least)));
}

export interface HoldParts {
  readonly world: World;
  /** Bytes of the journal and of the WAL that stay on the disk because of this reader. */
  held(): number;
  /** Bytes that the reader has taken so far. */
  taken(): number;
  readonly limits: {
    /** Bytes that a reader may never hold beyond its credit. */
    hard(): number;
    /** Bytes that a reader may hold beyond its credit for at most `ms` milliseconds. */
    soft?(): { readonly bytes: number; readonly ms: number };
  };
  /** Whether others wait for a snapshot and cannot get one before a reader ends. */
  othersWait(): boolean;
  /** Ends the reader, and says why. Called once. */
  end(code: CloseCode, detail: string): void;
}

export class Hold {
  readonly #parts: HoldParts;
  #cancel: () => void = () => undefined;
  #looks = 0;
  /** Milliseconds for which the reader has been beyond the soft limit: the number of looks times `LOOK_MS`. */
  #softMs = 0;
  /** Bytes that the reader had taken when the present row of `SLOW_LOOKS` looks began. */
  #takenBefore = 0;
  #isSlow = false;

  constructor(parts: HoldParts) {
    this.#parts = parts;
    this.#lookLater();
  }

  /** Ends the watch. The owner calls it when the reader has finished or its connection has ended. */
  stop(): void {
    this.#cancel();
  }

  #lookLater(): void {
    this.#cancel = this.#parts.world.after(LOOK_MS, () => {
      const verdict = this.#look();
      if (verdict === null) this.#lookLater();
      else this.#parts.end(...verdict);
    });
  }

  /** @returns the close code and the reason with which the reader must end; null: it may continue */
  #look(): [CloseCode, string] | null {
    const { held, limits, othersWait, taken } = this.#parts;
    const [heldBytes, takenBytes] = [held(), taken()];
    this.#looks += 1;
    if (this.#looks % SLOW_LOOKS === 0) {
      const least = LEAST_BYTES_PER_SECOND * SLOW_LOOKS * (LOOK_MS / 1000);
      this.#isSlow = takenBytes - this.#takenBefore < least;
      this.#takenBefore = takenBytes;
    }
    const excess = heldBytes - CREDIT * takenBytes;
    const soft = limits.soft?.();
    this.#softMs = soft !== undefined && excess > soft.bytes ? this.#softMs + LOOK_MS : 0;
    if (excess > limits.hard() || (soft !== undefined && this.#softMs > soft.ms)) {
      const detail = `its snapshot holds ${heldBytes} bytes on the disk, and ${takenBytes} of it were taken`;
      return [CloseCode.tooFarBehind, detail];
    }
    if (!this.#isSlow || !othersWait()) return null;
    return [CloseCode.timedOut, 'its snapshot is taken too slowly, and others wait'];
  }
}
