/**
 * Runs the requests of one connection in order. A client may send requests without waiting for the earlier answers (RFC
 * 9112, 9.3.2). Node passes all of them on at once and only sends the answers in order; here, a request starts only
 * after the earlier ones are answered, unless they may overlap.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Rounds, Starter } from './rounds.ts';

/**
 * Which requests may run at the same time. `reads` change nothing. `puts` are small writes of one entry on the fast
 * path, which waits for the end of each body, even an empty one; so they reach the write turn in the order of arrival.
 * (Fastify does not wait for an empty body.) `none` waits for all earlier requests, and all later requests wait for it.
 */
export type Overlap = 'reads' | 'puts' | 'none';

/** Runs requests. */
export interface Handler {
  /** @returns what the request would overlap with if `handle` started it now */
  overlap(request: IncomingMessage): Overlap;
  /**
   * Starts the request.
   * @returns what it overlaps with
   */
  handle(request: IncomingMessage, response: ServerResponse): Overlap;
}

/** Number of waiting requests at which the server stops reading from the connection. */
export const MAX_WAITING_REQUESTS = 100;

type WhenAnswered = (unfinished: ServerResponse | undefined) => void;

/** Called when an answer has closed. @param arrivedAt when the request arrived, on the clock of `performance.now()` */
export type WhenClosed = (response: ServerResponse, arrivedAt: number) => void;

/** A request that waits for its turn. */
interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly handler: Handler;
  readonly arrivedAt: number;
}

/** The requests of one connection. */
export class Line implements Starter {
  readonly #socket: Socket;
  readonly #rounds: Rounds;
  readonly #whenClosed: WhenClosed;
  /** Unfinished answers in order; all of them may overlap. */
  readonly #running: ServerResponse[] = [];
  /** When the requests of the running answers arrived. */
  readonly #arrivals: number[] = [];
  #overlap: Overlap = 'none';
  #waiting: Exchange[] = [];
  /** Whether the connection takes no more requests. */
  #ended = false;
  readonly #closed = (): void => this.#advance();

  /** @param rounds decides when a request may start, and calls `startNext` */
  constructor(socket: Socket, rounds: Rounds, whenClosed: WhenClosed) {
    this.#socket = socket;
    this.#rounds = rounds;
    this.#whenClosed = whenClosed;
  }

  /** Whether all requests are answered. */
  get idle(): boolean {
    return this.#running.length === 0 && this.#waiting.length === 0;
  }

  /** Runs the request now, or when its turn comes. */
  take(request: IncomingMessage, response: ServerResponse, handler: Handler): void {
    // Requests after the last answer are dropped (RFC 9112, 9.6).
    if (this.#ended || !this.#socket.writable) return;
    const arrivedAt = performance.now();
    if (this.#waiting.length === 0 && this.#mayStart(request, handler)) {
      if (this.#rounds.isOpen) {
        this.#start(request, response, handler, arrivedAt);
        return;
      }
      this.#rounds.join(this);
    }
    this.#waiting.push({ request, response, handler, arrivedAt });
    if (this.#waiting.length >= MAX_WAITING_REQUESTS) this.#socket.pause();
  }

  startNext(): boolean {
    const [next, after] = this.#waiting;
    if (next === undefined || !this.#mayStart(next.request, next.handler)) return false;
    this.#waiting.shift();
    this.#start(next.request, next.response, next.handler, next.arrivedAt);
    if (after === undefined) this.#socket.resume();
    return after !== undefined && this.#mayStart(after.request, after.handler);
  }

  /**
   * Takes no more requests. If the body of the last request broke off before its turn, that request is dropped.
   * @param whenAnswered called once all complete requests are answered, with the answer to a request whose body broke
   * off after it had started; only the first call counts
   */
  end(whenAnswered: WhenAnswered): void {
    if (this.#ended) return;
    this.#ended = true;
    const answers = [...this.#running];
    if (this.#waiting.at(-1)?.request.complete === false) this.#waiting.pop();
    else if (this.#waiting.length === 0 && answers.at(-1)?.req.complete === false) answers.pop();
    const unfinished = this.#running[answers.length];
    const last = this.#waiting.at(-1)?.response ?? answers.at(-1);
    const done = (): void => whenAnswered(unfinished?.writableFinished ? undefined : unfinished);
    if (last === undefined || last.writableFinished) done();
    // Runs before Node's own listener, which may close the connection after this answer.
    else last.prependOnceListener('finish', done);
  }

  /**
   * Takes over a socket that Node's HTTP server has released: passes its events on to the unfinished answers, notices
   * when the client disconnects, and discards everything that the client still sends.
   */
  keepServing(): void {
    this.#socket.resume();
    this.#socket.on('timeout', () => this.#socket.destroy());
    this.#socket.on('drain', () => this.#running[0]?.emit('drain'));
    this.#socket.once('close', () => {
      for (const response of this.#running) response.destroy();
    });
  }

  #mayStart(request: IncomingMessage, handler: Handler): boolean {
    if (this.#running.length === 0) return true;
    return this.#overlap !== 'none' && handler.overlap(request) === this.#overlap;
  }

  #start(request: IncomingMessage, response: ServerResponse, handler: Handler, arrivedAt: number): void {
    this.#running.push(response);
    this.#arrivals.push(arrivedAt);
    response.on('close', this.#closed);
    this.#overlap = handler.handle(request, response);
  }

  /** Continues after an answer was sent or its connection closed. */
  #advance(): void {
    const closed = this.#running.shift();
    const arrivedAt = this.#arrivals.shift();
    if (closed !== undefined && arrivedAt !== undefined) this.#whenClosed(closed, arrivedAt);
    if (!this.#socket.writable) this.#waiting = [];
    while (this.#rounds.isOpen && this.startNext());
    const [next] = this.#waiting;
    if (next !== undefined && this.#mayStart(next.request, next.handler)) this.#rounds.join(this);
    // The client has closed its side, and Node does not always notice that this was the last answer.
    if (!this.#ended && this.idle && this.#socket.readableEnded) this.#socket.end();
  }
}
