/** Waits for a storage, which is somebody else's code and may never answer. */

/**
 * @param ms most time that the call may take
 * @param act the call; what it does after its time is up is not waited for
 * @param signal ends the wait too
 * @returns the answer
 * @throws what the call throws or rejects with; Error when time is up; the signal's reason
 */
export async function within<T>(ms: number, act: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const abort = (): void => reject(signal?.reason);
  const timer = setTimeout(() => reject(new Error(`the storage did not answer within ${ms} ms`)), ms);
  signal?.addEventListener('abort', abort);
  if (signal?.aborted) abort();
  try {
    act().then(resolve, reject);
    return await promise;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
  }
}
