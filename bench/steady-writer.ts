/** Starts steady-writes.ts in a process of its own, and asks it for its measurements. */
import { Child } from './child.ts';
import { polled } from './polled.ts';
import type { Scope } from './scope.ts';
import type { Written } from './steady-writes.ts';

const POLL_MS = 20;

export interface Writing {
  readonly port: number;
  /** Requests per second. */
  readonly rate: number;
  /** Number of keys: requests use random ones of the first `keys`. */
  readonly keys: number;
  readonly protocol: 'put' | 'get' | 'redis';
  /** Port of a replica that the writer also follows. */
  readonly follow?: number;
}

export class SteadyWriter {
  readonly #child: Child;

  private constructor(child: Child) {
    this.#child = child;
  }

  static async start(scope: Scope, writing: Writing): Promise<SteadyWriter> {
    return new SteadyWriter(await Child.start(scope, 'steady-writes.ts', { ...writing }));
  }

  /** @returns the measurements since the last call */
  measured(): Promise<Written> {
    return this.#child.ask('measure');
  }

  /**
   * Stops sending, and waits for the answers to all requests that were sent.
   * @returns `last`: the measurements until the stop; `late`: the number of requests answered after it
   */
  async finish(): Promise<{ readonly last: Written; readonly late: number }> {
    const last = await this.#child.ask<Written>('stop');
    let late = 0;
    await polled(POLL_MS, async () => {
      const { writes, open } = await this.measured();
      late += writes;
      return open === 0;
    });
    await this.#child.stop();
    return { last, late };
  }
}
