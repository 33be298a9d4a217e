/** Port: the stream of a node and its journal, as an archive reads them. `src/node/upkeep` implements it. */
import type { History } from '../../replication/history.ts';
import type { Offset, Position } from '../../replication/position.ts';

export interface ArchiveNumbers {
  /** Bytes of the stream after what can surely be restored; while the target has not said what it has, those that it may lack. */
  readonly lagBytes: number;
  /** Whether it has the stream from a base on, up to the last byte. */
  readonly isWhole: boolean;
  /** When it last got something that belongs to a base, or had everything, in milliseconds since 1970; null: not since the start. */
  readonly lastSuccess: number | null;
  readonly failures: number;
  /** Gaps that the archive has got, because the journal could not keep what it did not have. */
  readonly restarts: number;
  /** Objects of the history in the target, as they were counted last, and what the node has put since; null: nobody has counted. */
  readonly objects: number | null;
}

/** A part of the stream of which nothing can be restored, unless another node has archived it. */
export interface ArchiveGap {
  /** The last position before it that can be restored; null: nothing before it can. */
  readonly after: Position | null;
  /** The position of the backup with which the archive goes on; null: the target does not have that yet. */
  readonly to: Position | null;
  /** When the archive began anew, in milliseconds since 1970. */
  readonly at: number;
}

/** How the archive of a node goes. */
export interface ArchiveStatus {
  /** The stream can be restored up to here; null: nothing is known that can. */
  readonly position: Position | null;
  /** When the last byte there was committed at the latest, in milliseconds since 1970; null: unknown. */
  readonly at: number | null;
  /** Whether a backup is in front of the segments; without one, nothing can be restored of them. */
  readonly hasBase: boolean;
  /** The last gap since the start; null: there was none. */
  readonly gap: ArchiveGap | null;
  /**
   * The last failure, and the first one since the last success; null: there was none, or a success came after it. `code` is that of a target
   * or a problem.
   */
  readonly failing: { readonly since: number; readonly at: number; readonly code: string } | null;
}

/** What archives a stream, as the node sees it. */
export interface Archive {
  readonly numbers: ArchiveNumbers;
  readonly status: ArchiveStatus;
  /** The journal keeps everything after this offset. */
  readonly pinned: Offset;
  /**
   * The offset up to which hashes prove that what the target had of the present run ID, when it was asked, are the bytes of the node; 0: none
   * proves anything; null: the target has not answered yet.
   */
  readonly proven: Offset | null;
  /** A commit ends here. */
  committed(end: Offset): void;
  /** A full resync has replaced the history: the bytes before are not there any more. */
  replaced(): void;
  /**
   * Archives what is committed by now, because the node stops. Resolves when that is done, or an attempt fails, or the time is up.
   * @param limitMs milliseconds
   */
  finish(limitMs: number): Promise<void>;
  /** Lets `finish` resolve now. @returns false if it was not waiting */
  stopFinishing(): boolean;
  /** Ends at once. What is not archived stays in the journal. */
  close(): Promise<void>;
}

/** A part of the stream, from the end of the part before. */
export interface CommittedPart {
  /** The offset of its last byte. */
  readonly end: Offset;
  /** All of it was committed at this time or before, in milliseconds since 1970. */
  readonly by: number;
}

export interface ArchivedStream {
  /** The offset of the last byte of the stream. */
  readonly offset: Offset;
  readonly history: History;
  /** @see StateStore.renamedAt */
  readonly renamedAt: Offset | null;
  /** Whether the history stays for now: not before the node has begun, and not on a replica without its master. */
  readonly isSettled: boolean;
  /** The offset since which each history hash follows from the one before. */
  readonly chainFrom: Offset;
  /** The offset before the first byte in the journal; null: it is empty. @throws StorageError */
  readonly journalStart: Offset | null;
  /** When the stream was committed, up to the head, in order; empty: unknown. @throws StorageError */
  readonly committedParts: readonly CommittedPart[];
  /** The history hash at the end of a commit; null: unknown. @throws StorageError */
  hashAt(at: Offset): bigint | null;
  /**
   * Whether this is surely not the stream of which a segment ends at this offset.
   * @param hash the history hash there; null: unknown
   * @throws StorageError
   */
  differsAt(at: Offset, hash: bigint | null): boolean;
  /** The offset before the row of the journal that has the byte after `after`; null: none has it. @throws StorageError */
  rowStart(after: Offset): Offset | null;
  /** The bytes after `after`, where a row ends: whole rows, until they are `enoughBytes` or more, or a damaged row comes. @throws NotInJournal, StorageError */
  read(after: Offset, enoughBytes: number): Buffer;
  /** Gives the archive what happens to the stream. To be called once, in the turn in which the node has recovered. */
  attach(archive: Archive): void;
  /**
   * The archive has bytes of the present run ID that the node does not have, or has other ones. A master goes on under a new one: its files are older than what it
   * has handed out.
   * @param shared the offset up to which both surely have the same bytes
   * @throws StorageError when the disk does not take the new run ID
   */
  outdated(shared: Offset): void;
  /** Drops rows that nobody needs, after a pin has moved. */
  trim(): void;
  /** @returns bytes that are missing on the disk before the journal must give up what it need not keep; 0 or less: none */
  missingRoom(): Promise<number>;
}
