/** Keys in the order in which they expire: a binary heap. It may hold a key more than once, with several times. */

export interface Expiring {
  readonly key: string;
  /** Milliseconds since 1970. */
  readonly at: number;
}

/** The key that expires first is at index 0. */
export class ExpiryQueue extends Array<Expiring> {
  add(key: string, at: number): void {
    let index = this.length;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = this[parent] as Expiring;
      if (above.at <= at) break;
      this[index] = above;
      index = parent;
    }
    this[index] = { key, at };
  }

  /** Removes the key that expires first. */
  removeFirst(): void {
    const last = this.pop();
    if (!last || !this[0]) return;
    let index = 0;
    for (;;) {
      let child = index * 2 + 1;
      const right = this[child + 1];
      if (right && right.at < (this[child] as Expiring).at) child += 1;
      const below = this[child];
      if (!below || below.at >= last.at) break;
      this[index] = below;
      index = child;
    }
    this[index] = last;
  }
}
