/** The other end of steady-writes.ts. */
import { Child } from './child.ts';
import { polled } from './polled.ts';
import type { Scope } from './scope.ts';
import type { Written } from './steady-writes.ts';

const POLL_MS = 20;

export interface Writing {
  readonly port: number;
  /** Requests a second. */
  readonly rate: number;
  /** Random ones of the first so many. */
  readonly keys: number;
  readonly protocol: 'put' | 'get' | 'redis';
  /** The port of a replica of which it is to be a follower too. */
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

  /** What has happened since this was asked last. */
  measured(): Promise<Written> {
    return this.#child.ask('measure');
  }

  /** The same, and no more is sent; it ends when what was sent is answered. @returns that many more were answered */
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
