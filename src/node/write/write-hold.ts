/** A hold of the writes that an operator asks for (Redis's CLIENT PAUSE WRITE): requests wait, undecided, until its time is up. */
import { msSince } from '../elapsed.ts';
import type { Log, World } from '../ports/world.ts';
import type { WriteTurn } from './write-turn.ts';

/** The longest hold: nobody who forgets one stops an application for long. */
export const MAX_HOLD_MS = 600_000;

interface WriteHoldParts {
  readonly world: World;
  readonly log: Log;
  readonly writes: Pick<WriteTurn, 'hold'>;
}

export class WriteHold {
  readonly #parts: WriteHoldParts;
  /** The hold that goes on: since when, on the monotonic clock, and for how long; null: there is none. */
  #held: { readonly since: number; readonly ms: number; readonly end: () => void } | null = null;

  constructor(parts: WriteHoldParts) {
    this.#parts = parts;
  }

  /** Milliseconds until the node runs writes again; 0: it does. */
  get remainingMs(): number {
    if (this.#held === null) return 0;
    return Math.max(0, this.#held.ms - msSince(this.#parts.world, this.#held.since));
  }

  /** Holds writes for a time from now on, whatever was left of an earlier hold. */
  begin(ms: number): void {
    const { log, world, writes } = this.#parts;
    // The new hold begins before the old one ends, so that no turn runs between them.
    const release = writes.hold();
    this.end();
    const cancel = world.after(ms, () => this.end());
    this.#held = {
      since: world.monotonic(),
      ms,
      end: () => {
        cancel();
        release();
        log.info('writes-released', {});
      },
    };
    log.info('writes-held', { ms });
  }

  /** Ends the hold, if there is one. */
  end(): void {
    const held = this.#held;
    this.#held = null;
    held?.end();
  }
}
