/**
 * Whether the times between two backups are in order. A write whose time is later than the backup after it, because the clock was ahead, ends
 * each restore that begins before it, up to that time. A write whose time is earlier than the ones before it may end one too. So only
 * the later backup serves times after such a write. Clocks differ a little.
 */
import { MAX_SKEW_MS, type Mark } from '../commit-times.ts';

/** What matters of the times of some writes, in milliseconds since 1970. */
export interface TimesOf {
  /** Infinity: there are none. */
  readonly least: number;
  /** Negative infinity: there are none. */
  readonly latest: number;
  readonly areInOrder: boolean;
}

export function timesOf(marks: readonly Mark[]): TimesOf {
  let [least, latest, areInOrder] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, true];
  for (const [, time] of marks) {
    areInOrder &&= isAfter(time, latest);
    least = Math.min(least, time);
    latest = Math.max(latest, time);
  }
  return { least, latest, areInOrder };
}

export class TimeOrder {
  #latest: number;
  #isKept = true;

  /** @param from when the first backup was made, in milliseconds since 1970 */
  constructor(from = Number.NEGATIVE_INFINITY) {
    this.#latest = from;
  }

  /** Takes the times of the next writes. */
  follow({ least, latest, areInOrder }: TimesOf): void {
    this.#isKept &&= areInOrder && isAfter(least, this.#latest);
    this.#latest = Math.max(this.#latest, latest);
  }

  /** Whether all times up to a backup are in order. @param at when it was made, in milliseconds since 1970 */
  goesOnTo(at: number): boolean {
    return this.#isKept && isAfter(at, this.#latest);
  }
}

function isAfter(time: number, before: number): boolean {
  return time >= before - MAX_SKEW_MS;
}
