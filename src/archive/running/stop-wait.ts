/** The wait of a node that stops, until its archive has what was committed by then. */
import type { World } from '../../node/ports/world.ts';
import type { Offset } from '../../replication/position.ts';

export class StopWait {
  readonly #world: Pick<World, 'after'>;
  #present: { readonly upTo: Offset; readonly end: () => void } | null = null;

  constructor(world: Pick<World, 'after'>) {
    this.#world = world;
  }

  /** The offset up to which the archive is waited for; null: nobody waits. */
  get upTo(): Offset | null {
    return this.#present?.upTo ?? null;
  }

  /** Resolves after `end`, or after this time. @param limitMs milliseconds */
  run(upTo: Offset, limitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#world.after(limitMs, () => this.end());
      const end = (): void => {
        cancel();
        resolve();
      };
      this.#present = { upTo, end };
    });
  }

  /** Ends the wait. @returns false if nobody waited */
  end(): boolean {
    const present = this.#present;
    this.#present = null;
    present?.end();
    return present !== null;
  }
}
