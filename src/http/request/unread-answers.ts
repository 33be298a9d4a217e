/**
 * How much memory the answers of all connections take that their clients have not taken yet.
 *
 * An answer is a whole in memory until the last byte of it is with the operating system, so a client that does not read costs
 * what it asked for. Small answers are not counted: what a connection can have of them is little. Larger ones are made one at a
 * time for a connection, and for all connections together as long as they are below the limit; beyond it requests wait, and
 * are refused after a while. Who takes nothing of an answer, or too little in all the time, loses the connection.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Problem } from '../../node/problem.ts';
import type { Pipelines } from './pipelines.ts';

/** Answers up to this size are not counted, in bytes. */
export const SMALL_ANSWER_BYTES = 16 * 1024;
/** A client that takes nothing of an answer for so long is disconnected, in milliseconds. */
export const ANSWER_STALL_MS = 30_000;
/** A client has `ANSWER_STALL_MS`, and as long as the answer needs at this rate, in bytes a second; then it is disconnected. */
const MIN_ANSWER_RATE = 16 * 1024;
/** A request waits so long for others to take their answers, in milliseconds; then it is refused. */
const MAX_WAIT_MS = 5_000;
/** So many requests wait for that at the same time; more are refused at once. */
const MAX_WAITING = 1_000;

interface Waiting {
  readonly admitted: () => void;
}

export class UnreadAnswers {
  readonly #limitBytes: () => number;
  readonly #pipelines: Pipelines;
  readonly #open = new Map<ServerResponse, number>();
  readonly #waiting = new Set<Waiting>();
  #bytes = 0;

  /** @param limitBytes what all answers together may take; the one that reaches the limit may pass it */
  constructor(limitBytes: () => number, pipelines: Pipelines) {
    this.#limitBytes = limitBytes;
    this.#pipelines = pipelines;
  }

  /** What all answers take now. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Asks for room before an answer is made.
   * @param bytes how large it will be, about
   * @returns null: it counts now, and may be made; else what resolves when that is so
   * @throws Problem TOO_MANY_REQUESTS (by the promise) when others have not taken their answers in time
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

  /** A connection has one large answer at a time. */
  async #inTurn(request: IncomingMessage, response: ServerResponse, bytes: number): Promise<void> {
    await new Promise<void>((resolve) => this.#pipelines.of(request.socket).wait(response, resolve));
    await this.admit(request, response, bytes);
  }

  #room(response: ServerResponse, bytes: number): Promise<void> {
    if (this.#waiting.size >= MAX_WAITING) return Promise.reject(this.#tooMany());
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

  /** Says how large an answer is: it counts until the client has taken it, or has gone. */
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
    const allowedMs = ANSWER_STALL_MS + (bytes / MIN_ANSWER_RATE) * 1_000;
    const timer = setTimeout(cut, allowedMs).unref();
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
      `clients have not taken ${this.#bytes} bytes of answers yet; there is no room for another large one`,
    );
  }
}
