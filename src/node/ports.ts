/**
 * What the node needs of the world. `store`, `ws` and `app.ts` implement these; the node imports none of them.
 */
import type { Changes } from '../keyspace/changes.ts';
import type { Entry, Outline } from '../keyspace/entry.ts';
import type { ListedEntry, Scan } from '../keyspace/page.ts';
import type { CloseCode } from '../replication/close-code.ts';
import type { FullResyncReason } from '../replication/decide.ts';
import type { History } from '../replication/history.ts';
import type { HashedOffset } from '../replication/history-hash.ts';
import type { Offset, Position, RunId } from '../replication/position.ts';
import type { Framing } from './message.ts';
import type { Turns } from './turns.ts';

/** Time, chance and turns of the event loop; a test can bring its own. */
export interface World {
  /**
   * The wall clock, in milliseconds since 1970: for what expires, and for times of day that people read. Anybody may set it, by
   * hours, at any moment.
   */
  now(): number;
  /**
   * Milliseconds, with fractions, on a clock that nobody can set: for everything else, because only its differences mean
   * something.
   */
  monotonic(): number;
  /** A number in [0, 1). */
  random(): number;
  newRunId(): RunId;
  /** Calls back once, after so many milliseconds. @returns what cancels it */
  after(delayMs: number, callback: () => void): () => void;
  /** Calls back once, when what is ready now in the event loop has been handled. */
  soon(callback: () => void): void;
}

export interface Log {
  info(event: string, fields?: Readonly<Record<string, unknown>>): void;
  warn(event: string, fields?: Readonly<Record<string, unknown>>): void;
  error(event: string, fields?: Readonly<Record<string, unknown>>): void;
}

/** A write to disk failed; nothing of it happened. */
export class StorageError extends Error {
  override readonly name = 'StorageError';
  /** The disk (or a quota) has no room; other failures are I/O errors. */
  readonly full: boolean;

  constructor(message: string, full: boolean, cause?: unknown) {
    super(message, { cause });
    this.full = full;
  }
}

/** What the files say does not fit together: they are not what was written. */
export class FilesDamaged extends Error {
  override readonly name = 'FilesDamaged';
}

/** What was asked for is not in the journal. */
export class NotInJournal extends RangeError {
  override readonly name = 'NotInJournal';
}

/** A snapshot has arrived that must not replace anything: it is not what a psyncd writes, or not any more. */
export class DamagedSnapshot extends Error {
  override readonly name = 'DamagedSnapshot';
  /** It is what the sender has read from its disk, byte for byte: the damage did not come on the way. */
  readonly asSent: boolean;

  constructor(message: string, asSent: boolean) {
    super(message);
    this.asSent = asSent;
  }
}

/** A keyspace file that a full resync has replaced, and that holds what may be nowhere else. */
export interface KeptFile {
  /** The n of the `keyspace-<n>.db` that it was. */
  readonly keyspaceNumber: number;
  /** In the data folder. */
  readonly name: string;
  /** What it holds. */
  readonly position: Position;
  readonly reason: FullResyncReason | null;
  /** When it was replaced, in milliseconds since 1970. */
  readonly at: number;
}

export interface StateChange {
  readonly history?: History;
  readonly upstream?: string | null;
  readonly handingOver?: boolean;
  readonly guardedAgainst?: RunId | null;
  /** true: what the node is, is decided although its files are a copy; `isCopy` is false from now on. */
  readonly copySettled?: true;
  readonly toldHash?: HashedOffset;
}

/** Where a row of the journal begins. */
export interface JournalRow {
  /** The offset before its first byte. */
  readonly start: Offset;
  /** The history hash there; null: unknown. */
  readonly hash: bigint | null;
}

