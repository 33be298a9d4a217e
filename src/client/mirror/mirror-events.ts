/** What a mirror tells the application. */
import type { ResetReason } from '../event.ts';
import type { Change } from './copy.ts';

export type MirrorState =
  /** The mirror is reading its storage. */
  | { readonly kind: 'loading' }
  | { readonly kind: 'connecting'; readonly url: string }
  /** A snapshot is arriving; reads see the old copy until it is complete. */
  | {
      readonly kind: 'syncing';
      readonly url: string;
      readonly reason: ResetReason;
      readonly received: number;
      /** Number of entries of the snapshot; null: unknown. */
      readonly expected: number | null;
    }
  /** The writes since the last connection are arriving, up to `head`; reads see what has arrived. */
  | { readonly kind: 'catching-up'; readonly url: string; readonly head: string }
  /** The copy is complete, and changes are applied as they arrive. */
  | { readonly kind: 'live'; readonly url: string }
  /** There is no connection; the next attempt is in `delayMs`. */
  | { readonly kind: 'waiting'; readonly url: string; readonly detail: string; readonly delayMs: number }
  /** The mirror has failed for good; the copy stays readable. */
  | { readonly kind: 'failed'; readonly error: Error }
  | { readonly kind: 'closed' };

export interface MirrorEvents {
  /** A snapshot is complete; its `change` event follows at once. */
  readonly synced: { readonly position: string };
  /** Entries have changed; all changes are already applied, at most one per key. After a snapshot: the differences. A
   * stored copy that is loaded is one change too. */
  readonly change: { readonly position: string; readonly changes: readonly Change[] };
  /** The node cannot continue from the mirror's position, or the mirror is new: a snapshot follows. */
  readonly reset: { readonly reason: ResetReason };
  /** The copy has a later position, with or without changes. */
  readonly position: { readonly position: string };
  /** The state has changed. While a snapshot arrives, it is told ten times a second. */
  readonly state: MirrorState;
  /**
   * Storing or loading has failed. The mirror continues without storage, and tries again unless the error is a
   * StorageConflict.
   */
  readonly 'storage-error': { readonly error: unknown };
}

export class MirrorClosedError extends Error {
  override readonly name = 'MirrorClosedError';
  override readonly message = 'the mirror is closed';
}
