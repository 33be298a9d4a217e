/** A heap: the least of many values, at the cost of a logarithm. */
export class Heap<T> {
  readonly #values: T[] = [];
  readonly #isBefore: (one: T, other: T) => boolean;

  /** @param isBefore whether the first value comes out before the second one */
  constructor(isBefore: (one: T, other: T) => boolean) {
    this.#isBefore = isBefore;
  }

  /** The value that comes out next; undefined: there is none. */
  get first(): T | undefined {
    return this.#values[0];
  }

  push(value: T): void {
    const values = this.#values;
    let at = values.length;
    values.push(value);
    while (at > 0) {
      const above = (at - 1) >>> 1;
      const other = values[above] as T;
      if (!this.#isBefore(value, other)) break;
      values[at] = other;
      at = above;
    }
    values[at] = value;
  }

  /** Takes the first value out. */
  drop(): void {
    const values = this.#values;
    const last = values.pop();
    if (last === undefined || values.length === 0) return;
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= values.length) break;
      const [left, right] = [values[below] as T, values[below + 1]];
      if (right !== undefined && this.#isBefore(right, left)) below += 1;
      const least = values[below] as T;
      if (!this.#isBefore(least, last)) break;
      values[at] = least;
      at = below;
    }
    values[at] = last;
  }
}
