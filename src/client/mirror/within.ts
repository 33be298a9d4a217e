/** Waits for what may never come. */
import type { Signal } from '../platform.ts';

/**
 * @param ms most time that the call of a storage may take, which is somebody else's code
 * @param act the call; what it does after its time is up is not waited for
 * @param signal ends the wait too
 * @returns the answer
 * @throws what the call throws or rejects with; Error when time is up; the signal's reason
 */
export async function within<T>(ms: number, act: () => Promise<T>, signal?: Signal): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`the storage did not answer within ${ms} ms`)), ms);
  try {
    return await unless(signal, Promise.race([act(), late.promise]));
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Waits for a promise, unless a signal is aborted first.
 * @throws what the promise rejects with; the signal's reason
 */
export async function unless<T>(signal: Signal | undefined, promise: Promise<T>): Promise<T> {
  const { promise: ended, resolve, reject } = Promise.withResolvers<T>();
  const abort = (): void => reject(signal?.reason);
  promise.then(resolve, reject);
  signal?.addEventListener('abort', abort);
  if (signal?.aborted) abort();
  try {
    return await ended;
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}
