/** Why a schedule makes no backup now although nothing fails, and the line of the log about a wait that becomes long. */
import { msSince } from '../elapsed.ts';
import type { Log, World } from '../ports/world.ts';
import type { BackupObstacle } from './backup-status.ts';

interface WaitParts {
  readonly world: Pick<World, 'monotonic'>;
  readonly log: Log;
  /** Name of the target, for people. */
  readonly target: string;
  /** The interval of the schedule, in milliseconds. */
  readonly everyMs: number;
}

export class BackupWait {
  readonly #parts: WaitParts;
  /** Moment of the monotonic clock at which the first backup was due that the missing master prevents; null: it prevents none. */
  #since: number | null = null;
  #isTold = false;

  constructor(parts: WaitParts) {
    this.#parts = parts;
  }

  /**
   * Notes that a backup is due and is not made. The log is told once if the master is missing for longer than an interval. It is not
   * told of the role, because that of a standby is as the user wants it.
   */
  goesOn(obstacle: BackupObstacle): void {
    if (obstacle === 'role') {
      this.end();
      return;
    }
    const { everyMs, log, target, world } = this.#parts;
    this.#since ??= world.monotonic();
    const waitedMs = msSince(world, this.#since);
    if (this.#isTold || waitedMs < everyMs) return;
    this.#isTold = true;
    log.warn('backup-waits', { target, waitsFor: obstacle, waitedMs });
  }

  /** Notes that the node looks at the target. */
  end(): void {
    this.#since = null;
    this.#isTold = false;
  }
}