/** psyncd.db: who this node is, and the journal. Every call is synchronous; failures are `StorageError`s. */
export interface StateStore {
  readonly history: History;
  /** The node that this one follows; null: it is a master. */
  readonly upstream: string | null;
  /** This node has handed over to its upstream, and does not know yet whether that has become the master. */
  readonly handingOver: boolean;
  /** The history of an empty master that this node does not let replace its data; null: none. */
  readonly guardedAgainst: RunId | null;
  /** Replaced keyspace files that are kept, oldest first. */
  readonly kept: readonly KeptFile[];
  /** The n of the current `keyspace-<n>.db`. */
  readonly keyspaceNumber: number;
  /** Before the first journaled byte, and after the last; null when the journal is empty. */
  readonly journalStart: Offset | null;
  readonly journalEnd: Offset | null;
  /**
   * Whether bytes that were handed out may be missing: the last run did not end as it should, its commits were not
   * all on disk, and the machine may have been restarted since.
   */
  readonly mayLackBytes: boolean;
  /** The last run ended as it should; or there was none. */
  readonly wasClean: boolean;
  /**
   * The files are not the ones that the last run left, but copies: other nodes may have gone on under the same run ID. It
   * stays so, over restarts too, until `save` is told that it is settled: nothing may be written under that run ID.
   */
  readonly isCopy: boolean;

  /**
   * Why nothing is written any more, in one line for people: a file is not in its place any more; null: everything is. It is
   * looked at once a second.
   */
  readonly lost: string | null;

  /** Marks this run as begun, durably; before anything is handed out. */
  begin(): void;
  /**
   * Appends the bytes that end at `end`. When it returns, no crash of the process can lose them.
   * @param hash the history hash before these bytes; null: unknown
   * @param beginsChain that hash does not follow from what was appended before
   */
  append(end: Offset, bytes: Buffer, hash: bigint | null, beginsChain: boolean): void;
  /** The offset before the last bytes that begin a chain of hashes; null: none of those that are held do. */
  readonly chainStart: Offset | null;
  /** The journal row that has the byte after `after`: the offset before it, and the history hash there; null: there is none. */
  rowWith(after: Offset): JournalRow | null;
  /** Where the master has told the history hash last, and which; null: never. It counts as long as nothing was written since. */
  readonly toldHash: HashedOffset | null;
  /** A checkpoint of the journal ends soon if nothing is appended: what can wait should, what cannot is taken all the same. */
  readonly settling: boolean;
  /** Calls back each time when `settling` is over. */
  onSettled(listener: () => void): void;
  /**
   * The bytes after `after`, which must be in the journal: whole rows, until they are `enoughBytes` or more.
   * @throws NotInJournal
   */
  read(after: Offset, enoughBytes: number): Buffer;
  /** The last offset up to `upTo` at which a commit ended; null: the journal does not go back so far. */
  lastCommit(upTo: Offset): Offset | null;
  /** Drops at most `maxRows` rows that end at or before `upTo`. @returns whether there are more of them */
  trim(upTo: Offset, maxRows: number): boolean;
  /** What is given is changed, in one durable transaction. */
  save(change: StateChange): void;
  /**
   * A snapshot takes over: current file, history and an empty journal, in one durable transaction. With another file
   * nothing is guarded against any more.
   * @param keep the replaced file, if it is to stay
   * @param toldHash the offset of the file, and the history hash there; null: unknown
   */
  switchKeyspace(
    keyspaceNumber: number,
    history: History,
    keep: KeptFile | null,
    toldHash: HashedOffset | null,
  ): void;
  /** Forgets the oldest kept files, but for so many. */
  forgetKept(most: number): void;
  /** Releases the data folder. @param clean everything is in the files: the next start has nothing to recover */
  close(clean: boolean): void;
}

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

