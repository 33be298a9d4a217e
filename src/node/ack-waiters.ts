/** Writes that wait until so many replicas have them in their journals (Redis's WAIT). */
import type { Offset } from '../replication/position.ts';
import type { World } from './ports.ts';

/** Writes that wait at the same time; more are answered at once, with as many acknowledgements as there are. */
export const MAX_WAITING_WRITES = 10_000;

interface Waiter {
  readonly offset: Offset;
  readonly replicas: number;
  /** @param reached how many replicas have it */
  resolve(reached: number): void;
}

export class AckWaiters {
  readonly #world: World;
  readonly #countAt: (offset: Offset) => number;
  #waiters = new Set<Waiter>();
  #checkDue = false;

  /** @param countAt how many replicas have acknowledged this offset */
  constructor(world: World, countAt: (offset: Offset) => number) {
    this.#world = world;
    this.#countAt = countAt;
  }

  /** @returns how many replicas have acknowledged the offset: `replicas` at least, or as many as had when time was up */
  wait(offset: Offset, replicas: number, timeoutMs: number): Promise<number> {
    const reached = this.#countAt(offset);
    const isFull = this.#waiters.size >= MAX_WAITING_WRITES;
    if (reached >= replicas || timeoutMs <= 0 || isFull) return Promise.resolve(reached);
    return new Promise((resolve) => {
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
    });
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
