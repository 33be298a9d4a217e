/**
 * Runs long work for requests in slices, so that the event loop does other work in between. All requests share one
 * queue: each turn of the event loop runs one slice, however many requests have work.
 */
import type { FastifyReply } from 'fastify';
import { atOnce, type Steps } from '../../keyspace/json/json.ts';
import { Problem } from '../../node/problem.ts';
import { OneByOne, Turns } from '../../node/turns.ts';
import { EVENT_LOOP } from '../../runtime/event-loop.ts';

/**
 * JSON up to this many bytes is parsed, checked or written at once: it usually takes below a millisecond, and up to ten
 * for unusual JSON.
 */
export const AT_ONCE_BYTES = 64 * 1024;

const LINE = new OneByOne(EVENT_LOOP);

/** @returns the turns of one piece of work; the first slice begins when its turn comes */
export function slices(): Turns {
  const turns = new Turns(LINE);
  turns.end();
  return turns;
}

/** Runs the work at once if it concerns few bytes, and in slices otherwise. */
export async function inSlices<T>(bytes: number, steps: Steps<T>): Promise<T> {
  if (bytes <= AT_ONCE_BYTES) return atOnce(steps);
  const turns = slices();
  for (;;) {
    if (turns.isOver) await turns.pass();
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

/**
 * A queue for work that keeps a large value in memory. It runs one piece of work at a time, so memory holds one such
 * value however many requests wait.
 */
export class Line {
  #last: Promise<unknown> = Promise.resolve();

  /**
   * Runs the work when the work before it has ended.
   * @param reply of the request; if its client has disconnected or lost its token meanwhile, the work is skipped
   */
  run<T>(reply: FastifyReply, work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(() => {
      mustGoOn(reply);
      return work();
    });
    this.#last = result.catch(() => undefined);
    return result;
  }
}

/** Largest number of clients whose work `ClientLines` does at the same time, unless it is told another one. */
const MAX_CLIENTS_AT_ONCE = 4;

/**
 * Queues for work that keeps a large value in memory: one piece of work of each client at a time, and of a few clients together, which
 * take turns. So a client waits for its own work, and for at most two pieces of work of each of the others. Several clients at a time are
 * for work for which the client has got room before.
 */
export class ClientLines {
  readonly #most: number;
  /** Clients with work that has not begun, in the order in which they have their turns. */
  readonly #waiting = new Map<string, (() => Promise<void>)[]>();
  readonly #running = new Set<string>();

  /** @param most largest number of clients whose work is done at the same time */
  constructor(most = MAX_CLIENTS_AT_ONCE) {
    this.#most = most;
  }

  /**
   * Runs the work when the client's work before it has ended, and fewer others than the lines allow have some.
   * @param reply of the request; if its client has disconnected or lost its token meanwhile, the work is skipped
   */
  run<T>(reply: FastifyReply, work: () => Promise<T>): Promise<T> {
    const { client } = reply.request.standing;
    return new Promise((resolve, reject) => {
      const own = this.#waiting.get(client) ?? [];
      own.push(async () => {
        try {
          mustGoOn(reply);
          resolve(await work());
        } catch (error) {
          reject(error);
        }
      });
      this.#waiting.set(client, own);
      this.#begin();
    });
  }

  #begin(): void {
    for (const [client, own] of this.#waiting) {
      if (this.#running.size >= this.#most) return;
      if (this.#running.has(client)) continue;
      this.#waiting.delete(client);
      const next = own.shift();
      // Other clients have their turn before its next one.
      if (own.length > 0) this.#waiting.set(client, own);
      if (next !== undefined) this.#start(client, next);
    }
  }

  #start(client: string, work: () => Promise<void>): void {
    this.#running.add(client);
    const ended = (): void => {
      this.#running.delete(client);
      this.#begin();
    };
    work().then(ended, ended);
  }
}

/** @throws Problem UNAUTHORIZED; another one, which is never sent, if the client has disconnected */
export function mustGoOn({ raw, request }: FastifyReply): void {
  if (raw.destroyed) throw new Problem('BAD_REQUEST', 'the client has disconnected');
  request.standing.mustGoOn();
}