/** A keyspace file as it was at exactly `position`: a snapshot, while more is written. */
export interface FrozenFile {
  readonly position: Position;
  /** In bytes. */
  readonly length: number;
  /** Fills `into` with the bytes that begin at `at`, both whole pages of the file; there must be so many. */
  read(at: number, into: Buffer): Promise<void>;
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

/** Takes the bytes of a snapshot that arrives. */
export interface SnapshotSink {
  /** The n of its `keyspace-<n>.db`: no other file had it while this process runs. */
  readonly keyspaceNumber: number;
  /** Resolves when the bytes are written, and more may come. */
  write(parts: readonly Buffer[]): Promise<void>;
  /**
   * Makes it durable and checks that it is a keyspace file of exactly this position.
   * @throws DamagedSnapshot that says what is wrong with the file; another Error when it cannot be kept or checked
   * @param crc32 what the CRC-32 of the file must be; null: it is not known
   * @returns whether there is no entry in it
   */
  finish(expected: Position, crc32: number | null): Promise<{ readonly empty: boolean }>;
  /** Deletes what came. */
  discard(): Promise<void>;
}

export interface KeyspaceFiles {
  /** The schema of the files: every file that is open has it. */
  readonly schema: number;
  open(keyspaceNumber: number): Promise<Keyspace>;
  receive(length: number): Promise<SnapshotSink>;
  remove(keyspaceNumber: number): Promise<void>;
  /** Gives a file that is closed the name under which it is kept; it is one file then. */
  keep(file: KeptFile): Promise<void>;
  /** Removes a file that was kept. */
  removeKept(file: KeptFile): Promise<void>;
}

/** A WebSocket of `psync.v1`, whichever side opened it. */
export interface StreamSocket {
  /** Who is at the other end, for people. */
  readonly peer: string;
  /** Bytes that were sent and that the operating system has not taken yet. */
  readonly bufferedBytes: number;
  /** @param sent called when the bytes were taken, or never will be */
  send(bytes: Buffer, sent?: () => void): void;
  /**
   * Sends a ping frame, after everything that was sent before; one without text only if not many are unanswered.
   * @param text at most 125 bytes of ASCII
   */
  ping(text?: string): void;
  /** Stops and restarts reading: back-pressure. */
  pause(): void;
  resume(): void;
  /** Says good-bye; the socket goes away by itself if the peer does not answer. */
  close(code: number, reason: string): void;
  /** Drops the connection now. */
  terminate(): void;
}

/** What a socket tells. After `closed` nothing more comes. */
export interface SocketEvents {
  message(bytes: Buffer): void;
  /** The peer's pong: it is alive. */
  alive(): void;
  /** The peer's ping, after everything that it sent before. */
  pinged(text: string): void;
  closed(code: number, reason: string): void;
}

/** The connection of one follower, whatever its transport. */
export interface FollowerSocket {
  /** Who is at the other end, for people. */
  readonly peer: string;
  readonly framing: Framing;
  /** Bytes that were sent and that the operating system has not taken yet. */
  readonly bufferedBytes: number;
  /** @param frames whole messages, in this socket's framing; they never change */
  send(frames: Buffer): void;
  /** Whether the peer answers `ping`: `alive` is called then. */
  readonly answersPings: boolean;
  ping(): void;
  /** Ends it after everything that was sent. The socket goes away by itself if the peer does not. */
  close(code: CloseCode, reason: string): void;
  /** Drops the connection now. */
  terminate(): void;
}

/** What a follower's socket tells. After `closed` nothing more comes. */
export interface FollowerEvents {
  /** What was buffered has been taken. */
  drained(): void;
  /** The peer has answered a ping; it is alive. */
  alive(): void;
  closed(): void;
}

/** Opens a socket to a master. `opened` comes first; if it cannot be opened, only `closed`. */
export type Dial = (url: string, events: SocketEvents & { opened(): void }) => StreamSocket;

/** What another node says of itself. */
export interface Peer {
  readonly nodeId: string;
  /** Whom it says that it follows, in its own words, which may be anything; null: nobody. */
  readonly upstream: string | null;
}

/** Why another node has told no digest. */
export interface NoDigest {
  /** `UNKNOWN_HISTORY`, `NOT_REACHED`: what it says itself; else it has not answered like a node. */
  readonly code: 'UNKNOWN_HISTORY' | 'NOT_REACHED' | 'BAD_PEER';
  readonly detail: string;
}

/**
 * Asks the node at `ws://HOST:PORT` for its digest when it has reached the position. It never rejects, and takes no longer than
 * `timeoutMs`, or until `gone`.
 */
export type AskDigest = (
  url: string,
  position: Position,
  timeoutMs: number,
  gone: AbortSignal,
) => Promise<Digest | NoDigest>;

/** Asks the node at `ws://HOST:PORT`; null if it does not answer soon, or not like a node. It never rejects. */
export type AskPeer = (url: string) => Promise<Peer | null>;
