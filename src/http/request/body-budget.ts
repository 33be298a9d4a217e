/**
 * How much memory the request bodies of all connections take while they arrive and until they are written.
 *
 * Below half of the limit every body is read. Above it the oldest go on, as many as fit into the other half when they are
 * complete, and the others are not read until those have been written: TCP makes their clients wait. So bodies in flight never
 * take more than the limit, and there is always one that makes progress; `BodyStalls` ends those that arrive too slowly, and
 * refuses those that have waited too long.
 * A connection whose body is not read holds what Node has read already, at most 64 KiB.
 */
import type { Readable } from 'node:stream';

interface Held {
  /** What is in memory. */
  bytes: number;
  /** What will be, at most, when the body is complete. */
  expected: number;
  isComplete: boolean;
  /** Called when the body may be read again; null: it is read. */
  resume: (() => void) | null;
}

export class BodyBudget {
  readonly #limitBytes: () => number;
  /** Oldest first. */
  readonly #bodies = new Map<Readable, Held>();
  #bytes = 0;
  #waiting = 0;

  /** @param limitBytes what all bodies together may take */
  constructor(limitBytes: () => number) {
    this.#limitBytes = limitBytes;
  }

  /** What all bodies take now. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Says how much of a body is in memory now.
   * @param expected how much it will be at most
   * @returns whether more of it may be read now; if not, `whenRoom` says when
   */
  hold(body: Readable, bytes: number, expected: number): boolean {
    let held = this.#bodies.get(body);
    if (held === undefined) {
      held = { bytes: 0, expected, isComplete: false, resume: null };
      this.#bodies.set(body, held);
    }
    this.#bytes += bytes - held.bytes;
    held.bytes = bytes;
    held.expected = Math.max(bytes, expected);
    return this.#mayGoOn(held);
  }

  /** Calls `resume` once, when more of the body may be read; never, if the body is released before. */
  whenRoom(body: Readable, resume: () => void): void {
    const held = this.#bodies.get(body);
    if (held === undefined) return resume();
    if (held.resume === null) this.#waiting += 1;
    held.resume = resume;
    this.#wake();
  }

  /** Nothing more of the body comes; its bytes count until `release`. */
  complete(body: Readable): void {
    if (this.#bodies.size === 0) return;
    const held = this.#bodies.get(body);
    if (held !== undefined) held.isComplete = true;
  }

  /** The body is not in memory any more. It may have been released before, or never held. */
  release(body: Readable): void {
    if (this.#bodies.size === 0) return;
    const held = this.#bodies.get(body);
    if (held === undefined) return;
    this.#bodies.delete(body);
    this.#bytes -= held.bytes;
    if (held.resume !== null) this.#waiting -= 1;
    this.#wake();
  }

  /** How much of the body is in memory, as far as it counts. */
  heldBytes(body: Readable): number {
    return this.#bodies.get(body)?.bytes ?? 0;
  }

  /** Whether the body is not read because others come first. */
  isWaiting(body: Readable): boolean {
    const held = this.#bodies.get(body);
    return held !== undefined && held.resume !== null;
  }

  #mayGoOn(held: Held): boolean {
    const half = this.#limitBytes() / 2;
    if (this.#bytes <= half) return true;
    let before = 0;
    for (const each of this.#bodies.values()) {
      if (each === held) break;
      before += sizeOf(each);
      if (before > half) return false;
    }
    // One body may be larger than what is allowed for all.
    return before === 0 || before + held.expected <= half;
  }

  #wake(): void {
    if (this.#waiting === 0) return;
    for (const held of this.#bodies.values()) {
      if (held.resume === null || !this.#mayGoOn(held)) continue;
      const { resume } = held;
      held.resume = null;
      this.#waiting -= 1;
      resume();
      if (this.#waiting === 0) return;
    }
  }
}

function sizeOf({ isComplete, bytes, expected }: Held): number {
  return isComplete ? bytes : expected;
}
