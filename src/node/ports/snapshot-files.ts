/** Port: copies of frozen keyspace files, for downloads, and backups of them. `src/store/copies` implements it. */
import type { Ancestor } from '../../replication/history.ts';
import type { Position } from '../../replication/position.ts';
import type { BackupLength } from './backup-target.ts';
import type { FrozenFile } from './keyspace.ts';

/** A finished copy of a frozen keyspace file. Its bytes never change. */
export interface SnapshotCopy {
  readonly position: Position;
  /** In bytes. */
  readonly length: number;
  /** SHA-256 of all its bytes, 64 hex characters. */
  readonly sha256: string;
  /** The history hash at the position; null: unknown. */
  readonly hash: bigint | null;
  /**
   * Reads bytes. They stay readable after `remove`.
   * @returns at least one byte and at most `into.length`, as a part of `into`
   * @throws StorageError when the disk fails, or the copy has fewer bytes
   */
  read(at: number, into: Buffer): Promise<Buffer>;
  /** Removes the file's name. The disk has its room back when `close` was called too. */
  remove(): Promise<void>;
  /** Ends reading. To be called once, when nobody reads. */
  close(): Promise<void>;
}

/** A copy that is being made, on a thread of its own. */
export interface Copying {
  /** Bytes that were copied so far. */
  copiedBytes(): number;
  /** null: it was stopped. @throws StorageError through the promise; then nothing of the copy is left */
  readonly done: Promise<SnapshotCopy | null>;
  stop(): void;
}

export interface SnapshotFiles {
  /** @returns bytes that are free for the node on the disk of the copies @throws StorageError when the disk does not say */
  freeBytes(): Promise<number>;
  /**
   * Copies a frozen file; the caller releases the file when that is done.
   * @param hash the history hash at its position; null: unknown
   */
  copy(file: FrozenFile, hash: bigint | null): Copying;
  /** Removes all copies, also those of earlier processes. */
  clear(): Promise<void>;
}

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
  readonly lengthIn: BackupLength;
}
