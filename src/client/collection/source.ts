/** What a collection reads: a mirror, or one with pending writes. */
import type { Entry } from '../mirror/entry.ts';
import type { MirrorState } from '../mirror/mirror-events.ts';
import type { ChangeListener, EntryFilter } from '../mirror/subscriptions.ts';

/** Entries that change, without their types: a `Mirror` and an `OptimisticMirror` are sources. */
export interface EntrySource<Source extends Entry = Entry> {
  /** A number that changes whenever entries change or expire. */
  readonly revision: number;
  /** Prefixes of the keys that the mirror holds; default: any. */
  readonly prefixes?: readonly string[] | undefined;
  /** Position of the mirror's copy; null: it has none yet. */
  readonly position: string | null;
  /** State of the mirror: the same object as long as nothing in it changes. */
  readonly state: MirrorState;
  getEntry(key: string): Source | undefined;
  /** @returns all entries; the same array as long as none of them changes */
  snapshot(): readonly Source[];
  /**
   * Calls the listener with all that has changed together.
   * @returns a function that removes the listener
   */
  subscribe(listener: ChangeListener, filter?: EntryFilter): () => void;
  on(name: 'state', listener: (state: MirrorState) => void): () => void;
}
