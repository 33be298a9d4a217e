/** What an application can choose of optimistic writes, and what it is told. */
import type { MirrorState } from '../mirror/mirror-events.ts';
import type { Signal } from '../platform.ts';

/** Most writes that are pending together. */
export const MAX_PENDING = 1_000;

export interface OptimisticOptions {
  /**
   * Time that one attempt to send a write may take, and that the node of the mirror may take to learn of the history in
   * which a write is, in milliseconds; default 30 s.
   */
  readonly answerMs?: number | undefined;
}

export interface WriteOptions {
  /**
   * Gives the write up: it is not shown any more, and not sent again. What is under way may still be carried out; a later
   * write of the key waits for the answer.
   */
  readonly signal?: Signal | undefined;
}

export interface OptimisticEvents {
  /** A write that was shown did not happen, or nobody knows; the mirror's entry is shown again. */
  readonly refused: { readonly key: string; readonly error: unknown };
  /** An attempt got no answer, or the node cannot take the write yet: it is still shown, and will be sent again. */
  readonly unanswered: { readonly key: string; readonly error: unknown };
  /** The number of pending writes has changed. */
  readonly pending: { readonly pending: number };
  readonly state: MirrorState;
}

/** There are too many pending writes. */
export class TooManyWritesError extends Error {
  override readonly name = 'TooManyWritesError';

  constructor() {
    super(`${MAX_PENDING} writes are pending`);
  }
}

/** The condition of the write names an earlier one, which did not happen. */
export class LostBasisError extends Error {
  override readonly name = 'LostBasisError';

  constructor(key: string) {
    super(`the write of ${JSON.stringify(key)} builds on one that did not happen`);
  }
}
