/**
 * The requests of one connection, which a client may send without waiting for the answers before them (RFC 9112, 9.3.2). Node
 * hands them all over at once and only sends the answers in order. Here they are also carried out in order: a request starts
 * when the ones before it are answered, unless they may overlap.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Rounds, Starter } from './rounds.ts';

/**
 * What requests of one kind may do side by side. `reads` change nothing. `puts` are small writes of one entry that the short
 * cut carries out: it waits for the end of each body, also of an empty one, so they reach the write turn in the order in which
 * they came. (Fastify does not wait for an empty body.) `none` waits for everything before it, and everything behind it waits.
 */
export type Overlap = 'reads' | 'puts' | 'none';

/** Carries requests out. */
export interface Handler {
  /** @returns what the request would overlap with, if `handle` took it now */
  overlap(request: IncomingMessage): Overlap;
  /** Starts the request. @returns what it overlaps with */
  handle(request: IncomingMessage, response: ServerResponse): Overlap;
}

/** When so many requests of a connection wait, the node reads no more from it. */
export const MAX_WAITING_REQUESTS = 100;

type WhenAnswered = (unfinished: ServerResponse | undefined) => void;

interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly handler: Handler;
}

/** One connection's requests. */
export class Line implements Starter {
  readonly #socket: Socket;
  readonly #rounds: Rounds;
  /** Answers under way, in order; they all overlap with each other. */
  readonly #running: ServerResponse[] = [];
  #overlap: Overlap = 'none';
  #waiting: Exchange[] = [];
  /** The connection takes no more requests. */
  #ended = false;
  readonly #closed = (): void => this.#advance();

  /** @param rounds says when a request may start, and calls `startNext` */
  constructor(socket: Socket, rounds: Rounds) {
    this.#socket = socket;
    this.#rounds = rounds;
  }

  /** Whether everything that came is answered. */
  get idle(): boolean {
    return this.#running.length === 0 && this.#waiting.length === 0;
  }

  /** Carries the request out, now or when its turn comes. */
  take(request: IncomingMessage, response: ServerResponse, handler: Handler): void {
    // What comes behind the last answer is not carried out (RFC 9112, 9.6).
    if (this.#ended || !this.#socket.writable) return;
    const exchange = { request, response, handler };
    if (this.#waiting.length === 0 && this.#mayStart(exchange)) {
      if (this.#rounds.isOpen) {
        this.#start(exchange);
        return;
      }
      this.#rounds.join(this);
    }
    this.#waiting.push(exchange);
    if (this.#waiting.length >= MAX_WAITING_REQUESTS) this.#socket.pause();
  }

  startNext(): boolean {
    const [next, after] = this.#waiting;
    if (next === undefined || !this.#mayStart(next)) return false;
    this.#waiting.shift();
    this.#start(next);
    if (after === undefined) this.#socket.resume();
    return after !== undefined && this.#mayStart(after);
  }

  /**
   * Takes no more requests. The last one is not carried out if its body broke off before its turn.
   * @param whenAnswered called once all complete requests are answered, with the answer to a request whose body broke off after
   *   it had started; only the first call counts
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
    // Before Node's own listener, which may close the connection behind this answer.
    else last.prependOnceListener('finish', done);
  }

  /**
   * For a socket that Node's HTTP server has let go of: passes on what it would tell the answers under way, and notices when
   * the client has gone. What the client sends meanwhile is thrown away.
   */
  keepServing(): void {
    this.#socket.resume();
    this.#socket.on('timeout', () => this.#socket.destroy());
    this.#socket.on('drain', () => this.#running[0]?.emit('drain'));
    this.#socket.once('close', () => {
      for (const response of this.#running) response.destroy();
    });
  }

  #mayStart({ request, handler }: Exchange): boolean {
    if (this.#running.length === 0) return true;
    return this.#overlap !== 'none' && handler.overlap(request) === this.#overlap;
  }

  #start({ request, response, handler }: Exchange): void {
    this.#running.push(response);
    response.on('close', this.#closed);
    this.#overlap = handler.handle(request, response);
  }

  /** An answer is out, or its connection has gone. */
  #advance(): void {
    this.#running.shift();
    if (!this.#socket.writable) this.#waiting = [];
    while (this.#rounds.isOpen && this.startNext());
    const [next] = this.#waiting;
    if (next !== undefined && this.#mayStart(next)) this.#rounds.join(this);
    // The client has closed its side. Node does not always notice that this was the last answer.
    if (!this.#ended && this.idle && this.#socket.readableEnded) this.#socket.end();
  }
}
