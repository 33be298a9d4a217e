/**
 * Virtual time: one queue for the timers, the network and the disks of all nodes, in the order in which they are due.
 *
 * After each callback everything that it has set off by promises runs to its end before the next one: microtasks are
 * done when a real `setImmediate` comes by. So nothing depends on the real clock, and a run depends on its seed alone.
 */
interface Event {
  readonly at: number;
  /** Of two that are due at the same moment the one that was asked for first comes first. */
  readonly order: number;
  readonly run: () => void;
  cancelled: boolean;
}

export class EventLoop {
  readonly #failed: (error: unknown) => void;
  /** A binary heap; the first one is due first. */
  readonly #heap: Event[] = [];
  #now = 0;
  #order = 0;

  /** @param failed told what a callback has thrown */
  constructor(failed: (error: unknown) => void) {
    this.#failed = failed;
  }

  /** Milliseconds since the run began, with fractions. */
  get now(): number {
    return this.#now;
  }

  /** @returns what cancels it */
  at(delayMs: number, run: () => void): () => void {
    this.#order += 1;
    const event = { at: this.#now + Math.max(0, delayMs), order: this.#order, run, cancelled: false };
    this.#push(event);
    return () => {
      event.cancelled = true;
    };
  }

  /** Lets the next thing happen that is due until then. @returns false if there is none; then it is `until` */
  async step(until: number): Promise<boolean> {
    for (;;) {
      const next = this.#heap[0];
      if (next === undefined || next.at > until) {
        this.#now = Math.max(this.#now, until);
        return false;
      }
      this.#pop();
      if (next.cancelled) continue;
      this.#now = next.at;
      try {
        next.run();
      } catch (error) {
        this.#failed(error);
      }
      await settled();
      return true;
    }
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let index = heap.push(event) - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!isBefore(event, heap[parent] as Event)) break;
      heap[index] = heap[parent] as Event;
      index = parent;
    }
    heap[index] = event;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop() as Event;
    if (heap.length === 0) return;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Event, heap[child] as Event)) child += 1;
      if (!isBefore(heap[child] as Event, last)) break;
      heap[index] = heap[child] as Event;
      index = child;
    }
    heap[index] = last;
  }
}

/** Resolves when no microtask is left. */
export function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function isBefore(one: Event, other: Event): boolean {
  return one.at < other.at || (one.at === other.at && one.order < other.order);
}
