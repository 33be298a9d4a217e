/** Writes that wait until so many replicas have them in their journals (Redis's WAIT). */
import type { Offset } from '../../replication/position.ts';
import type { WaitingSettings } from '../head/position-waiters.ts';
import type { World } from '../ports.ts';
import { Problem } from '../problem.ts';

/** The right of one write to wait. Whoever has it counts until `leave`. */
export interface AckPlace {
  /**
   * @returns how many replicas have acknowledged the offset: `replicas` at least, or as many as had when time was up, or when
   *   the place was left
   */
  wait(offset: Offset, replicas: number, timeoutMs: number): Promise<number>;
  /** Nobody waits any more, or will. */
  leave(): void;
}

interface Waiter {
  readonly offset: Offset;
  readonly replicas: number;
  /** @param reached how many replicas have it */
  resolve(reached: number): void;
}

export class AckWaiters {
  readonly #world: World;
  readonly #settings: WaitingSettings;
  readonly #countAt: (offset: Offset) => number;
  #places = 0;
  #waiters = new Set<Waiter>();
  #checkDue = false;

  /** @param countAt how many replicas have acknowledged this offset */
  constructor(world: World, settings: WaitingSettings, countAt: (offset: Offset) => number) {
    this.#world = world;
    this.#settings = settings;
    this.#countAt = countAt;
  }

  /**
   * Takes a place, before the write is made: so a write that may not wait is not made either.
   * @throws Problem TOO_MANY_REQUESTS
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

  /** What has to be acknowledged for nobody to wait any more, or null. */
  get wanted(): Offset | null {
    let wanted: Offset | null = null;
    for (const { offset } of this.#waiters) if (wanted === null || offset > wanted) wanted = offset;
    return wanted;
  }

  /** A replica has acknowledged something: all that comes in one tick is looked at once. */
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

  /** Nothing more is to be waited for: this node is no master any more, or stops. */
  release(): void {
    for (const waiter of this.#waiters) waiter.resolve(this.#countAt(waiter.offset));
  }
}
