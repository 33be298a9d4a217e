/** The journal in psyncd.db: rows of bytes of the stream, each with its checksum and the history hash before it. */
import { crc32 } from 'node:zlib';
import type { Database as Connection, Statement } from 'better-sqlite3';
import { NotInJournal } from '../../../node/ports/failures.ts';
import type { JournalRow } from '../../../node/ports/state-store.ts';
import { type Offset, offset } from '../../../replication/position.ts';
import { damage } from '../../keyspace/entry-checksum.ts';
import { signed, unsigned } from '../stored-hash.ts';

/** What a trim has done. */
interface Trimmed {
  /** The offset of the last byte that was dropped; null: none was. */
  readonly upTo: number | null;
  readonly hasMore: boolean;
}

/** Statements of the journal. The errors are SQLite's; transactions are the caller's. */
export class JournalTable {
  readonly #db: Connection;
  readonly #insert: Statement;
  readonly #select: Statement;
  readonly #oldest: Statement;
  readonly #delete: Statement;
  readonly #firstEnd: Statement;
  readonly #lastEnd: Statement;
  readonly #rowWith: Statement;

  constructor(db: Connection) {
    this.#db = db;
    this.#insert = db.prepare(
      'INSERT INTO journal (end_offset, bytes, checksum, hash_before, begins_chain) VALUES (?, ?, ?, ?, ?)',
    );
    this.#select = db
      .prepare('SELECT end_offset, bytes, checksum FROM journal WHERE end_offset > ? ORDER BY end_offset')
      .raw();
    this.#firstEnd = db.prepare('SELECT min(end_offset) FROM journal WHERE end_offset > ?').pluck();
    this.#lastEnd = db.prepare('SELECT max(end_offset) FROM journal WHERE end_offset <= ?').pluck();
    // Read as big integers, because a hash uses all 64 bits.
    this.#rowWith = db
      .prepare(
        'SELECT end_offset - length(bytes), hash_before FROM journal WHERE end_offset > ? ORDER BY end_offset LIMIT 1',
      )
      .raw()
      .safeIntegers();
    this.#oldest = db
      .prepare(
        'SELECT end_offset, length(bytes) FROM journal WHERE end_offset <= ? ORDER BY end_offset LIMIT ?',
      )
      .raw();
    this.#delete = db.prepare('DELETE FROM journal WHERE end_offset <= ?');
  }

  /** Offset before the first byte; null: the journal is empty. */
  get start(): Offset | null {
    const row = this.#db
      .prepare('SELECT end_offset - length(bytes) FROM journal ORDER BY end_offset LIMIT 1')
      .pluck()
      .get() as number | undefined;
    return row === undefined ? null : offset(row);
  }

  /** Offset of the last byte; null: the journal is empty. */
  get end(): Offset | null {
    const row = this.#db.prepare('SELECT max(end_offset) FROM journal').pluck().get() as number | null;
    return row === null ? null : offset(row);
  }

  /** Offset from which on each row follows the one before; null: unknown. */
  get chainStart(): Offset | null {
    const row = this.#db
      .prepare(
        'SELECT end_offset - length(bytes) FROM journal WHERE begins_chain = 1 ORDER BY end_offset DESC LIMIT 1',
      )
      .pluck()
      .get() as number | undefined;
    return row === undefined ? null : offset(row);
  }

  /** @param hash of the history before these bytes; null: unknown */
  append(end: Offset, bytes: Buffer, hash: bigint | null, beginsChain: boolean): void {
    this.#insert.run(end, bytes, crc32(bytes), hash === null ? null : signed(hash), beginsChain ? 1 : null);
  }

  /** @see StateStore.read */
  read(after: Offset, enoughBytes: number): Buffer {
    const parts: Buffer[] = [];
    let total = 0;
    let at: number = after;
    try {
      for (const row of this.#select.iterate(after)) {
        const [end, bytes, checksum] = row as [number, Buffer, number | null];
        if (checksum !== null && checksum !== crc32(bytes))
          throw damage(`what ends at byte ${end} of the journal is not what was written`);
        const start = end - bytes.length;
        if (start > at) break;
        const part = bytes.subarray(at - start);
        parts.push(part);
        total += part.length;
        at = end;
        if (total >= enoughBytes) break;
      }
    } catch (error) {
      // What comes before is whole. The next read begins here.
      if (total === 0) throw error;
    }
    if (total === 0) throw new NotInJournal(`byte ${after + 1} is not in the journal`);
    return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts, total);
  }

  /** @returns where the row with the byte after `after` ends, or else where the journal ends; null: SQLite cannot tell, or it ends before */
  endOfRow(after: Offset): Offset | null {
    const endings = [() => this.#firstEnd.get(after), () => this.#lastEnd.get(Number.MAX_SAFE_INTEGER)];
    for (const ending of endings) {
      try {
        const end = ending();
        return typeof end === 'number' && end > after ? offset(end) : null;
      } catch {
        // The pages that lead there are damaged too.
      }
    }
    return null;
  }

  /** @see StateStore.rowWith */
  rowWith(after: Offset): JournalRow | null {
    const row = this.#rowWith.get(after) as [bigint, bigint | null] | undefined;
    if (row === undefined || Number(row[0]) > after) return null;
    return { start: offset(Number(row[0])), hash: row[1] === null ? null : unsigned(row[1]) };
  }

  /** @see StateStore.lastCommit */
  lastCommit(upTo: Offset): Offset | null {
    const end = this.#lastEnd.get(upTo) as number | null;
    if (end !== null) return offset(end);
    const start = this.start;
    return start !== null && start <= upTo ? start : null;
  }

  /** @see StateStore.trim */
  trim(upTo: Offset, maxRows: number, maxBytes: number): Trimmed {
    const rows = this.#oldest.all(upTo, maxRows) as [end: number, length: number][];
    let last: number | null = null;
    let bytes = 0;
    let count = 0;
    for (const [end, length] of rows) {
      bytes += length;
      if (count > 0 && bytes > maxBytes) break;
      last = end;
      count += 1;
    }
    if (last === null) return { upTo: null, hasMore: false };
    this.#delete.run(last);
    return { upTo: last, hasMore: count < rows.length || count === maxRows };
  }
}
