/**
 * Who waits until a mirror has got to a position, as an application does that has written something and wants to see
 * it here.
 *
 * Offsets go on counting when a replica is promoted, but under another run ID. So with equal run IDs the offsets tell;
 * otherwise the node is asked for its lineage, which says up to where the older history is part of the newer one. A
 * position that is on no history of the node may still come to be: the mirror might be at a replica that has not heard
 * of the promotion yet. Only one that lies past the shared part never comes.
 */
import { hasReached, type ParsedPosition, parsePosition } from './position.ts';

/** Up to where older histories are part of the node's. */
export type Lineage = readonly { readonly runId: string; readonly validTo: number }[];

/** The position is on a history that has ended before it: what was written there is lost. */
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
  /** Of the node, when the mirror was at this run ID. */
  #lineage: { readonly runId: string; readonly ancestors: Lineage } | null = null;
  #isAsking = false;

  /** @param lineageOf asks the node that is followed; may fail, and is asked again later */
  constructor(lineageOf: () => Promise<Lineage>) {
    this.#lineageOf = lineageOf;
  }

  /**
   * @throws TypeError when it is no position; LostPositionError when it can never be reached; what the signal gives as
   *   its reason
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

  /** The mirror is here now. */
  moved(position: string): void {
    this.#at = position;
    if (this.#waiters.size > 0) this.#look();
  }

  /** Nobody gets what they wait for. */
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
        // Asked again when the mirror moves on.
        () => undefined,
      )
      .finally(() => {
        this.#isAsking = false;
        if (this.#lineage?.runId === runId) this.#look();
      });
  }
}
