/** Messages between the main thread and the applier's thread. */
import type { Changes } from '../../keyspace/overlay/changes.ts';
import type { Position } from '../../replication/position.ts';
import type { FrozenPages } from './frozen-file.ts';

export interface ApplierData {
  readonly path: string;
  /** Position of the empty keyspace file to create; null: the file exists. */
  readonly createAt: Position | null;
}

/** An error in the thread: it reaches the main thread without its class. */
export interface FailureInThread {
  readonly code: string;
  /** For the operator. */
  readonly message: string;
  /** For others. */
  readonly told: string;
}

export type Question =
  | { readonly kind: 'flush'; readonly position: Position; readonly changes: readonly Changes[] }
  | { readonly kind: 'freeze' | 'tidy' | 'thaw' | 'close' };

/** Result of each question that did not fail. */
export interface Answers {
  readonly flush: undefined;
  readonly freeze: FrozenPages;
  /** Whether there is more to tidy: the main thread asks again. */
  readonly tidy: boolean;
  readonly thaw: undefined;
  readonly close: undefined;
}
export type Answer = Answers[keyof Answers];

export type ToApplier = Question & { readonly id: number };

export type FromApplier =
  | { readonly kind: 'ready'; readonly position: Position }
  | { readonly kind: 'done'; readonly id: number; readonly answer: Answer }
  | ({ readonly kind: 'failed'; readonly id: number } & FailureInThread)
  /** The thread cannot start, or has failed for good. */
  | ({ readonly kind: 'broken' } & FailureInThread);
