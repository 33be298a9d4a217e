/** Cuts of the connection to a node that has answered before: it is there, so a command asks again. */
import { setTimeout as pause } from 'node:timers/promises';
import { messageOf } from '../node/ports/failures.ts';
import { CommandError } from './command-error.ts';

/** Cuts in a row. */
const MAX_CUTS = 8;
/** Pause after the first cut, and the longest one, in milliseconds. */
const PAUSE_MS = 100;
const MAX_PAUSE_MS = 5_000;

export class Cuts {
  #count = 0;

  /** The node has sent something: the next cut counts as the first. */
  forget(): void {
    this.#count = 0;
  }

  /** Pauses after a cut. @param what had come until then, for the message; `''`: nothing @throws CommandError after too many */
  async pause(error: unknown, what = ''): Promise<void> {
    this.#count += 1;
    if (this.#count > MAX_CUTS) {
      throw new CommandError(`the node broke off the download${what}: ${messageOf(error)}`);
    }
    await pause(Math.min(PAUSE_MS * 2 ** (this.#count - 1), MAX_PAUSE_MS));
  }
}

/** Asks a node that has answered before, and once more after each cut. @throws CommandError after too many, or what `ask` throws */
export async function despiteCuts<T>(ask: () => Promise<T>): Promise<T> {
  for (const cuts = new Cuts(); ; ) {
    try {
      return await ask();
    } catch (error) {
      if (!isCut(error)) throw error;
      await cuts.pause(error);
    }
  }
}

/** Whether an error of `fetch`, or one that the client has made of it, says that no whole answer has come. */
function isCut(error: unknown): boolean {
  return error instanceof TypeError && ['fetch failed', 'terminated'].includes(error.message);
}
