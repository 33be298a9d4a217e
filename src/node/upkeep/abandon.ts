/** Calls to something outside that may hang: an abort ends the wait for them, and what still hangs is counted. */

export class Calls {
  #abandoned = 0;

  /** Number of calls whose wait was ended and that have not ended themselves. */
  get abandoned(): number {
    return this.#abandoned;
  }

  /** @throws the signal's reason as soon as it aborts, else what the work throws */
  wait<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
    return new Promise((resolve, reject) => {
      let isOver = false;
      const aborted = (): void => {
        if (isOver) return;
        this.#abandoned += 1;
        const ended = (): void => {
          this.#abandoned -= 1;
        };
        work.then(ended, ended);
        reject(signal.reason);
      };
      const over = (): void => {
        isOver = true;
        signal.removeEventListener('abort', aborted);
      };
      work.then(
        (result) => {
          over();
          resolve(result);
        },
        (error: unknown) => {
          over();
          reject(error);
        },
      );
      signal.addEventListener('abort', aborted, { once: true });
      if (signal.aborted) aborted();
    });
  }
}
