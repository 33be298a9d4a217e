/**
 * Where a follower stands, over any number of connections, without any of them: which events to pass on, and what to
 * ask for when the connection is cut.
 *
 * The invariant: the position is that of the last event that was passed on outside a snapshot. While a snapshot
 * comes, the position from before it stays the one to resume from: half a snapshot is worth nothing.
 */
import type { FeedEvent } from './event.ts';
import { hasReached } from './position.ts';

export type CursorVerdict = 'deliver' | 'drop' | 'violation';

export class Cursor {
  #position: string | undefined;
  #inSnapshot = false;

  /** @param position as it is asked for: a position, `now`, or undefined for a snapshot first */
  constructor(position?: string) {
    this.#position = position;
  }

  /** What to ask for on the next connection. */
  get position(): string | undefined {
    return this.#position;
  }

  /** A new connection begins. */
  connected(): void {
    this.#inSnapshot = false;
  }

  /**
   * @returns `drop`: it has been passed on before; `violation`: it cannot come here, and nothing that follows on this
   *   connection is to be trusted
   */
  take(event: FeedEvent): CursorVerdict {
    switch (event.type) {
      case 'reset':
        this.#inSnapshot = true;
        return 'deliver';
      case 'entry':
        return this.#inSnapshot ? 'deliver' : 'violation';
      case 'synced':
        if (!this.#inSnapshot) return 'violation';
        this.#inSnapshot = false;
        this.#position = event.position;
        return 'deliver';
      case 'continue':
        // It may name the same place under a newer run ID.
        this.#inSnapshot = false;
        this.#position = event.position;
        return 'deliver';
      case 'waiting':
        return 'deliver';
      case 'error':
        // Whoever is let go for being slow is told where that was: nothing of its own lies before.
        if (!this.#inSnapshot && event.position !== undefined && !this.#isBehind(event.position)) {
          this.#position = event.position;
        }
        return 'drop';
      case 'bookmark':
        if (this.#inSnapshot) return 'violation';
        if (this.#isBehind(event.position)) return 'drop';
        break;
      default:
        if (this.#inSnapshot) return 'violation';
        // Two changes never share a position.
        if (event.position === this.#position || this.#isBehind(event.position)) return 'drop';
    }
    this.#position = event.position;
    return 'deliver';
  }

  #isBehind(position: string): boolean {
    return this.#position !== undefined && hasReached(position, this.#position) === false;
  }
}
