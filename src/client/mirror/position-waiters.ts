/**
 * Waits until a mirror has reached a position: an application that has written something wants to see it in its mirror.
 *
 * A promotion changes the run ID while the offsets count on. With equal run IDs the offsets decide; otherwise the
 * node's lineage says how much of the older history the newer one includes. A position on an unknown history may still
 * be reached, because the mirror's replica may not have heard of a promotion yet. Only a position past the shared part
 * is lost for good.
 */
import { isNumber, isText } from '../event.ts';
import type { Signal } from '../platform.ts';
import { type ParsedPosition, parsePosition } from '../position.ts';
import { rest, unless, within } from '../within.ts';

/** Run IDs of older histories of the node, each with the offset up to which it is included. */
export type Lineage = ReadonlyMap<string, number>;

/** Returns the lineage of the history with this run ID; rejects if the node that answers has another history. */
type LineageOf = (runId: string, signal: Signal) => Promise<Lineage>;

/** The position's history ended before the position: that write is lost. */
export class LostPositionError extends Error {
  override readonly name = 'LostPositionError';

  constructor(position: string) {
    super(`${position} is lost: its history ended before it`);
  }
}

interface Waiter extends ParsedPosition {
  readonly wanted: string;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Most time that a node may take to say its lineage, in milliseconds. */
const ASK_MS = 10_000;
/** Pause before a node is asked again that has not said its lineage, in milliseconds. */
const ASK_AGAIN_MS = 1_000;

/**
 * Checks what a node says. The node that answers may be another one than the one whose copy the mirror has: the next
 * URL in a short cut, or another machine behind the same URL.
 * @param ofRunId run ID of the copy
 * @throws TypeError if it is not the lineage of that history
 */
export function checkedLineage(
  { runId, lineage }: { readonly runId?: unknown; readonly lineage?: unknown },
  ofRunId: string,
): Lineage {
  if (
    runId !== ofRunId ||
    !Array.isArray(lineage) ||
    !lineage.every((each) => isText(each?.runId) && isNumber(each.validTo))
  ) {
    throw new TypeError();
  }
  return new Map(lineage.map(({ runId, validTo }) => [runId, validTo]));
}

export class PositionWaiters {
  readonly #lineageOf: LineageOf;
  readonly #waiters = new Set<Waiter>();
  #at: string | null = null;
  /** The node's lineage when the mirror had this run ID. */
  #lineage: { readonly runId: string; readonly ancestors: Lineage } | null = null;
  /** Whether a question is under way, or the pause after one. */
  #isAsking = false;
  /** Ends the question, the pause, and all calls that wait or are to come, which reject with the reason. */
  readonly #end = new AbortController();

  /** @param lineageOf asks the followed node; after a failure it is asked again */
  constructor(lineageOf: LineageOf) {
    this.#lineageOf = lineageOf;
  }

  /**
   * @throws TypeError if the text is not a position; LostPositionError if it can never be reached; the signal's reason
   */
  wait(wanted: string, signal?: Signal): Promise<void> {
    const waiting = this.#wait(wanted, signal);
    // An application that looks at the answer later, or never, must not be ended by an unhandled rejection.
    waiting.catch(() => undefined);
    return waiting;
  }

  /** Reports the mirror's new position. */
  moved(position: string): void {
    this.#at = position;
    if (this.#waiters.size > 0) this.#look();
  }

  /** Rejects all calls that wait, and those to come. */
  end(error: unknown): void {
    this.#end.abort(error);
  }

  async #wait(wanted: string, signal: Signal | undefined): Promise<void> {
    const parsed = parsePosition(wanted);
    if (!parsed) throw new TypeError(`${wanted} is no position`);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiter: Waiter = { ...parsed, wanted, resolve, reject };
    this.#waiters.add(waiter);
    try {
      this.#look();
      await unless(this.#end.signal, unless(signal, promise));
    } finally {
      this.#waiters.delete(waiter);
    }
  }

  #look(): void {
    const at = parsePosition(this.#at);
    if (!at || this.#end.signal.aborted) return;
    for (const { runId, offset, wanted, resolve, reject } of this.#waiters) {
      if (runId !== at.runId) {
        if (this.#lineage?.runId !== at.runId) {
          this.#ask(at.runId).catch(() => undefined);
          continue;
        }
        const validTo = this.#lineage.ancestors.get(runId);
        if (validTo === undefined) continue;
        if (offset > validTo) reject(new LostPositionError(wanted));
      }
      if (at.offset >= offset) resolve();
    }
  }

  /** Asks for the lineage, unless a question is under way. Never rejects. */
  async #ask(runId: string): Promise<void> {
    if (this.#isAsking) return;
    this.#isAsking = true;
    const { signal } = this.#end;
    try {
      const ancestors = await within(ASK_MS, 'the node', (over) => this.#lineageOf(runId, over), signal);
      this.#lineage = { runId, ancestors };
    } catch {
      // It is asked again.
    }
    // A node that changes its run ID again and again is not asked without a pause either.
    const at = parsePosition(this.#at)?.runId;
    if (at !== this.#lineage?.runId) await rest(ASK_AGAIN_MS, signal);
    this.#isAsking = false;
    this.#look();
  }
}
