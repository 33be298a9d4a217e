/** Rings at a time of the wall clock, and before it now and then, because somebody may set the clock. */

/**
 * Longest time until it rings, in milliseconds: after a sleep of the machine, or when somebody sets its clock, it is at
 * most this late.
 */
const MAX_SLEEP_MS = 60_000;

/** @param at milliseconds since 1970, or infinite. It replaces the earlier time; undefined: it does not ring any more */
export type Alarm = (at: number | undefined) => void;

/** @param ring is called once for each time that is set */
export function alarm(ring: () => void): Alarm {
  let set: number | undefined;
  let timer: ReturnType<typeof setTimeout>;
  return (at) => {
    if (at === set) return;
    clearTimeout(timer);
    set = at;
    if (at !== undefined) {
      timer = setTimeout(
        () => {
          set = undefined;
          ring();
        },
        Math.min(at - Date.now(), MAX_SLEEP_MS),
      );
    }
  };
}
