/**
 * Ends requests whose body stopped arriving, or arrives too slowly for the memory that it takes.
 *
 * One timer looks at all bodies together: a timer for each request's socket costs as much as routing the request, and
 * nearly every body arrives at once.
 */
import type { IncomingMessage } from 'node:http';
import { Problem } from '../../../node/problem.ts';
import type { Sender } from '../../../node/write/sender.ts';
import type { BodyBudget } from './body-budget.ts';

/** Number of looks within each time-out. */
const LOOKS = 4;
/** Bodies with more bytes than this in memory have to arrive at `MIN_BODY_RATE`. */
const SMALL_BODY_BYTES = 64 * 1024;
/** Lowest rate of a large body, averaged over each time-out, in bytes a second. */
export const MIN_BODY_RATE = 1_024;
/** The same while other bodies wait for room. */
export const MIN_BODY_RATE_WHILE_OTHERS_WAIT = 16 * 1_024;
/** Number of time-outs after which a small body in memory has to be complete. */
const SMALL_BODY_TIMEOUTS = 10;

interface Body {
  /** Bytes that the connection had received at the last look with progress; null: no look yet. */
  bytes: number | null;
  /** Time of that look. */
  at: number;
  /** Time of the first look, or of the first look at which the body no longer waited for this node. */
  since: number;
  /** Time since which the body is not read because older bodies come first; null: it is being read. */
  waitingSince: number | null;
  /**
   * Bytes that the connection had received at the start of the current time-out, over which the rate is measured, and
   * that time.
   */
  windowBytes: number;
  windowAt: number;
  readonly sender: Sender | null;
  readonly stalled: (problem: Problem) => void;
}

export class BodyStalls {
  readonly #timeoutMs: () => number;
  readonly #budget: Pick<BodyBudget, 'heldBytes' | 'isWaiting' | 'hasWaiting'>;
  readonly #bodies = new Map<IncomingMessage, Body>();
  #looking = false;

  /**
   * @param timeoutMs returns the longest pause within a body, in milliseconds
   * @param budget says which bodies are in memory and which are not being read
   */
  constructor(timeoutMs: () => number, budget: Pick<BodyBudget, 'heldBytes' | 'isWaiting' | 'hasWaiting'>) {
    this.#timeoutMs = timeoutMs;
    this.#budget = budget;
  }

  /**
   * Calls `stalled` when the body stopped or is too slow (REQUEST_TIMEOUT), or has waited too long for room
   * (TOO_MANY_REQUESTS), unless `forget` comes first.
   * @param sender whose right `endOver` asks for; null: another part ends the request
   */
  watch(request: IncomingMessage, sender: Sender | null, stalled: (problem: Problem) => void): void {
    this.#bodies.set(request, {
      bytes: null,
      at: 0,
      since: 0,
      waitingSince: null,
      windowBytes: 0,
      windowAt: 0,
      sender,
      stalled,
    });
    if (this.#looking) return;
    this.#looking = true;
    this.#lookLater();
  }

  /** Stops watching: the body is complete, or no longer needed. */
  forget(request: IncomingMessage): void {
    this.#bodies.delete(request);
  }

  /** Ends the bodies whose sender may do nothing any more, with the problem that says so. */
  endOver(): void {
    for (const [request, { sender, stalled }] of this.#bodies) {
      const over = sender?.over ?? null;
      if (over === null) continue;
      this.#bodies.delete(request);
      stalled(over);
    }
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

  /** @returns the reason to end the request now; null: it may go on */
  #problemOf(request: IncomingMessage, body: Body, now: number): Problem | null {
    const timeoutMs = this.#timeoutMs();
    const { bytesRead } = request.socket;
    const isWaiting = this.#budget.isWaiting(request);
    body.waitingSince = isWaiting ? (body.waitingSince ?? now) : null;
    if (body.waitingSince !== null && now - body.waitingSince >= timeoutMs) {
      const detail = `other request bodies filled the memory for ${timeoutMs} ms; there was no room for this one`;
      return new Problem('TOO_MANY_REQUESTS', detail);
    }
    // Unread bytes mean that this node is the slow side: it waits for the disk or for memory.
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
      return tooSlow(`no part of the body arrived for ${timeoutMs} ms`);
    }
    const held = this.#budget.heldBytes(request);
    if (held > 0 && held <= SMALL_BODY_BYTES && now - body.since >= SMALL_BODY_TIMEOUTS * timeoutMs) {
      return tooSlow(`the body was not complete after ${SMALL_BODY_TIMEOUTS * timeoutMs} ms`);
    }
    const windowMs = now - body.windowAt;
    if (windowMs < timeoutMs) return null;
    const { hasWaiting } = this.#budget;
    const rate = hasWaiting ? MIN_BODY_RATE_WHILE_OTHERS_WAIT : MIN_BODY_RATE;
    if (held > SMALL_BODY_BYTES && bytesRead - body.windowBytes < (rate * windowMs) / 1_000) {
      const why = hasWaiting ? ', and others wait for room' : '';
      return tooSlow(`less than ${rate} bytes a second of the body arrived${why}`);
    }
    body.windowBytes = bytesRead;
    body.windowAt = now;
    return null;
  }
}

function tooSlow(detail: string): Problem {
  return new Problem('REQUEST_TIMEOUT', detail);
}
