/** Port: psyncd.db. `src/store/state` implements it. */
import type { FullResyncReason } from '../../replication/decide.ts';
import type { History } from '../../replication/history.ts';
import type { HashedOffset } from '../../replication/history-hash.ts';
import type { Offset, Position, RunId } from '../../replication/position.ts';

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
  readonly renamedAt?: Offset;
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

/** Largest number of time marks (head/time-marks.ts). */
export const MAX_MARKS = 4_096;

export interface TimeMark {
  /** The part of the stream begins after this offset, where a commit ended. */
  readonly offset: Offset;
  /** Every commit in the part happened at this time or later, in milliseconds since 1970. */
  readonly from: number;
  /** Every commit in the part happened before this time, in milliseconds since 1970. */
  readonly to: number;
}

/** A change of the marks, which is stored in one transaction with the commit. */
export interface TimeChange {
  /** Marks that are new, or replace the one at the same offset. */
  readonly put: readonly TimeMark[];
  /** Offset of the mark that goes; null: none. */
  readonly drop: Offset | null;
}

/** psyncd.db: who this node is, and the journal. Every call is synchronous; failures are `StorageError`s. */
export interface StateStore {
  readonly history: History;
  /** The offset at which this node stood when its history got its present run ID; null: it has begun with it, or got it with a snapshot. */
  readonly renamedAt: Offset | null;
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
   * The end of the last part of the journal that a read has found damaged, or that the disk does not give, or where it can be read
   * again at the latest: nobody continues from before it. null: there is none since the start, or since the last `switchKeyspace`.
   */
  readonly damagedUpTo: Offset | null;
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
   * @param times change of the time marks; null: none
   */
  append(
    end: Offset,
    bytes: Buffer,
    hash: bigint | null,
    beginsChain: boolean,
    times: TimeChange | null,
  ): void;
  /** The time marks of what is in the journal, in order. */
  readonly timeMarks: readonly TimeMark[];
  /**
   * The offset up to which the journal is on the disk: no crash of the machine loses it either.
   * @param head where the journal ends
   */
  durableUpTo(head: Offset): Offset;
  /**
   * Brings what was appended so far to the disk, whatever the fsync policy, without a wait of the event loop.
   * @param done called once it is there, or could not be brought there; at once if nothing is missing
   */
  syncSoon(done: () => void): void;
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
   * The bytes after `after`, which must be in the journal: whole rows, until they are `enoughBytes` or more, or a damaged row comes.
   * @throws NotInJournal; StorageError, also if the row with the first of these bytes is damaged
   */
  read(after: Offset, enoughBytes: number): Buffer;
  /** The last offset up to `upTo` at which a commit ended; null: the journal does not go back so far. */
  lastCommit(upTo: Offset): Offset | null;
  /**
   * Drops the oldest rows that end at or before `upTo`: at most `maxRows`, of at most `maxBytes` together or one larger row.
   * @returns whether there may be more of them
   */
  trim(upTo: Offset, maxRows: number, maxBytes: number): boolean;
  /**
   * Bytes within the file that dropped rows have left: the next rows take them before the file grows. Less what is in the WAL
   * only and makes the file grow at the next checkpoint; negative if that is more.
   */
  readonly reusableBytes: number;
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
