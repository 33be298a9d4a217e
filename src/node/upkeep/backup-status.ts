/** What users see of the backups by a schedule, in the status and in the log. */
import { formatPosition, type Position } from '../../replication/position.ts';
import { TargetError } from '../ports/backup-target.ts';
import { inLogOf, StorageError } from '../ports/failures.ts';
import type { Log, World } from '../ports/world.ts';
import { Problem } from '../problem.ts';
import { logUnexpected } from '../unattended.ts';
import type { NamedBackup } from './backup-names.ts';
import type { MadeBackup } from './backup-run.ts';

/** `master`: the node is a replica that does not follow its master now. `role`: it has another role than `--backup-role` names. */
export type BackupObstacle = 'master' | 'role';

/** What became of the backups since the start of the process. */
export interface BackupStatus {
  /** Whether one is being made now. */
  readonly running: boolean;
  /** What the node waits for before it makes another backup; null: for nothing but the next interval. */
  readonly waitsFor: BackupObstacle | null;
  /** When the target was last known to have a backup of the position that the node had, or a young one, in ms since 1970; null: never. */
  readonly lastSuccessAt: number | null;
  /** The last backup that this process has made; null: none. */
  readonly last: {
    readonly name: string;
    readonly position: string;
    readonly at: number;
    readonly bytes: number;
    readonly durationMs: number;
  } | null;
  /**
   * The last backup of this process that the target had not any more, though it had no later one in its place, and when that was
   * noticed, in ms since 1970; null: none.
   */
  readonly gone: { readonly name: string; readonly at: number } | null;
  readonly failures: number;
  /** null: none, or the last try was a success. */
  readonly failing: Failing | null;
}

/** Failures in a row, the last of which is the newest try. */
interface Failing {
  /** The first of them, in milliseconds since 1970. */
  readonly since: number;
  /** The last of them, in milliseconds since 1970. */
  readonly at: number;
  /** Why the last one failed: the code of a target or a problem. */
  readonly code: string;
}

interface FailureParts {
  readonly world: Pick<World, 'now'>;
  readonly log: Log;
  /** Name of the target, for people. */
  readonly target: string;
}

/** Counts the backups that fail, and logs the first failure of each kind and the success after it. */
export class BackupFailures {
  readonly #parts: FailureParts;
  #failing: Failing | null = null;
  #total = 0;
  #inRow = 0;

  constructor(parts: FailureParts) {
    this.#parts = parts;
  }

  /** Failures since the start. */
  get total(): number {
    return this.#total;
  }

  get failing(): Failing | null {
    return this.#failing;
  }

  /** @param againMsAfter gives the milliseconds until the next try for a number of failures in a row @returns these milliseconds */
  failed(error: unknown, againMsAfter: (inRow: number) => number): number {
    const { log, target, world } = this.#parts;
    const code = codeOf(error);
    const isNew = this.#failing?.code !== code;
    this.#total += 1;
    this.#inRow += 1;
    const againMs = againMsAfter(this.#inRow);
    const at = world.now();
    this.#failing = { since: this.#failing?.since ?? at, at, code };
    const fields = { target, code, error: inLogOf(error), againMs };
    if (code === 'UNEXPECTED') logUnexpected(log, 'backups', error);
    else if (isNew) log.error('backup-failed', fields);
    else log.debug('backup-failed', fields);
    return againMs;
  }

  succeeded(): void {
    const { log, target } = this.#parts;
    if (this.#inRow > 0) log.info('backup-works-again', { target, failures: this.#inRow });
    this.#inRow = 0;
    this.#failing = null;
  }
}

/** @returns what kind of failure it was: its message may name files and hosts, and is for the log only */
export function codeOf(error: unknown): string {
  if (error instanceof TargetError || error instanceof Problem) return error.code;
  if (error instanceof StorageError) return error.full ? 'DISK_FULL' : 'STORAGE_FAILED';
  return 'UNEXPECTED';
}

/** The last backup that this process has made, and whether the target still has it. */
export class LastMade {
  #made: MadeBackup | null = null;
  #last: BackupStatus['last'] = null;
  #gone: BackupStatus['gone'] = null;

  get status(): Pick<BackupStatus, 'last' | 'gone'> {
    return { last: this.#last, gone: this.#gone };
  }

  took(made: MadeBackup, durationMs: number): void {
    const { name, position, time, length } = made;
    this.#made = made;
    this.#last = { name, position: formatPosition(position), at: time, bytes: length, durationMs };
  }

  /**
   * Rules delete a backup only while there is a later one. So one that is gone without that was deleted by somebody, or the disk of the
   * target is not mounted, and backups go to another one.
   * @param newest what the target has of the run ID of `head`; null: nothing
   * @param now milliseconds since 1970
   * @returns the name of a backup that has turned out to be gone now; null: there is none
   */
  look(newest: NamedBackup | null, head: Position, now: number): string | null {
    const made = this.#made;
    // Of a history that the node has left nothing was listed.
    if (made === null || made.position.runId !== head.runId || made.position.offset > head.offset)
      return null;
    if (newest !== null && newest.position.offset >= made.position.offset) return null;
    this.#made = null;
    this.#gone = { name: made.name, at: now };
    return made.name;
  }
}
