/** The time marks of the journal in psyncd.db. */
import { crc32 } from 'node:zlib';
import type { Database as Connection, Statement } from 'better-sqlite3';
import { MAX_MARKS, type TimeChange, type TimeMark } from '../../../node/ports/state-store.ts';
import { offset } from '../../../replication/position.ts';

type Row = readonly [start: number, from: number, to: number, checksum: number];

/** Statements of the table. The errors are SQLite's; transactions are the caller's. */
export class JournalTimes {
  readonly #db: Connection;
  readonly #put: Statement;
  readonly #drop: Statement;
  readonly #older: Statement;
  readonly #dropOlder: Statement;
  readonly #dropBetween: Statement;

  constructor(db: Connection) {
    this.#db = db;
    this.#put = db.prepare(
      'INSERT OR REPLACE INTO journal_times (start_offset, from_ms, to_ms, checksum) VALUES (?, ?, ?, ?)',
    );
    this.#drop = db.prepare('DELETE FROM journal_times WHERE start_offset = ?');
    this.#older = db.prepare(
      `SELECT start_offset, from_ms, to_ms, checksum FROM journal_times
        WHERE start_offset < (SELECT max(start_offset) FROM journal_times WHERE start_offset <= ?) ORDER BY start_offset`,
    );
    this.#dropOlder = db.prepare('DELETE FROM journal_times WHERE start_offset < ?');
    this.#dropBetween = db.prepare('DELETE FROM journal_times WHERE start_offset > ? AND start_offset <= ?');
  }

  /** The marks, in order. A damaged one says nothing, and those before it would speak of its part of the stream. */
  get marks(): readonly TimeMark[] {
    const rows = this.#db
      .prepare(
        'SELECT start_offset, from_ms, to_ms, checksum FROM journal_times ORDER BY start_offset DESC LIMIT ?',
      )
      .raw()
      .all(MAX_MARKS) as Row[];
    const damaged = rows.findIndex(isDamaged);
    const intact = damaged === -1 ? rows : rows.slice(0, damaged);
    return intact.reverse().map(([start, from, to]) => ({ offset: offset(start), from, to }));
  }

  apply({ put, drop }: TimeChange): void {
    if (drop !== null) this.#drop.run(drop);
    for (const mark of put) {
      this.#put.run(mark.offset, mark.from, mark.to, checksumOf(mark.offset, mark.from, mark.to));
    }
  }

  /** Makes one mark of those of what the journal has no more. @param start the offset before its first byte */
  trim(start: number): void {
    const rows = this.#older.raw().all(start) as Row[];
    const intact = rows.slice(rows.findLastIndex(isDamaged) + 1);
    const [oldest] = intact;
    const last = rows.at(-1);
    if (last === undefined || rows.length === 1) return;
    if (oldest === undefined) {
      this.#dropOlder.run(last[0] + 1);
      return;
    }
    // What one of these steps leaves without the next one is true too.
    const from = Math.min(...intact.map(([, each]) => each));
    const to = Math.max(...intact.map(([, , each]) => each));
    const [offset] = oldest;
    this.#put.run(offset, from, to, checksumOf(offset, from, to));
    this.#dropBetween.run(offset, last[0]);
    if (intact.length < rows.length) this.#dropOlder.run(offset);
  }

  clear(): void {
    this.#db.prepare('DELETE FROM journal_times').run();
  }
}

function isDamaged([start, from, to, checksum]: Row): boolean {
  return checksum !== checksumOf(start, from, to);
}

function checksumOf(start: number, from: number, to: number): number {
  return crc32(`${start} ${from} ${to}`);
}
