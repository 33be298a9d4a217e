/**
 * Marks tell whether a WAL and the database file beside it belong together. SQLite cannot tell: a copy of the file from
 * another time, put beside the WAL of a node that was killed, would be read as one state with it.
 *
 * A transaction that draws a mark writes a new random number and the one before it into the file. A WAL begins after all
 * earlier transactions have been moved into the file. So the file without its WAL holds one of these marks: the one
 * before the first mark of the WAL, or, after a checkpoint, one of the WAL's own.
 */
import { randomInt } from 'node:crypto';
import { crc32 } from 'node:zlib';
import type { Database, Statement } from 'better-sqlite3';
import { damage } from './keyspace/entry-checksum.ts';

/** Marks are below this number; SQLite stores them in at most six bytes. */
const MARKS = 2 ** 47;

export interface Mark {
  readonly mark: number;
  readonly previous: number | null;
}

export class WalMarks {
  readonly #read: Statement;
  readonly #write: Statement;

  /** @param db a connection of a file with the table `wal_mark` */
  constructor(db: Database) {
    this.#read = db.prepare('SELECT mark, previous, checksum FROM wal_mark').raw();
    this.#write = db.prepare(
      'INSERT OR REPLACE INTO wal_mark (only, mark, previous, checksum) VALUES (1, ?, ?, ?)',
    );
  }

  /**
   * Reads the last mark; null: there is none yet.
   * @throws Error with SQLite's code for damage if it is not what was written
   */
  read(): Mark | null {
    const row = this.#read.get() as [number, number | null, number] | undefined;
    if (row === undefined) return null;
    const [mark, previous, checksum] = row;
    if (checksum !== markChecksum({ mark, previous })) {
      throw damage(`the table wal_mark holds ${mark}, which is not what was written`);
    }
    return { mark, previous };
  }

  /** Draws a new mark. To be called once in a transaction. */
  draw(): void {
    const next = { mark: randomInt(MARKS), previous: this.read()?.mark ?? null };
    this.#write.run(next.mark, next.previous, markChecksum(next));
  }
}

/** @returns CRC-32 of `<mark>:<previous>` */
export function markChecksum({ mark, previous }: Mark): number {
  return crc32(`${mark}:${previous ?? ''}`);
}
