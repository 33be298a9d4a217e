/** The time marks of the journal in psyncd.db. */
import { crc32 } from 'node:zlib';
import type { Database as Connection, Statement } from 'better-sqlite3';
import { MAX_MARKS, type TimeChange, type TimeMark } from '../../../node/ports/state-store.ts';
import { offset } from '../../../replication/position.ts';

/** Statements of the table. The errors are SQLite's; transactions are the caller's. */
export class JournalTimes {
  readonly #db: Connection;
  readonly #put: Statement;
  readonly #drop: Statement;
  readonly #trim: Statement;

  constructor(db: Connection) {
    this.#db = db;
    this.#put = db.prepare(
      'INSERT OR REPLACE INTO journal_times (start_offset, from_ms, to_ms, checksum) VALUES (?, ?, ?, ?)',
    );
    this.#drop = db.prepare('DELETE FROM journal_times WHERE start_offset = ?');
    this.#trim = db.prepare(
      'DELETE FROM journal_times WHERE start_offset < (SELECT max(start_offset) FROM journal_times WHERE start_offset <= ?)',
    );
  }

  /** The marks, in order. A damaged one says nothing, and those before it would speak of its part of the stream. */
  get marks(): readonly TimeMark[] {
    const rows = this.#db
      .prepare(
        'SELECT start_offset, from_ms, to_ms, checksum FROM journal_times ORDER BY start_offset DESC LIMIT ?',
      )
      .raw()
      .all(MAX_MARKS) as [start: number, from: number, to: number, checksum: number][];
    const damaged = rows.findIndex(([start, from, to, checksum]) => checksum !== checksumOf(start, from, to));
    const intact = damaged === -1 ? rows : rows.slice(0, damaged);
    return intact.reverse().map(([start, from, to]) => ({ offset: offset(start), from, to }));
  }

  apply({ put, drop }: TimeChange): void {
    if (drop !== null) this.#drop.run(drop);
    for (const mark of put) {
      this.#put.run(mark.offset, mark.from, mark.to, checksumOf(mark.offset, mark.from, mark.to));
    }
  }

  /** Drops the marks of what the journal has no more. @param start the offset before its first byte */
  trim(start: number): void {
    this.#trim.run(start);
  }

  clear(): void {
    this.#db.prepare('DELETE FROM journal_times').run();
  }
}

function checksumOf(start: number, from: number, to: number): number {
  return crc32(`${start} ${from} ${to}`);
}
