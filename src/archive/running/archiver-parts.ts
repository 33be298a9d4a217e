/** What an archiver needs. */
import type { ArchivedStream } from '../../node/ports/archived-stream.ts';
import type { BackupLength, BackupTarget } from '../../node/ports/backup-target.ts';
import type { Log, World } from '../../node/ports/world.ts';
import type { Position } from '../../replication/position.ts';

/** When segments end, and when the disk and the target are looked at. */
export const PACE = {
  /** Size at which a segment ends, in bytes of the stream. */
  segmentBytes: 8 * 1024 * 1024,
  /** Longest time that a commit waits for its segment, in milliseconds. */
  ageMs: 10_000,
  /** Time between two looks at the disk while something is not archived, in milliseconds. */
  lookMs: 2_000,
  /** Time between two looks whether the target still has the base and the last segment, in milliseconds. */
  heldMs: 60_000,
} as const;

export interface ArchiverParts {
  readonly world: World;
  readonly log: Log;
  readonly stream: ArchivedStream;
  readonly target: BackupTarget;
  /** First part of the names in the target. */
  readonly cluster: string;
  /** Bytes of the stream that the journal keeps for the archive. */
  readonly limitBytes: number;
  /** Whether segments are compressed. Their lengths then tell of the contents of the stream. */
  readonly compresses: boolean;
  /** Whether the node needs tokens. */
  readonly isGuarded: () => boolean;
  readonly segmentBytes?: number;
  readonly ageMs?: number;
  /** Objects that a restore reads at most. */
  readonly mostObjects?: number;
  readonly backupLength: BackupLength;
  /** Puts a backup into the target. @param from it is of this position or a later one @returns its name */
  readonly makeBase: (from: Position, signal: AbortSignal) => Promise<string>;
}
