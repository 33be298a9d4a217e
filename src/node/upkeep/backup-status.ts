/** What users see of the backups by a schedule. */
import { formatPosition, type Position } from '../../replication/position.ts';
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
  readonly failing: { readonly at: number; readonly code: string } | null;
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
