/** Names of the files in the folder `snapshots`. */
import { join } from 'node:path';
import type { Position } from '../../replication/position.ts';
import { SNAPSHOTS_FOLDER } from '../folder-names.ts';

/** A copy, a part of one that is not complete, or a backup of one, maybe with a journal of SQLite. */
export const COPY_FILE = /^[0-9a-f]{40}-\d{1,16}\.db(?:\.part|\.(?:backup|base)(?:-journal)?)?$/;

/** @param folder the data folder */
export function copyPath(folder: string, { runId, offset }: Position): string {
  return join(folder, SNAPSHOTS_FOLDER, `${runId}-${offset}.db`);
}

/**
 * A backup by the schedule, and the base of an archive: both may be made at one time.
 */
export type BackupKind = 'backup' | 'base';

/** @returns the path of a backup of the copy of this position */
export function backupPath(folder: string, position: Position, kind: BackupKind): string {
  return `${copyPath(folder, position)}.${kind}`;
}
