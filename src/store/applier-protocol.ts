/** What the main thread and the applier's thread say to each other. */
import type { Changes } from '../keyspace/changes.ts';
import type { Position } from '../replication/position.ts';

export interface ApplierData {
  readonly path: string;
  /** For a file that is not there yet: make it, empty, at this position. */
  readonly createAt: Position | null;
}

export type ToApplier =
  | {
      readonly kind: 'flush';
      readonly id: number;
      readonly position: Position;
      readonly changes: readonly Changes[];
    }
  | { readonly kind: 'freeze'; readonly id: number; readonly position: Position }
  | { readonly kind: 'checkpoint' | 'thaw' | 'close'; readonly id: number };

export type FromApplier =
  | { readonly kind: 'ready'; readonly position: Position }
  | { readonly kind: 'done'; readonly id: number }
  | { readonly kind: 'failed'; readonly id: number; readonly code: string; readonly message: string }
  /** The thread cannot start, or cannot go on. */
  | { readonly kind: 'broken'; readonly code: string; readonly message: string };
