/**
 * Work that takes longer than a tick of the event loop may: it is done in slices, and whatever else there is to do comes in
 * between. All such work shares one line: in each turn of the event loop one slice is done, however many requests have some.
 */
import type { FastifyReply } from 'fastify';
import { atOnce, type Steps } from '../keyspace/json.ts';
import { Problem } from '../node/problem.ts';

/** JSON up to so many bytes is read, checked or written at once: below a millisecond, and up to ten when it is odd. */
export const AT_ONCE_BYTES = 64 * 1024;

/** How long a slice may take, in milliseconds. */
const SLICE_MS = 10;

const waiting: (() => void)[] = [];
let scheduled = false;

/** Resolves when it is this work's turn to do a slice. */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    waiting.push(resolve);
    schedule();
  });
}

function schedule(): void {
  if (scheduled) return;
  scheduled = true;
  setImmediate(() => {
    scheduled = false;
    waiting.shift()?.();
    if (waiting.length > 0) schedule();
  });
}

/** Says when a slice has been long enough. */
export class Slice {
  #until = 0;

  /** Returns at once while there is time left, and otherwise when it is this work's turn again. */
  pause(): Promise<void> | undefined {
    return performance.now() < this.#until ? undefined : this.next();
  }

  async next(): Promise<void> {
    await turn();
    this.#until = performance.now() + SLICE_MS;
  }
}

/** Does the work at once if it is about few bytes, and in slices otherwise. */
export async function inSlices<T>(bytes: number, steps: Steps<T>): Promise<T> {
  if (bytes <= AT_ONCE_BYTES) return atOnce(steps);
  const slice = new Slice();
  for (;;) {
    const pause = slice.pause();
    if (pause !== undefined) await pause;
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
