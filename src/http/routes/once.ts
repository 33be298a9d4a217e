/** Makes it at the first call, and from then on returns that; what could not be made is tried again at the next call. */
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
