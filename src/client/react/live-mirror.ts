/** What the hooks need of a mirror. */
import type { Entry } from '../mirror/entry.ts';
import type { MirrorState } from '../mirror/mirror-events.ts';
import type { EntryFilter } from '../mirror/subscriptions.ts';

/** Any entry: the hooks return the type of entries that the mirror has. */
export interface WithKey {
  readonly key: string;
}

/** Where entries are read from. */
export interface EntrySource<E extends WithKey> {
  getEntry(key: string): E | undefined;
  /** @returns the same array while no entry changes */
  snapshot(): readonly E[];
  /** Whether that array is in the order of the keys. */
  readonly isSorted?: boolean | undefined;
}

/** A `Mirror`, or another object with these members of one. */
export interface LiveMirror<E extends WithKey = Entry> extends EntrySource<E> {
  /** null: the mirror has no copy yet. */
  readonly position?: string | null | undefined;
  /** Prefixes of the keys that it can have; default: any. */
  readonly prefixes?: readonly string[] | undefined;
  /**
   * Makes of an entry of a mirror what `getEntry` would return if it were here. Without this method it is the entry itself.
   * @returns undefined: it cannot be here
   */
  typed?(entry: WithKey): E | undefined;
  readonly state: MirrorState;
  subscribe(listener: () => void, filter?: EntryFilter): () => void;
  on(name: 'state', listener: () => void): () => void;
}
