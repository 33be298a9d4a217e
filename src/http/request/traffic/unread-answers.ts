/**
 * Limits the memory for answers that clients have not received yet.
 *
 * Memory holds a whole answer until the operating system has taken its last byte, so a client that does not read costs
 * the server the size of its answer. Small answers do not count: one connection can have only little of them. Each
 * connection gets one larger answer at a time, and all connections together stay below the limit. Each client may take a
 * share of what the others leave (`Shares`); beyond it, its requests wait and are refused after a while. The server closes a connection whose client reads nothing of an answer for a
 * while, or reads it too slowly overall.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Shares } from '../../../node/client-places.ts';
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
/** Largest number of requests that wait for room, of which each client may have a share; more are refused at once. */
const MAX_WAITING = 1_000;

/** @returns longest time that a client may take to read an answer of so many bytes, in milliseconds */
export function allowedMs(bytes: number): number {
  return Math.min(MAX_TIMER_MS, ANSWER_STALL_MS + (bytes / MIN_ANSWER_RATE) * 1_000);
}

/** An answer that counts. */
interface Open {
  readonly client: string;
  bytes: number;
}

interface Waiting {
  readonly client: string;
  readonly admitted: () => void;
}

export class UnreadAnswers {
  readonly #pipelines: Pipelines;
  readonly #clientOf: (request: IncomingMessage) => string;
  readonly #open = new Map<ServerResponse, Open>();
  readonly #waiting = new Set<Waiting>();
  /** Numbers of waiting requests. */
  readonly #waits = new Shares(() => MAX_WAITING);
  readonly #bytes: Shares;

  /**
   * @param limitBytes returns the memory that all answers may take; the answer that reaches the limit may exceed it
   * @param clientOf returns the name of the client that sends a request
   */
  constructor(
    limitBytes: () => number,
    pipelines: Pipelines,
    clientOf: (request: IncomingMessage) => string,
  ) {
    // How long the answers of others are tells what they read.
    this.#bytes = new Shares(limitBytes, 'coarsely');
    this.#pipelines = pipelines;
    this.#clientOf = clientOf;
  }

  /** Memory that all answers take now. */
  get bytes(): number {
    return this.#bytes.total;
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
    if (!isLarge || this.#open.has(response) || !this.#isFull(this.#clientOf(request))) {
      this.count(request, response, bytes);
      return null;
    }
    return this.#room(this.#clientOf(request), response, bytes);
  }

  /** Waits until the connection's previous large answer is done. */
  async #inTurn(request: IncomingMessage, response: ServerResponse, bytes: number): Promise<void> {
    await new Promise<void>((resolve) => this.#pipelines.of(request.socket).wait(response, resolve));
    await this.admit(request, response, bytes);
  }

  #room(client: string, response: ServerResponse, bytes: number): Promise<void> {
    // A client that has gone needs no answer.
    if (response.closed || this.#waits.of(client) >= this.#waits.most(client)) {
      return Promise.reject(this.#tooMany());
    }
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        clearTimeout(timer);
        response.off('close', refuse);
        this.#waiting.delete(waiting);
        this.#waits.add(client, -1);
      };
      const waiting: Waiting = {
        client,
        admitted: () => {
          leave();
          this.#begin(client, response, bytes);
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
      this.#waits.add(client, 1);
    });
  }

  /** Records the size of an answer: it counts until the client has received it or disconnected. */
  count(request: IncomingMessage, response: ServerResponse, bytes: number): void {
    const before = this.#open.get(response);
    if (before !== undefined) {
      const change = bytes - before.bytes;
      before.bytes = bytes;
      this.#bytes.add(before.client, change);
      if (change < 0) this.#wake();
    } else if (this.#pipelines.isBehind(response)) this.#pipelines.of(request.socket).madeAhead(bytes);
    else if (bytes > SMALL_ANSWER_BYTES && !response.destroyed) {
      this.#begin(this.#clientOf(request), response, bytes);
    }
  }

  #isFull(client: string): boolean {
    return this.#bytes.of(client) >= this.#bytes.most(client);
  }

  #begin(client: string, response: ServerResponse, bytes: number): void {
    const open = { client, bytes };
    this.#open.set(response, open);
    this.#bytes.add(client, bytes);
    const cut = (): void => {
      response.destroy();
    };
    const timer = setTimeout(cut, allowedMs(bytes)).unref();
    response.setTimeout(ANSWER_STALL_MS, cut);
    response.once('close', () => {
      clearTimeout(timer);
      this.#bytes.add(client, -open.bytes);
      this.#open.delete(response);
      this.#wake();
    });
  }

  #wake(): void {
    for (const waiting of this.#waiting) if (!this.#isFull(waiting.client)) waiting.admitted();
  }

  #tooMany(): Problem {
    return new Problem(
      'TOO_MANY_REQUESTS',
      'clients have not read earlier answers yet, and there is no room for another large one',
    );
  }
}
