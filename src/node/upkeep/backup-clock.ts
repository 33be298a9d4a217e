/**
 * Whether the wall clock is one by which old backups may be deleted. A wall clock that is wrong by years makes all of them seem old.
 *
 * Owns: when the clock has jumped, and since when this process has seen it run. It is trusted when it has run for a day, as the
 * process has seen or the times of the backups tell.
 */
import type { World } from '../ports/world.ts';
import type { NamedBackup } from './backup-names.ts';

/** Difference between the two clocks that counts as a jump, in milliseconds. */
const JUMP_MS = 10 * 60_000;
/** Time for which the clock must have run, and least time between two backups that may be a jump, in milliseconds. */
const DAY_MS = 24 * 3_600_000;
/** Intervals without a backup that may be a jump. */
const MAX_INTERVALS = 2;

export class BackupClock {
  readonly #world: World;
  readonly #maxGapMs: number;
  /** Difference of the clocks at the last look. */
  #difference: number;
  /** On the monotonic clock: the last jump, else the start. */
  #runsSince: number;
  #hasJumped = false;

  /** @param everyMs interval of the backups, in milliseconds */
  constructor(world: World, everyMs: number) {
    this.#world = world;
    this.#maxGapMs = Math.max(DAY_MS, everyMs * MAX_INTERVALS);
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
    if (isAheadOfTarget(past)) return false;
    if (seenMs >= DAY_MS) return true;
    return !this.#hasJumped && now - this.#runsByBackups(past, now - seenMs) >= DAY_MS;
  }

  /** @returns since when backups tell that the clock runs, in milliseconds since 1970; -Infinity: no gap is among them */
  #runsByBackups(backups: readonly NamedBackup[], seenSince: number): number {
    let since = seenSince;
    for (const time of backups.map((backup) => backup.time).sort((one, other) => other - one)) {
      if (since - time > this.#maxGapMs) return since;
      since = Math.min(since, time);
    }
    return Number.NEGATIVE_INFINITY;
  }
}

/** Whether the target got the last backup at another time, by its own clock, than the name says. */
function isAheadOfTarget(backups: readonly NamedBackup[]): boolean {
  let last: NamedBackup | null = null;
  for (const backup of backups) if (last === null || backup.modified > last.modified) last = backup;
  return last !== null && last.time - last.modified > DAY_MS;
}
