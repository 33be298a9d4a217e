/**
 * Work on one request that takes longer than the event loop may wait: it is done in slices, and whatever else there is to do
 * comes in between. All such work shares one line: in each turn of the event loop one slice is done, however many requests have
 * some.
 */
import type { FastifyReply } from 'fastify';
import { atOnce, type Steps } from '../keyspace/json.ts';
import { Problem } from '../node/problem.ts';
import { OneByOne, Turns } from '../node/turns.ts';
import { EVENT_LOOP } from './event-loop.ts';

/** JSON up to so many bytes is read, checked or written at once: below a millisecond, and up to ten when it is odd. */
export const AT_ONCE_BYTES = 64 * 1024;

const LINE = new OneByOne(EVENT_LOOP);

/** @returns the slices of one piece of work; the first one begins when its turn comes */
export function slices(): Turns {
  const turns = new Turns(LINE);
  turns.end();
  return turns;
}

/** Does the work at once if it is about few bytes, and in slices otherwise. */
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
 * Work that keeps a large value in memory, one after the other: then memory holds one such value, however many requests want
 * this.
 */
export class Line {
  #last: Promise<unknown> = Promise.resolve();

  /**
   * Runs the work when the work before it has ended.
   * @param reply of the request: if its client has gone meanwhile nothing is done
   */
  run<T>(reply: FastifyReply, work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(() => {
      if (reply.raw.destroyed) throw clientHasGone();
      return work();
    });
    this.#last = result.catch(() => undefined);
    return result;
  }
}

/** For a request that nobody waits for any more; what is said is not sent. */
export function clientHasGone(): Problem {
  return new Problem('BAD_REQUEST', 'the client has gone');
}
