/**
 * What a reader of a snapshot keeps on the disk. As long as one is read the WAL of the keyspace file cannot begin anew, and the
 * journal keeps what follows the snapshot: whatever is written meanwhile adds to both. So a reader may be slow, but not
 * without end: what it holds is bounded by what it has taken, and who is hardly taking anything makes room for others.
 */
import { CloseCode } from '../replication/close-code.ts';
import type { World } from './ports.ts';

/**
 * How often it is looked at, in milliseconds. Looks are counted, not time: while the node itself stands still, its readers
 * cannot take anything.
 */
export const LOOK_MS = 1_000;
/** For each byte that it takes, a reader may hold so many beyond the limit: one that is faster than the writers may go on. */
const CREDIT = 2;
/** A reader that takes less than this a second, in bytes, … */
const LEAST_BYTES_PER_SECOND = 256 * 1024;
/** … for so many looks, one after the other, is slow: it goes when others wait. */
const SLOW_LOOKS = 10;

interface HoldParts {
  readonly world: World;
  /** Bytes of journal and WAL that could go without this reader. */
  held(): number;
  /** Bytes that the reader has taken so far. */
  taken(): number;
  readonly limits: {
    /** In bytes. */
    hard(): number;
    /** In bytes, for at most so long, in milliseconds. */
    soft?(): { readonly bytes: number; readonly ms: number };
  };
  /** Somebody cannot begin to read because of those who do. */
  othersWait(): boolean;
  /** The reader has to go. Called once. */
  end(code: CloseCode, detail: string): void;
}

export class Hold {
  readonly #parts: HoldParts;
  #cancel: () => void = () => undefined;
  #looks = 0;
  #softMs = 0;
  /** What had been taken when the present stretch of looks began. */
  #takenBefore = 0;
  #isSlow = false;

  constructor(parts: HoldParts) {
    this.#parts = parts;
    this.#lookLater();
  }

  /** To be called when the reader is done, or has gone. */
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

  /** @returns why the reader has to go, or null */
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
