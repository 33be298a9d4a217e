/**
 * Limits the memory for answers that clients have not received yet.
 *
 * Memory holds a whole answer until the operating system has taken its last byte, so a client that does not read costs
 * the server the size of its answer. Small answers do not count: one connection can have only little of them. Each
 * connection gets one larger answer at a time, and all connections together stay below the limit; beyond it, requests
 * wait and are refused after a while. The server closes a connection whose client reads nothing of an answer for a
 * while, or reads it too slowly overall.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Problem } from '../../../node/problem.ts';
import type { Pipelines } from './pipelines.ts';

/** Largest answer that does not count, in bytes. */
export const SMALL_ANSWER_BYTES = 16 * 1024;
/** Time without progress after which the server disconnects the client, in milliseconds. */
export const ANSWER_STALL_MS = 30_000;
/**
 * Lowest rate at which a client may read an answer, in bytes a second: it has `ANSWER_STALL_MS` plus the time that the
 * answer takes at this rate.
 */
const MIN_ANSWER_RATE = 16 * 1024;
/** Longest time that Node's timers can wait, in milliseconds. */
const MAX_TIMER_MS = 2 ** 31 - 1;
/** Longest wait of a request for other clients to read their answers, in milliseconds; then it is refused. */
const MAX_WAIT_MS = 5_000;
/** Largest number of requests that wait for room; more are refused at once. */
const MAX_WAITING = 1_000;

/** @returns longest time that a client may take to read an answer of so many bytes, in milliseconds */
export function allowedMs(bytes: number): number {
  return Math.min(MAX_TIMER_MS, ANSWER_STALL_MS + (bytes / MIN_ANSWER_RATE) * 1_000);
}

interface Waiting {
  readonly admitted: () => void;
}

export class UnreadAnswers {
  readonly #limitBytes: () => number;
  readonly #pipelines: Pipelines;
  readonly #open = new Map<ServerResponse, number>();
  readonly #waiting = new Set<Waiting>();
  #bytes = 0;

  /** @param limitBytes returns the memory that all answers may take; the answer that reaches the limit may exceed it */
  constructor(limitBytes: () => number, pipelines: Pipelines) {
    this.#limitBytes = limitBytes;
    this.#pipelines = pipelines;
  }

  /** Memory that all answers take now. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether the answer counts here now. */
  has(response: ServerResponse): boolean {
    return this.#open.has(response);
  }

  /**
   * Asks for room before an answer is made.
   * @param bytes approximate size of the answer
   * @returns null: the answer may be made and counts from now on; otherwise a promise that resolves when that is so
   * @throws Problem TOO_MANY_REQUESTS (through the promise) if other clients have not read their answers in time
   */
  admit(request: IncomingMessage, response: ServerResponse, bytes: number): Promise<void> | null {
    const isLarge = bytes > SMALL_ANSWER_BYTES;
    if (isLarge) this.#pipelines.of(request.socket).large();
    if (isLarge && this.#pipelines.isBehind(response)) return this.#inTurn(request, response, bytes);
    if (!isLarge || this.#open.has(response) || !this.#isFull) {
      this.count(request, response, bytes);
      return null;
    }
    return this.#room(response, bytes);
  }

  /** Waits until the connection's previous large answer is done. */
  async #inTurn(request: IncomingMessage, response: ServerResponse, bytes: number): Promise<void> {
    await new Promise<void>((resolve) => this.#pipelines.of(request.socket).wait(response, resolve));
    await this.admit(request, response, bytes);
  }

  #room(response: ServerResponse, bytes: number): Promise<void> {
    // A client that has gone needs no answer.
    if (response.closed || this.#waiting.size >= MAX_WAITING) return Promise.reject(this.#tooMany());
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        clearTimeout(timer);
        response.off('close', refuse);
        this.#waiting.delete(waiting);
      };
      const waiting: Waiting = {
        admitted: () => {
          leave();
          this.#begin(response, bytes);
          resolve();
        },
      };
      const refuse = (): void => {
        leave();
        reject(this.#tooMany());
      };
      const timer = setTimeout(refuse, MAX_WAIT_MS);
      response.once('close', refuse);
      this.#waiting.add(waiting);
    });
  }

  /** Records the size of an answer: it counts until the client has received it or disconnected. */
  count(request: IncomingMessage, response: ServerResponse, bytes: number): void {
    const before = this.#open.get(response);
    if (before !== undefined) {
      this.#open.set(response, bytes);
      this.#bytes += bytes - before;
      if (bytes < before) this.#wake();
    } else if (this.#pipelines.isBehind(response)) this.#pipelines.of(request.socket).madeAhead(bytes);
    else if (bytes > SMALL_ANSWER_BYTES && !response.destroyed) this.#begin(response, bytes);
  }

  get #isFull(): boolean {
    return this.#bytes >= this.#limitBytes();
  }

  #begin(response: ServerResponse, bytes: number): void {
    this.#open.set(response, bytes);
    this.#bytes += bytes;
    const cut = (): void => {
      response.destroy();
    };
    const timer = setTimeout(cut, allowedMs(bytes)).unref();
    response.setTimeout(ANSWER_STALL_MS, cut);
    response.once('close', () => {
      clearTimeout(timer);
      this.#bytes -= this.#open.get(response) ?? 0;
      this.#open.delete(response);
      this.#wake();
    });
  }

  #wake(): void {
    for (const waiting of this.#waiting) {
      if (this.#isFull) return;
      waiting.admitted();
    }
  }

  #tooMany(): Problem {
    return new Problem(
      'TOO_MANY_REQUESTS',
      'clients have not read earlier answers yet, and there is no room for another large one',
    );
  }
}
