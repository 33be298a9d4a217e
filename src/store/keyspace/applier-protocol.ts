/** What the main thread and the applier's thread say to each other. */
import type { Changes } from '../../keyspace/overlay/changes.ts';
import type { Position } from '../../replication/position.ts';
import type { FrozenPages } from './frozen-file.ts';

export interface ApplierData {
  readonly path: string;
  /** For a file that is not there yet: make it, empty, at this position. */
  readonly createAt: Position | null;
}

export type Question =
  | { readonly kind: 'flush'; readonly position: Position; readonly changes: readonly Changes[] }
  | { readonly kind: 'freeze' | 'tidy' | 'thaw' | 'close' };

/** What comes of each, if it has not failed. */
export interface Answers {
  readonly flush: undefined;
  readonly freeze: FrozenPages;
  /** There is more to do: ask again. */
  readonly tidy: boolean;
  readonly thaw: undefined;
  readonly close: undefined;
}
export type Answer = Answers[keyof Answers];

export type ToApplier = Question & { readonly id: number };

export type FromApplier =
  | { readonly kind: 'ready'; readonly position: Position }
  | { readonly kind: 'done'; readonly id: number; readonly answer: Answer }
  | { readonly kind: 'failed'; readonly id: number; readonly code: string; readonly message: string }
  /** The thread cannot start, or cannot go on. */
  | { readonly kind: 'broken'; readonly code: string; readonly message: string };
