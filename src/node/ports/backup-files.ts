/** Port: backups as files, on their way into a target. `src/store/backup` implements it. */
import type { Ancestor } from '../../replication/history.ts';
import type { SnapshotCopy } from './snapshot-files.ts';

/** A whole and durable backup in a temporary file of the node. */
export interface BackupFile {
  readonly path: string;
  /** Length in bytes. */
  readonly length: number;
  /** Number of entries. */
  readonly keys: number;
  /** Removes the file. */
  remove(): Promise<void>;
}

/** What a snapshot does not say of itself. */
export interface BackupOrigin {
  readonly lineage: readonly Ancestor[];
  /** About when the entries were so, in milliseconds since 1970. */
  readonly commitTime: number;
}

export interface BackupFiles {
  /**
   * Makes a backup of a snapshot, on a thread of its own.
   * @param copy that the caller keeps open
   * @param signal ends the work; the call then throws the signal's reason, and nothing is left
   * @throws StorageError when the disk fails
   */
  make(copy: SnapshotCopy, origin: BackupOrigin, signal: AbortSignal): Promise<BackupFile>;
  /** Whether a file that begins with these bytes is a backup. */
  isBackup(header: Uint8Array): boolean;
}
