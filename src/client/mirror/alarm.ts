/** The wall clock, by which entries expire, and an alarm at its times. Somebody may set it. */

/**
 * Longest time until an alarm rings, in milliseconds: after a sleep of the machine, or when somebody sets its clock, it is at
 * most this late.
 */
const MAX_SLEEP_MS = 10_000;
/** A clock that somebody sets back by more was wrong before, in milliseconds. */
const MAX_STEP_BACK_MS = 60_000;

/**
 * A clock that stands still while the one of the machine, set back a little, is behind: so what has expired stays so.
 * @returns a function that returns the time in milliseconds since 1970
 */
export function expiryClock(): () => number {
  let time = 0;
  return () => {
    const now = Date.now();
    if (now > time || now < time - MAX_STEP_BACK_MS) time = now;
    return time;
  };
}

/** @param at milliseconds since 1970, or infinite. It replaces the earlier time; without one it does not ring any more */
export type Alarm = (at?: number) => void;

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
        Math.max(0, Math.min(at - Date.now(), MAX_SLEEP_MS)),
      );
      // In Node: a mirror that has failed keeps no program alive.
      (timer as unknown as { unref?(): void }).unref?.();
    }
  };
}
