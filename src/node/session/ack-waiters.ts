/** Writes that wait until a number of replicas has them in its journals (Redis's WAIT). */
import type { Offset } from '../../replication/position.ts';
import type { WaitingSettings } from '../head/position-waiters.ts';
import type { World } from '../ports/world.ts';
import { Problem } from '../problem.ts';

/** The right of one write to wait. The place counts towards `maxWaiting` until the write calls `leave`. */
export interface AckPlace {
  /**
   * Waits until `replicas` replicas have acknowledged the offset, the time is up, or the write calls `leave`.
   * @returns the number of replicas that have acknowledged the offset
   */
  wait(offset: Offset, replicas: number, timeoutMs: number): Promise<number>;
  /** Gives the place back, and ends the wait if there is one. Further calls change nothing. */
  leave(): void;
}

interface Waiter {
  readonly offset: Offset;
  readonly replicas: number;
  /** @param reached number of replicas that have acknowledged the offset */
  resolve(reached: number): void;
}

export class AckWaiters {
  readonly #world: World;
  readonly #settings: WaitingSettings;
  readonly #countAt: (offset: Offset) => number;
  #places = 0;
  #waiters = new Set<Waiter>();
  #checkDue = false;

  /** @param countAt counts the replicas that have acknowledged an offset */
  constructor(world: World, settings: WaitingSettings, countAt: (offset: Offset) => number) {
    this.#world = world;
    this.#settings = settings;
    this.#countAt = countAt;
  }

  /**
   * Takes a place. The caller does so before it makes the write, so that it does not make a write that cannot wait.
   * @throws Problem TOO_MANY_REQUESTS when `maxWaiting` writes have a place
   */
  enter(): AckPlace {
    const { maxWaiting } = this.#settings;
    if (this.#places >= maxWaiting) {
      throw new Problem(
        'TOO_MANY_REQUESTS',
        `${maxWaiting} writes wait for acks already; nothing was written`,
      );
    }
    this.#places += 1;
    let left = false;
    let waiter: Waiter | null = null;
    return {
      wait: (offset, replicas, timeoutMs) => {
        const reached = this.#countAt(offset);
        if (left || reached >= replicas || timeoutMs <= 0) return Promise.resolve(reached);
        return new Promise((resolve) => {
          waiter = this.#add(offset, replicas, timeoutMs, resolve);
        });
      },
      leave: () => {
        if (left) return;
        left = true;
        this.#places -= 1;
        waiter?.resolve(this.#countAt(waiter.offset));
      },
    };
  }

  #add(offset: Offset, replicas: number, timeoutMs: number, resolve: (count: number) => void): Waiter {
    const waiter: Waiter = {
      offset,
      replicas,
      resolve: (count) => {
        cancel();
        this.#waiters.delete(waiter);
        resolve(count);
      },
    };
    const cancel = this.#world.after(timeoutMs, () => waiter.resolve(this.#countAt(offset)));
    this.#waiters.add(waiter);
    return waiter;
  }

  /** The largest offset that a write waits for; null: no write waits. */
  get wanted(): Offset | null {
    let wanted: Offset | null = null;
    for (const { offset } of this.#waiters) if (wanted === null || offset > wanted) wanted = offset;
    return wanted;
  }

  /** Notes that a replica has acknowledged something. One look at the end of the tick serves all acknowledgements of the tick. */
  acknowledged(): void {
    if (this.#checkDue || this.#waiters.size === 0) return;
    this.#checkDue = true;
    this.#world.soon(() => {
      this.#checkDue = false;
      const counts = new Map<Offset, number>();
      for (const waiter of this.#waiters) {
        const reached = counts.get(waiter.offset) ?? this.#countAt(waiter.offset);
        counts.set(waiter.offset, reached);
        if (reached >= waiter.replicas) waiter.resolve(reached);
      }
    });
  }

  /** Ends all waits with the counts of this moment: this node is no longer the master, or it stops. */
  release(): void {
    for (const waiter of this.#waiters) waiter.resolve(this.#countAt(waiter.offset));
  }
}
