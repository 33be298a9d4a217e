/**
 * Tracks a follower's position over any number of connections: which events to pass on, and what to ask for after a
 * cut. It opens no connections itself.
 *
 * The invariant: the position is that of the last event passed on outside a snapshot. During a snapshot the earlier
 * position stays the one to resume from, because half a snapshot is useless.
 */
import type { FeedEvent } from './event.ts';
import { hasReached } from './position.ts';

export type CursorVerdict = 'deliver' | 'drop' | 'violation';

export class Cursor {
  #position: string | undefined;
  #inSnapshot = false;

  /** @param position where to begin: a position, `now`, or undefined for a snapshot */
  constructor(position?: string) {
    this.#position = position;
  }

  /** Position to ask for on the next connection. */
  get position(): string | undefined {
    return this.#position;
  }

  /** Records the start of a new connection. */
  connected(): void {
    this.#inSnapshot = false;
  }

  /**
   * Checks an event.
   * @returns `drop`: the event was passed on before; `violation`: it must not come here, so nothing more on this
   * connection can be trusted
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
        // The position may name the same place under a newer run ID.
        this.#inSnapshot = false;
        this.#position = event.position;
        return 'deliver';
      case 'waiting':
        return 'deliver';
      case 'error':
        // A follower that is disconnected for being slow is told its position: no event of its own lies before it.
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
        // Two changes never have the same position.
        if (event.position === this.#position || this.#isBehind(event.position)) return 'drop';
    }
    this.#position = event.position;
    return 'deliver';
  }

  #isBehind(position: string): boolean {
    return this.#position !== undefined && hasReached(position, this.#position) === false;
  }
}
