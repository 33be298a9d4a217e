/** Waits for what may never come. */
import type { Signal } from './platform.ts';

/** Time from the browser being online again to the next attempt, in milliseconds: it may say so again and again. */
export const ONLINE_MS = 300;

/**
 * Gives somebody else's code its time, such as a storage or a node.
 * @param ms most time, in milliseconds
 * @param what names it in the error
 * @param act gets a signal that aborts with `signal`, and when time is up; what it does after that is not waited for
 * @param signal ends the wait too
 * @returns the answer
 * @throws what `act` rejects with; DOMException `TimeoutError` when time is up; the signal's reason
 */
export async function within<T>(
  ms: number,
  what: string,
  act: (signal: AbortSignal) => Promise<T>,
  signal?: Signal,
): Promise<T> {
  const over = new AbortController();
  // A stream goes on after its answer has begun; the signal of the application ends it too. One of another window throws here.
  const either = AbortSignal.any([over.signal, signal ?? over.signal]);
  const timer = setTimeout(
    () => over.abort(new DOMException(`${what} did not answer within ${ms} ms`, 'TimeoutError')),
    ms,
  );
  try {
    return await unless(either, act(either));
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Waits for a time in milliseconds.
 * @throws the signal's reason
 */
export async function pause(ms: number, signal: Signal | undefined): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  await unless(signal, promise).finally(() => clearTimeout(timer));
}

/**
 * Waits for a time in milliseconds; less if the signal is aborted, or if the browser is online again, when another attempt
 * is due soon.
 */
export function rest(ms: number, signal: Signal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      (globalThis as Partial<EventTarget>).removeEventListener?.('online', soon);
      resolve();
    };
    const soon = (): unknown => setTimeout(done, ONLINE_MS);
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done);
    // Browsers say when the machine is connected again; Node does not.
    (globalThis as Partial<EventTarget>).addEventListener?.('online', soon);
    if (signal.aborted) done();
  });
}

/**
 * Waits for a promise, unless a signal is aborted first.
 * @throws what the promise rejects with; the signal's reason
 */
export function unless<T>(signal: Signal | undefined, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal?.reason);
    signal?.addEventListener('abort', abort);
    if (signal?.aborted) abort();
    promise.finally(() => signal?.removeEventListener('abort', abort)).then(resolve, reject);
  });
}
