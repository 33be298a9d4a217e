/** Port: the stream of a node and its journal, as an archive reads them. `src/node/upkeep` implements it. */
import type { History } from '../../replication/history.ts';
import type { Offset } from '../../replication/position.ts';

export interface ArchivedStream {
  /** The offset of the last byte of the stream. */
  readonly offset: Offset;
  readonly history: History;
  /** The offset since which each history hash follows from the one before. */
  readonly chainFrom: Offset;
  /** The offset before the first byte in the journal; null: it is empty. @throws StorageError */
  readonly journalStart: Offset | null;
  /** The history hash at the end of a commit; null: unknown. @throws StorageError */
  hashAt(at: Offset): bigint | null;
  /** The offset before the row of the journal that has the byte after `after`; null: none has it. @throws StorageError */
  rowStart(after: Offset): Offset | null;
  /** The bytes after `after`, where a row ends: whole rows, until they are `enoughBytes` or more. @throws NotInJournal, StorageError */
  read(after: Offset, enoughBytes: number): Buffer;
  /** Calls the listener after each commit. @param listener gets the end of the commit */
  onCommit(listener: (end: Offset) => void): void;
  /** Calls the listener when a full resync has replaced the history: the bytes before are not there any more. */
  onReplaced(listener: () => void): void;
  /** Keeps all rows of the journal after the offset that `pin` returns, as long as it returns one. */
  pin(pin: () => Offset | null): void;
  /** Drops rows that nobody needs, after a pin has moved. */
  trim(): void;
  /** @returns bytes that are missing on the disk before the journal must give up what it need not keep; 0 or less: none */
  missingRoom(): Promise<number>;
}
