/** What users see of the backups by a schedule. */

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
  readonly failures: number;
  /** null: none, or the last try was a success. */
  readonly failing: { readonly at: number; readonly code: string } | null;
}
