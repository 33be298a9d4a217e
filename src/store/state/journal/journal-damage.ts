/**
 * Takes note of what cannot be read of the journal: rows that are not what was written, and those that the disk has not given for a
 * minute. Both are lost, and the node goes on without them where the keyspace file has their entries.
 */
import { inLogOf, type StorageError } from '../../../node/ports/failures.ts';
import type { Log } from '../../../node/ports/world.ts';
import { type Offset, offset } from '../../../replication/position.ts';
import { codeOf } from '../../storage-failure.ts';

/** Milliseconds after which a failure of the disk at one place of the journal is no failure of a moment any more. */
export const LASTING_MS = 60_000;
/** Places at which the disk has failed that are remembered; the oldest is forgotten first. */
const MAX_PLACES = 64;
/** Codes for a disk that does not give what is on it. */
const OF_DISK = /^(?:SQLITE_IOERR|EIO$)/;

export class JournalDamage {
  readonly #log: Log;
  readonly #endOfRow: (after: Offset) => Offset | null;
  /** The moment of the first of the failures in a row, on the monotonic clock, by the offset of the read. */
  readonly #failingSince = new Map<Offset, number>();
  #upTo: Offset | null = null;

  /** @param endOfRow tells where a row ends, or else the journal; null: nobody can tell */
  constructor(log: Log, endOfRow: (after: Offset) => Offset | null) {
    this.#log = log;
    this.#endOfRow = endOfRow;
  }

  /** @see StateStore.damagedUpTo */
  get upTo(): Offset | null {
    return this.#upTo;
  }

  /** The bytes after `after` could be read. */
  read(after: Offset): void {
    if (this.#failingSince.size > 0) this.#failingSince.delete(after);
  }

  /**
   * The row with the byte after `after` could not be read. Logs each lost part once.
   * @param end where the journal ends, which counts if SQLite cannot tell where the row does
   */
  failed(after: Offset, error: StorageError, end: number): void {
    if (!error.damaged && !this.#lasts(after, error)) return;
    const upTo = offset(this.#endOfRow(after) ?? Math.max(after, end));
    if (upTo <= (this.#upTo ?? -1)) return;
    this.#upTo = upTo;
    this.#log.error('journal-damaged', { after, upTo, error: inLogOf(error) });
  }

  /** The journal is empty now. */
  clear(): void {
    this.#upTo = null;
    this.#failingSince.clear();
  }

  #lasts(after: Offset, { cause }: StorageError): boolean {
    if (!OF_DISK.test(codeOf(cause))) return false;
    const now = performance.now();
    const since = this.#failingSince.get(after);
    if (since !== undefined) return now - since >= LASTING_MS;
    const [oldest] = this.#failingSince.keys();
    if (oldest !== undefined && this.#failingSince.size >= MAX_PLACES) this.#failingSince.delete(oldest);
    this.#failingSince.set(after, now);
    return false;
  }
}
