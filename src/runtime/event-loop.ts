/** Node's clock and event loop, for the node and for the code of HTTP that takes turns. */
export const EVENT_LOOP = {
  /** Milliseconds, with fractions, on a clock that nobody can set. */
  monotonic: (): number => performance.now(),
  /** Calls back once, when the event loop has handled what is ready now. */
  soon: (callback: () => void): void => {
    setImmediate(callback);
  },
  /** Calls back once, after so many milliseconds. @returns a function that cancels it */
  after: (delayMs: number, callback: () => void): (() => void) => {
    const timer = setTimeout(callback, delayMs);
    return () => clearTimeout(timer);
  },
};
