/** Port: what an archive needs of a target, for those that delete old backups there. `src/archive/retention` implements it. */
import type { History } from '../../replication/history.ts';
import type { Position } from '../../replication/position.ts';
import type { BackupLength, BackupTarget, TargetCall } from './backup-target.ts';

export interface ArchiveNeedsRequest {
  readonly target: BackupTarget;
  /** Of the target; '': all. */
  readonly folder: string;
  /** Each moment from this one on is to be restorable, in milliseconds since 1970. */
  readonly horizon: number;
  /** The history of the node that asks; null: no node does. */
  readonly own: History | null;
  readonly backupLength: BackupLength;
  readonly call: TargetCall;
}

export interface DeleteSegments {
  /** Whether nothing is deleted. */
  readonly isDry: boolean;
  /** Most segments that are deleted; the others are for the next time. */
  readonly most: number;
  /** Whether one may be deleted whose last byte is at this position. */
  mayDelete(end: Position): boolean;
}

export interface ArchiveNeeds {
  /** Whether the target soon has more objects than can be looked at: then nothing can be deleted any more. */
  readonly isNearlyTooMuch: boolean;
  /**
   * @param names of backups that are to be deleted, all of them
   * @returns those that segments follow and for which no other one that is kept stands in
   * @throws TargetError
   */
  neededOf(names: readonly string[]): Promise<ReadonlySet<string>>;
  /**
   * Deletes segments that nothing after the moment needs.
   * @returns how many were deleted, or would be
   * @throws TargetError; what was deleted by then is deleted
   */
  deleteSegments(request: DeleteSegments): Promise<number>;
}

/** @throws TargetError, also if it cannot be told what is needed; then nothing may be deleted */
export type ArchiveNeedsOf = (request: ArchiveNeedsRequest) => Promise<ArchiveNeeds>;
