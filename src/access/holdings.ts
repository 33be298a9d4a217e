/** Counts what each client has open: connections or followers. A client that has nothing open takes no memory. */

export class Holdings {
  /** Largest number of them that one client may have open. */
  readonly most: number;
  readonly #counts = new Map<string, number>();

  constructor(most: number) {
    this.most = most;
  }

  /** Number of clients that have something open. */
  get clients(): number {
    return this.#counts.size;
  }

  /** @returns how many the client has open */
  of(name: string): number {
    return this.#counts.get(name) ?? 0;
  }

  /**
   * Counts one more for the client.
   * @returns a function to call when it has ended, which counts once however often it is called; null: the client has as many as
   *   it may have
   */
  take(name: string): (() => void) | null {
    const before = this.of(name);
    if (before >= this.most) return null;
    this.#counts.set(name, before + 1);
    let isOpen = true;
    return () => {
      if (!isOpen) return;
      isOpen = false;
      const left = this.of(name) - 1;
      if (left === 0) this.#counts.delete(name);
      else this.#counts.set(name, left);
    };
  }
}
