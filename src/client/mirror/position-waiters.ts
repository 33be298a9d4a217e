/**
 * Waits until a mirror has reached a position: an application that has written something wants to see it in its mirror.
 *
 * A promotion changes the run ID while the offsets count on. With equal run IDs the offsets decide; otherwise the
 * node's lineage says how much of the older history the newer one includes. A position on an unknown history may still
 * be reached, because the mirror's replica may not have heard of a promotion yet. Only a position past the shared part
 * is lost for good.
 */
import { hasReached, type ParsedPosition, parsePosition } from '../position.ts';

/** Older histories of the node, each with the offset up to which it is included. */
export type Lineage = readonly { readonly runId: string; readonly validTo: number }[];

/** The position's history ended before the position: that write is lost. */
export class LostPositionError extends Error {
  override readonly name = 'LostPositionError';

  constructor(position: string) {
    super(`${position} is past the shared history: it is on no node that this one goes on from`);
  }
}

interface Waiter {
  readonly wanted: string;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export class PositionWaiters {
  readonly #lineageOf: () => Promise<Lineage>;
  readonly #waiters = new Set<Waiter>();
  #at: string | null = null;
  /** The node's lineage when the mirror had this run ID. */
  #lineage: { readonly runId: string; readonly ancestors: Lineage } | null = null;
  #isAsking = false;

  /** @param lineageOf asks the followed node; after a failure it is asked again later */
  constructor(lineageOf: () => Promise<Lineage>) {
    this.#lineageOf = lineageOf;
  }

  /**
   * @throws TypeError if the text is not a position; LostPositionError if it can never be reached; the signal's reason
   */
  wait(wanted: string, signal?: AbortSignal): Promise<void> {
    if (parsePosition(wanted) === null) return Promise.reject(new TypeError(`${wanted} is no position`));
    if (signal?.aborted) return Promise.reject(signal.reason);
    return new Promise<void>((resolve, reject) => {
      const abort = (): void => waiter.reject(signal?.reason);
      const settle = <T>(then: (value: T) => void) => {
        return (value: T): void => {
          this.#waiters.delete(waiter);
          signal?.removeEventListener('abort', abort);
          then(value);
        };
      };
      const waiter: Waiter = { wanted, resolve: settle<void>(resolve), reject: settle(reject) };
      this.#waiters.add(waiter);
      signal?.addEventListener('abort', abort);
      this.#look();
    });
  }

  /** Reports the mirror's new position. */
  moved(position: string): void {
    this.#at = position;
    if (this.#waiters.size > 0) this.#look();
  }

  /** Rejects all waiting calls. */
  rejectAll(error: unknown): void {
    for (const { reject } of this.#waiters) reject(error);
  }

  #look(): void {
    const at = this.#at === null ? null : parsePosition(this.#at);
    if (this.#at === null || at === null) return;
    for (const waiter of this.#waiters) {
      const reached = hasReached(this.#at, waiter.wanted) ?? this.#acrossHistories(at, waiter.wanted);
      if (reached === 'lost') waiter.reject(new LostPositionError(waiter.wanted));
      else if (reached === 'ask') this.#ask(at.runId);
      else if (reached) waiter.resolve();
    }
  }

  #acrossHistories(at: ParsedPosition, wanted: string): boolean | 'lost' | 'ask' {
    const { runId, offset } = parsePosition(wanted) as ParsedPosition;
    if (this.#lineage?.runId !== at.runId) return 'ask';
    const ancestor = this.#lineage.ancestors.find((each) => each.runId === runId);
    if (ancestor === undefined) return false;
    return offset > ancestor.validTo ? 'lost' : at.offset >= offset;
  }

  #ask(runId: string): void {
    if (this.#isAsking) return;
    this.#isAsking = true;
    this.#lineageOf()
      .then(
        (ancestors) => {
          this.#lineage = { runId, ancestors };
        },
        // The next move of the mirror asks again.
        () => undefined,
      )
      .finally(() => {
        this.#isAsking = false;
        if (this.#lineage?.runId === runId) this.#look();
      });
  }
}
