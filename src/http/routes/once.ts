/**
 * Calls `make` at the first call and returns the same result from then on. After a failure, the next call tries again.
 */
export function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | null = null;
  return () => {
    if (made !== null) return made;
    const making = make();
    making.catch(() => {
      made = null;
    });
    made = making;
    return making;
  };
}
