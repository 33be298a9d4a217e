/** Port: a keyspace file. `src/store/keyspace` implements it. */
import type { Entry, Outline } from '../../keyspace/entry.ts';
import type { Changes } from '../../keyspace/overlay/changes.ts';
import type { ListedEntry, Scan } from '../../keyspace/page.ts';
import type { Position } from '../../replication/position.ts';
import type { Turns } from '../turns.ts';

/** The digest of all entries. */
export interface Sum {
  readonly keys: number;
  /** 32 hex characters. */
  readonly digest: string;
}

export interface Digest extends Sum {
  readonly position: Position;
}

/** A digest of a position that is not known yet when it is begun. */
export interface OpenDigest {
  /** What is read. Until it is closed, the WAL cannot shrink. */
  readonly position: Position;
  readonly closed: Promise<void>;
  /**
   * To be called once.
   * @param parts the bytes of the stream from `position` to the wanted one, which ends a commit
   */
  at(parts: readonly Buffer[]): Promise<Sum>;
  /** Has to be called. */
  close(): void;
}

/** What a look for damage has come to, if there is none. */
export interface Scrubbed {
  /** false: it gave way before it was through. */
  readonly finished: boolean;
  /** That were looked at. */
  readonly entries: number;
}

/** How far a look at what is due has come. */
export interface DueCursor {
  readonly expiresAt: number;
  readonly key: string;
}

/** The entries of one position, read in groups while the file goes on changing. */
export interface EntryReader {
  readonly position: Position;
  /** In key order. */
  readonly groups: AsyncIterable<readonly ListedEntry[]>;
  /** How many entries there are, expired or not. @param turns of the loop that counts them */
  count(turns: Turns): Promise<number>;
  /** How much longer the WAL has become meanwhile, in bytes: it cannot shrink until this is closed. */
  heldBytes(): number;
  /** Has to be called, also when `groups` was read to its end. */
  close(): void;
}

/** A copy of a frozen file that is being made. */
export interface FileCopying {
  /** SHA-256 of the copy, 64 hex characters; null: it was stopped. When it fails or was stopped, a part of it may be there. */
  readonly done: Promise<string | null>;
  copiedBytes(): number;
  stop(): void;
}

/** A keyspace file as it was at exactly `position`: a snapshot, while more is written. */
export interface FrozenFile {
  readonly position: Position;
  /** In bytes. */
  readonly length: number;
  /** Size of the parts in which a sender reads it, in bytes: whole pages. A later sender can go on at the end of each. */
  readonly partBytes: number;
  /** Fills `into` with the bytes that begin at `at`, both whole pages of the file; there must be so many. */
  read(at: number, into: Buffer): Promise<void>;
  /**
   * Begins to copy all of it to a new file, on a thread of its own. The file is released when `done` is settled.
   * @param path of the new file
   */
  copyTo(path: string): FileCopying;
  /** How much longer the WAL has become meanwhile, in bytes. */
  heldBytes(): number;
  /** @returns the CRC-32 of bytes that follow bytes whose CRC-32 is `before`; 0 for none */
  crc32(bytes: Buffer, before: number): number;
  release(): void;
}

/** One keyspace file: read here and now, written by the applier in its own time. */
export interface Keyspace {
  /** Where it stood when it was opened. */
  readonly opened: Position;
  get(key: string): Entry | null;
  /** Like `get`, with the size of the value instead of the value, which is not read: a large one costs no more than a small one. */
  outline(key: string): Outline | null;
  /** When the entry expires, null for never, undefined if there is none: cheaper than reading it. */
  expiry(key: string): number | null | undefined;
  readonly scan: Scan;
  /** The committed entries whose time has come, at most `limit`, in the order in which they are due. */
  due(
    now: number,
    after: DueCursor | null,
    limit: number,
  ): { keys: readonly string[]; cursor: DueCursor | null };
  /** How many committed entries behind the cursor are due at `now`; counts no further than `most`. */
  countDue(now: number, after: DueCursor | null, most: number): number;
  /**
   * Reads the committed state of one position; flush first. Until it is closed the WAL cannot shrink.
   * @param prefixes in key order, and none begins with another one
   */
  readEntries(prefixes: readonly string[]): EntryReader;
  /**
   * Resolves when the file is at `position`, and fsynced.
   * @param changes what comes before that, oldest first, and may be in the file already; it is read until this is settled
   */
  flush(position: Position, changes: readonly Changes[]): Promise<void>;
  /** Freezes the file where it is: at what was flushed last. */
  freeze(): Promise<FrozenFile>;
  /** Reads the committed state; flush first. */
  digest(): Promise<Digest>;
  /** Begins a digest of a position that is to come; flush first. */
  openDigest(): Promise<OpenDigest>;
  /**
   * Looks for damage in what is committed, slowly; is broken off when the file is to be closed.
   * @throws StorageError for damage too, after it was told like any that is touched
   */
  scrub(): Promise<Scrubbed>;
  /** How large the file is, with what its WAL holds, in bytes: what a snapshot of it would be, about. */
  size(): number;
  /** Stops the applier; what was not flushed stays in the journal. */
  close(): Promise<void>;
}
