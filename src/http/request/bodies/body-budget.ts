/**
 * Limits the memory that the request bodies of all connections take from arrival until they are written.
 *
 * Each client may take a share of what the others leave (`Shares`). Below half of its share, the server reads every body of
 * the client. Above it, the server goes on reading only its oldest bodies: as many as fit, when complete, into the other
 * half. It stops reading the others until those are written, so TCP makes the client wait. Bodies therefore never take more
 * than the limit, and the oldest body of all always makes progress: it alone may exceed the limit.
 * `BodyStalls` ends bodies that arrive too slowly and refuses bodies that have waited too long. A connection whose body
 * is not read keeps at most the 64 KiB that Node has read already.
 */
import type { Readable } from 'node:stream';
import { Shares } from '../../../node/client-places.ts';

interface Held {
  readonly client: string;
  /** Bytes of the body in memory now. */
  bytes: number;
  /** Bytes of the complete body, at most. */
  expected: number;
  isComplete: boolean;
  /** Called when the body may be read again; null: it is being read. */
  resume: (() => void) | null;
}

export class BodyBudget {
  readonly #clientOf: (body: Readable) => string;
  /** Bodies in order of arrival, oldest first. */
  readonly #bodies = new Map<Readable, Held>();
  /** Bodies whose requests are answered: what still arrives of them is dropped, and does not count. */
  readonly #over = new WeakSet<Readable>();
  /** The same bodies, by client. */
  readonly #byClient = new Map<string, Set<Held>>();
  readonly #bytes: Shares;
  #waiting = 0;

  /**
   * @param limitBytes returns the memory that all bodies together may take
   * @param clientOf returns the name of the client that sends a body
   */
  constructor(limitBytes: () => number, clientOf: (body: Readable) => string) {
    // How long the bodies of others are tells what they write before they have written it.
    this.#bytes = new Shares(limitBytes, 'coarsely');
    this.#clientOf = clientOf;
  }

  /** Memory that all bodies take now. */
  get bytes(): number {
    return this.#bytes.total;
  }

  /**
   * Records how many bytes of a body are in memory now.
   * @param expected bytes of the complete body, at most
   * @returns whether more of the body may be read now; if not, `whenRoom` tells when
   */
  hold(body: Readable, bytes: number, expected: number): boolean {
    if (this.#over.has(body)) return true;
    const held = this.#bodies.get(body) ?? this.#begun(body, expected);
    this.#bytes.add(held.client, bytes - held.bytes);
    held.bytes = bytes;
    held.expected = Math.max(bytes, expected);
    return this.#mayGoOn(held);
  }

  /** Calls `resume` once when more of the body may be read; never if the body is released first. */
  whenRoom(body: Readable, resume: () => void): void {
    const held = this.#bodies.get(body);
    if (held === undefined) return resume();
    if (held.resume === null) this.#waiting += 1;
    held.resume = resume;
    this.#wake();
  }

  /** Records that the body is complete; its bytes count until `release`. */
  complete(body: Readable): void {
    if (this.#bodies.size === 0) return;
    const held = this.#bodies.get(body);
    if (held !== undefined) held.isComplete = true;
  }

  /** Records that the body is no longer in memory. Does nothing if the body was released before or never held. */
  release(body: Readable): void {
    if (this.#bodies.size === 0) return;
    const held = this.#bodies.get(body);
    if (held === undefined) return;
    this.#bodies.delete(body);
    const others = this.#byClient.get(held.client);
    others?.delete(held);
    if (others?.size === 0) this.#byClient.delete(held.client);
    this.#bytes.add(held.client, -held.bytes);
    if (held.resume !== null) this.#waiting -= 1;
    this.#wake();
  }

  /** Releases the body for good: its request is answered, whatever still arrives of it. */
  end(body: Readable): void {
    this.#over.add(body);
    this.release(body);
  }

  /** Whether the body's request is answered. */
  isOver(body: Readable): boolean {
    return this.#over.has(body);
  }

  /** Bytes of the body that count towards the limit now. */
  heldBytes(body: Readable): number {
    return this.#bodies.get(body)?.bytes ?? 0;
  }

  /** Whether the body is not read because there is no room for it. */
  isWaiting(body: Readable): boolean {
    const held = this.#bodies.get(body);
    return held !== undefined && held.resume !== null;
  }

  /** Whether some bodies are not read because there is no room for them. */
  get hasWaiting(): boolean {
    return this.#waiting > 0;
  }

  #begun(body: Readable, expected: number): Held {
    const client = this.#clientOf(body);
    const held = { client, bytes: 0, expected, isComplete: false, resume: null };
    this.#bodies.set(body, held);
    const others = this.#byClient.get(client);
    if (others === undefined) this.#byClient.set(client, new Set([held]));
    else others.add(held);
    return held;
  }

  #mayGoOn(held: Held): boolean {
    const { client } = held;
    if (this.#bytes.isSpent) return this.#isOldest(held);
    const half = this.#bytes.most(client) / 2;
    if (this.#bytes.of(client) <= half) return true;
    let before = 0;
    for (const each of this.#byClient.get(client) ?? []) {
      if (each === held) break;
      before += sizeOf(each);
      if (before > half) return false;
    }
    // A single body may exceed the half that is meant for all of the client.
    return before === 0 || before + held.expected <= half;
  }

  #isOldest(held: Held): boolean {
    const [oldest] = this.#bodies.values();
    return oldest === held;
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
