/** Keys in the order in which they expire: a binary heap. It may hold a key more than once, with several times. */
export interface Expiring {
  readonly key: string;
  /** Milliseconds since 1970. */
  readonly at: number;
}

export class ExpiryQueue {
  readonly #heap: Expiring[] = [];

  get length(): number {
    return this.#heap.length;
  }

  /** The key that expires first, without removing it. */
  get first(): Expiring | undefined {
    return this.#heap[0];
  }

  clear(): void {
    this.#heap.length = 0;
  }

  add(key: string, at: number): void {
    const heap = this.#heap;
    let index = heap.length;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = heap[parent] as Expiring;
      if (above.at <= at) break;
      heap[index] = above;
      index = parent;
    }
    heap[index] = { key, at };
  }

  /** Removes the key that expires first. */
  removeFirst(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (!last || heap.length === 0) return;
    let index = 0;
    for (;;) {
      let child = index * 2 + 1;
      const right = heap[child + 1];
      if (right && right.at < (heap[child] as Expiring).at) child += 1;
      const below = heap[child];
      if (!below || below.at >= last.at) break;
      heap[index] = below;
      index = child;
    }
    heap[index] = last;
  }
}
