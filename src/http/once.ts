/** Makes it at the first call, and from then on returns that. */
export function once<T extends object>(make: () => T): () => T {
  let made: T | null = null;
  return () => {
    made ??= make();
    return made;
  };
}

/**
 * What is made when it is first needed: a start does not wait for it. And if nobody has needed it for a while, one after the
 * other, each in a turn of the event loop of its own: so a first request of some kind seldom waits for it either.
 */
export class Deferred {
  readonly #makes: (() => unknown)[] = [];

  once<T extends object>(make: () => T): () => T {
    const made = once(make);
    this.#makes.push(made);
    return made;
  }

  /** @param delayMs when it begins */
  makeAfter(delayMs: number): void {
    const step = (): void => {
      const make = this.#makes.shift();
      if (make === undefined) return;
      make();
      setImmediate(step).unref();
    };
    setTimeout(step, delayMs).unref();
  }
}
