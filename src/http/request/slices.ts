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

/** @throws Problem UNAUTHORIZED; another one, which is never sent, if the client has disconnected */
export function mustGoOn({ raw, request }: FastifyReply): void {
  if (raw.destroyed) throw new Problem('BAD_REQUEST', 'the client has disconnected');
  request.standing.mustGoOn();
}
