/**
 * Bodies of which nothing arrives any more, or too little for the memory that they take: somebody has to let go, and it is not
 * the client.
 *
 * They are looked at from time to time, all together: setting a timer on the socket of every request costs as much as
 * routing it does, and nearly every body is there at once.
 */
import type { IncomingMessage } from 'node:http';
import { Problem } from '../../node/problem.ts';
import type { BodyBudget } from './body-budget.ts';

/** How often within the time-out they are looked at. */
const LOOKS = 4;
/** A body of which more is kept in memory has to arrive at `MIN_BODY_RATE`, in bytes. */
const SMALL_BODY_BYTES = 64 * 1024;
/** What such a body has to bring within each time-out, in bytes a second. */
export const MIN_BODY_RATE = 1_024;
/** A smaller one that is kept in memory has to be complete after so many time-outs. */
const SMALL_BODY_TIMEOUTS = 10;

interface Body {
  /** What its connection had brought when it was last seen to grow; null: it was not looked at yet. */
  bytes: number | null;
  /** When that was. */
  at: number;
  /** When it was first looked at, or did not wait for this node any more. */
  since: number;
  /** Since when it is not read because other bodies come first; null: it is read. */
  waitingSince: number | null;
  /** What its connection had brought when the time-out began in which its rate is measured, and when that was. */
  windowBytes: number;
  windowAt: number;
  readonly stalled: (problem: Problem) => void;
}

export class BodyStalls {
  readonly #timeoutMs: () => number;
  readonly #budget: Pick<BodyBudget, 'heldBytes' | 'isWaiting'>;
  readonly #bodies = new Map<IncomingMessage, Body>();
  #looking = false;

  /**
   * @param timeoutMs how long nothing of a body may arrive
   * @param budget knows which bodies are kept in memory, and which are not read
   */
  constructor(timeoutMs: () => number, budget: Pick<BodyBudget, 'heldBytes' | 'isWaiting'>) {
    this.#timeoutMs = timeoutMs;
    this.#budget = budget;
  }

  /**
   * Calls `stalled` once nothing of the body has arrived for so long, or too little (REQUEST_TIMEOUT), or it has waited so long
   * for room (TOO_MANY_REQUESTS), unless `forget` comes first.
   */
  watch(request: IncomingMessage, stalled: (problem: Problem) => void): void {
    this.#bodies.set(request, {
      bytes: null,
      at: 0,
      since: 0,
      waitingSince: null,
      windowBytes: 0,
      windowAt: 0,
      stalled,
    });
    if (this.#looking) return;
    this.#looking = true;
    this.#lookLater();
  }

  /** The body is complete, or nobody wants it any more. */
  forget(request: IncomingMessage): void {
    this.#bodies.delete(request);
  }

  #lookLater(): void {
    setTimeout(() => this.#look(), this.#timeoutMs() / LOOKS).unref();
  }

  #look(): void {
    const now = performance.now();
    for (const [request, body] of this.#bodies) {
      const problem = this.#problemOf(request, body, now);
      if (problem === null) continue;
      this.#bodies.delete(request);
      body.stalled(problem);
    }
    this.#looking = this.#bodies.size > 0;
    if (this.#looking) this.#lookLater();
  }

  /** @returns why the body is given up now, or null */
  #problemOf(request: IncomingMessage, body: Body, now: number): Problem | null {
    const timeoutMs = this.#timeoutMs();
    const { bytesRead } = request.socket;
    const isWaiting = this.#budget.isWaiting(request);
    body.waitingSince = isWaiting ? (body.waitingSince ?? now) : null;
    if (body.waitingSince !== null && now - body.waitingSince >= timeoutMs) {
      const detail = `other bodies took the memory for ${timeoutMs} ms; there was no room for this one`;
      return new Problem('TOO_MANY_REQUESTS', detail);
    }
    // If something lies there, it is this node that does not read on: it waits for the disk, or for room in memory.
    const isUnread = isWaiting || request.readableLength > 0;
    if (body.bytes === null || isUnread) {
      body.since = now;
      body.windowBytes = bytesRead;
      body.windowAt = now;
    }
    if (body.bytes !== bytesRead || isUnread) {
      body.bytes = bytesRead;
      body.at = now;
    } else if (now - body.at >= timeoutMs) {
      return tooSlow(`nothing of the body arrived for ${timeoutMs} ms`);
    }
    const held = this.#budget.heldBytes(request);
    if (held > 0 && held <= SMALL_BODY_BYTES && now - body.since >= SMALL_BODY_TIMEOUTS * timeoutMs) {
      return tooSlow(`the body was not complete after ${SMALL_BODY_TIMEOUTS * timeoutMs} ms`);
    }
    const windowMs = now - body.windowAt;
    if (windowMs < timeoutMs) return null;
    if (held > SMALL_BODY_BYTES && bytesRead - body.windowBytes < (MIN_BODY_RATE * windowMs) / 1_000) {
      return tooSlow(`less than ${MIN_BODY_RATE} bytes a second of the body arrived`);
    }
    body.windowBytes = bytesRead;
    body.windowAt = now;
    return null;
  }
}

function tooSlow(detail: string): Problem {
  return new Problem('REQUEST_TIMEOUT', detail);
}
