/**
 * Tracks a follower's position on one connection: which events may come, which of them to pass on, and what to ask for
 * after a cut. It opens no connections itself.
 *
 * The invariant: the position is that of the last event passed on outside a snapshot. During a snapshot the earlier
 * position stays the one to resume from, because half a snapshot is useless.
 */
import type { ChangeEvent, FeedEvent } from './event.ts';
import { parsePosition } from './position.ts';

export type CursorVerdict = 'deliver' | 'drop' | 'violation';

/** The node has not said yet how it goes on. */
const BEGUN = 0;
const SNAPSHOT = 1;
export const STREAM = 2;
type State = typeof BEGUN | typeof SNAPSHOT | typeof STREAM;
/** The event must not come. */
const NEVER = -1;
type Next = State | typeof NEVER;
/** Type of an event; all changes of the copy are alike here, and so are bookmarks. */
type Word = Exclude<FeedEvent['type'], ChangeEvent['type'] | 'bookmark'> | 'change';

/** For each event the next state, if it comes at the beginning, in a snapshot, or in the stream. */
const NEXT: Readonly<Record<Word, readonly [Next, Next, Next]>> = {
  reset: [SNAPSHOT, SNAPSHOT, SNAPSHOT],
  entry: [NEVER, SNAPSHOT, NEVER],
  synced: [NEVER, STREAM, NEVER],
  continue: [STREAM, STREAM, STREAM],
  change: [NEVER, NEVER, STREAM],
  // It ends a snapshot too: the next one comes later.
  waiting: [BEGUN, BEGUN, BEGUN],
  error: [BEGUN, SNAPSHOT, STREAM],
};

/** Most snapshots that may begin, one after the other, until one is complete. */
const MAX_RESETS = 16;
/** Number of entries that a snapshot may have beyond twice the announced number. */
const MORE_ENTRIES = 1_000;

export class Cursor {
  /** Position to ask for on the next connection. */
  position: string | undefined;
  /** How the node goes on: STREAM, with changes; SNAPSHOT; or 0, it has not said how. */
  state: State = BEGUN;
  /** Number of snapshots that have begun since the last one that is complete. */
  #resets = 0;
  /** Position of the snapshot that is arriving. */
  #snapshot: string | undefined;
  /** Number of entries that may still come in it. */
  #room = 0;

  /** @param position where to begin: a position, `now`, or undefined for a snapshot */
  constructor(position?: string) {
    this.position = position;
  }

  /**
   * Checks an event.
   * @returns `drop`: the event was passed on before; `violation`: it must not come here, so nothing more on this
   * connection can be trusted
   */
  take(event: FeedEvent): CursorVerdict {
    const next = (NEXT[event.type as Word] ?? NEXT.change)[this.state];
    if (next < 0) return 'violation';
    const verdict = this.#check(event);
    this.state = next as State;
    return verdict;
  }

  #check(event: FeedEvent): CursorVerdict {
    if (event.type === 'waiting') return 'deliver';
    if (event.type === 'entry') {
      return this.#room-- > 0 ? 'deliver' : 'violation';
    }
    const at = parsePosition(event.position);
    const last = parsePosition(this.position);
    /** NaN if one of them is unknown: then no comparison is true. */
    const ahead = (at?.offset as number) - (last?.offset as number);
    const isSameHistory = at?.runId === last?.runId;
    if (event.type === 'error') {
      // A follower that is disconnected for being slow is told its position: no event of its own lies before it. An
      // error announces no other history: of that the copy has nothing.
      if (this.state === STREAM && ahead >= 0 && isSameHistory) this.position = event.position;
      return 'drop';
    }
    if (!at) return 'violation';
    switch (event.type) {
      case 'reset':
        if (this.#resets++ === MAX_RESETS) return 'violation';
        this.#snapshot = event.position;
        this.#room = 2 * event.keys + MORE_ENTRIES;
        return 'deliver';
      case 'synced':
        if (event.position !== this.#snapshot) return 'violation';
        this.#resets = 0;
        break;
      case 'continue':
        // At the beginning it is the position that was asked for, but for the run ID, which may be a newer one.
        if (ahead < 0 || (ahead > 0 && !this.state) || !this.position) return 'violation';
        break;
      default:
        // An event that comes again; two changes never have the same position. Under another run ID it is of an unrelated history.
        if (ahead < 0 || (ahead === 0 && event.type !== 'bookmark')) {
          return isSameHistory ? 'drop' : 'violation';
        }
    }
    this.position = event.position;
    return 'deliver';
  }
}
