/**
 * Whether the wall clock is one by which old backups may be deleted. A wall clock that is wrong by years makes all of them seem old.
 *
 * Owns: when the clock has jumped, and since when this process has seen it run. It is trusted when it has run for a day, as the
 * process has seen or the times of the backups tell.
 */
import type { World } from '../ports/world.ts';
import type { KeepRule } from './backup-keep.ts';
import type { NamedBackup } from './backup-names.ts';

/** Difference between the two clocks that counts as a jump, in milliseconds. */
const JUMP_MS = 10 * 60_000;
/** Time for which the clock must have run, and least time between two backups that may be a jump, in milliseconds. */
const DAY_MS = 24 * 3_600_000;
/** Intervals without a backup that may be a jump. */
const MAX_INTERVALS = 2;
/** Part of the largest age of the rules that a jump may be: a longer one makes too much of what is to be kept seem old. */
const MAX_KEEP_SHARE = 0.5;

export class BackupClock {
  readonly #world: World;
  readonly #maxGapMs: number;
  readonly #maxAheadMs: number;
  /** Difference of the clocks at the last look. */
  #difference: number;
  /** On the monotonic clock: the last jump, else the start. */
  #runsSince: number;
  #hasJumped = false;

  /**
   * @param everyMs interval of the backups, in milliseconds
   * @param keptMs largest age of the rules for what is kept, in milliseconds; null: there are none
   */
  constructor(world: World, everyMs: number, keptMs: number | null = null) {
    this.#world = world;
    this.#maxAheadMs = Math.min(DAY_MS, (keptMs ?? Number.POSITIVE_INFINITY) * MAX_KEEP_SHARE);
    this.#maxGapMs = Math.max(this.#maxAheadMs, everyMs * MAX_INTERVALS);
    this.#difference = world.now() - world.monotonic();
    this.#runsSince = world.monotonic();
  }

  /** Compares the wall clock with the monotonic one. */
  look(): void {
    const difference = this.#world.now() - this.#world.monotonic();
    if (Math.abs(difference - this.#difference) > JUMP_MS) {
      this.#hasJumped = true;
      this.#runsSince = this.#world.monotonic();
    }
    this.#difference = difference;
  }

  /** @param backups those of this node's history */
  isTrusted(backups: readonly NamedBackup[]): boolean {
    this.look();
    const now = this.#world.now();
    const seenMs = this.#world.monotonic() - this.#runsSince;
    const past = backups.filter(({ time }) => time <= now);
    if (isAheadOfTarget(past, this.#maxAheadMs)) return false;
    if (seenMs >= DAY_MS) return true;
    const times = past.map(({ time }) => time);
    return !this.#hasJumped && now - runsSince(times, now - seenMs, this.#maxGapMs) >= DAY_MS;
  }

  /** Whether the newest of them is not older than the longest time between two that is no jump. */
  isRecent(backups: readonly NamedBackup[]): boolean {
    const now = this.#world.now();
    return backups.some(({ time }) => time <= now && now - time <= this.#maxGapMs);
  }
}

/** What the clock of a command is compared with. */
interface Told {
  readonly backups: readonly NamedBackup[];
  /** Longest time between two backups that is no jump, in milliseconds; it is two of the shortest interval of the rules at least. */
  readonly maxGapMs: number;
  readonly rules: readonly KeepRule[];
}

/**
 * Finds what makes a clock doubtful that nobody has seen run, as the backups tell by their names and by when the target got them: they
 * stopped long ago, or went on less than a day ago after a gap, or the target got the last one long before its name says.
 * @param now what the clock says, in milliseconds since 1970
 * @returns since when backups show that the clock runs, in milliseconds since 1970, `now` if they show nothing, as without any; null: nothing is
 *   doubtful
 */
export function doubtfulSince({ backups, maxGapMs, rules }: Told, now: number): number | null {
  const everyMs = rules.reduce((least, rule) => Math.min(least, rule.everyMs), Number.POSITIVE_INFINITY);
  const mostMs = rules.length === 0 ? maxGapMs : Math.max(maxGapMs, everyMs * MAX_INTERVALS);
  const past = backups.filter(({ time }) => time <= now);
  if (backups.length === 0 || isAheadOfTarget(past, maxGapMs)) return now;
  const [named, got] = [past.map(({ time }) => time), backups.map(({ modified }) => modified)];
  const since = Math.max(runsSince(named, now, mostMs), runsSince(got, now, mostMs));
  return now - since >= DAY_MS ? null : since;
}

/**
 * @param times in milliseconds since 1970
 * @returns since when these times follow each other up to `until`; -Infinity: no gap is among them
 */
function runsSince(times: readonly number[], until: number, maxGapMs: number): number {
  let since = until;
  for (const time of times.toSorted((one, other) => other - one)) {
    if (since - time > maxGapMs) return since;
    since = Math.min(since, time);
  }
  return Number.NEGATIVE_INFINITY;
}

/** Whether the target got the last backup earlier, by its own clock, than the name says. @param mostMs by more than this */
function isAheadOfTarget(backups: readonly NamedBackup[], mostMs: number): boolean {
  let last: NamedBackup | null = null;
  for (const backup of backups) if (last === null || backup.modified > last.modified) last = backup;
  return last !== null && last.time - last.modified > mostMs;
}
