/**
 * The applier writes the keyspace file. It runs on a thread of its own, reads what the overlay has collected where the overlay
 * has it, and writes big batches in key order, because a random key costs a page and neighbours share one (measured:
 * 55,000 rows a second at 1,000 a batch, 280,000 at 500,000).
 *
 * Owns: the only writing connection of a keyspace file, and its checkpoints.
 * Invariant: the position in the file is a boundary of the stream, committed together with the entries.
 */
import type { Database, Statement } from 'better-sqlite3';
import { type Changes, recordsOf } from '../keyspace/changes.ts';
import type { Position } from '../replication/position.ts';
import { entryChecksum } from './entry-checksum.ts';
import { faultPoint } from './fault-point.ts';
import { sortByKey } from './key-order.ts';
import { readPosition, writePosition } from './keyspace-schema.ts';

/** The WAL is moved into the file when it has this many pages of 4 KiB: 64 MiB. */
const CHECKPOINT_PAGES = 16_384;
/** In key order a page is not needed again when the next one is reached. */
const CACHE_KIB = 4 * 1024;
/**
 * Of a key and its value, in bytes. A row of more than 1,002 would go on in another page, and be read as a whole by every
 * search that comes across it: in a table WITHOUT ROWID the row is what is compared
 * (https://www.sqlite.org/fileformat2.html#index_b_trees). A longer key goes on in one other page, whatever its value.
 */
const MAX_ROW_BYTES = 960;
/** In place of a value that stands in `large_values`. */
const ELSEWHERE = Buffer.alloc(0);
/** For the moment that a single read takes; exports, which take long, are not waited for. */
const BUSY_TIMEOUT_MS = 50;
export const FROZEN_BY_READER = 'PSYNCD_READER';

class FrozenByReader extends Error {
  readonly code = FROZEN_BY_READER;
}

/** The flush before it failed. */
class NotFlushed extends Error {
  readonly code = 'PSYNCD_NOT_FLUSHED';
}

export class Applier {
  readonly #db: Database;
  readonly #upsert: Statement;
  readonly #delete: Statement;
  readonly #anyLarge: Statement;
  readonly #putLarge: Statement;
  readonly #dropLarge: Statement;
  #committed: Position;
  #frozen = false;

  /** @param db a writing connection of a keyspace file with the present schema */
  constructor(db: Database) {
    this.#db = db;
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = FULL');
    db.pragma(`cache_size = -${CACHE_KIB}`);
    db.pragma('wal_autocheckpoint = 0');
    db.pragma(`busy_timeout = ${BUSY_TIMEOUT_MS}`);
    this.#upsert = db.prepare(
      `INSERT INTO entries (key, value, version, expires_at, checksum) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT (key) DO UPDATE
       SET value = excluded.value, version = excluded.version, expires_at = excluded.expires_at,
           checksum = excluded.checksum`,
    );
    this.#delete = db.prepare('DELETE FROM entries WHERE key = ?');
    this.#anyLarge = db.prepare('SELECT 1 FROM large_values LIMIT 1');
    this.#putLarge = db.prepare('INSERT INTO large_values (id, value) VALUES (?, ?)');
    this.#dropLarge = db.prepare(
      `DELETE FROM large_values
       WHERE id = (SELECT version FROM entries WHERE key = ? AND length(value) = 0)`,
    );
    this.#committed = readPosition(db);
  }

  /**
   * Commits everything up to `position`, durably, in one transaction.
   * @param changes what comes before it, oldest first; what is committed already is not read
   */
  flush(position: Position, changes: readonly Changes[]): void {
    const { runId, offset } = this.#committed;
    if (position.runId === runId && position.offset === offset) return;
    faultPoint('applier-commit');
    this.#db.transaction(() => {
      // The overlay may have let go of what is committed, and use its memory anew.
      for (const each of changes) if (each.end > offset) this.#write(each);
      writePosition(this.#db, position);
    })();
    faultPoint('applier-committed');
    this.#committed = position;
  }

  /** Moves the WAL into the file if it has become large, and the file may be written. */
  checkpoint(): void {
    if (this.#frozen) return;
    faultPoint('applier-checkpoint');
    // NOOP only counts what is in the WAL.
    const [wal] = this.#db.pragma('wal_checkpoint(NOOP)') as [{ log: number }];
    if (wal.log >= CHECKPOINT_PAGES) this.#db.pragma('wal_checkpoint(PASSIVE)');
  }

  /**
   * Moves the whole WAL into the database file, and leaves that file alone until `thaw`: it is then a snapshot of
   * exactly this position, which was flushed, while further commits go into the WAL.
   * @throws FrozenByReader when somebody reads an older state: it does not wait for that to end
   */
  freeze(position: Position): void {
    if (position.offset !== this.#committed.offset)
      throw new NotFlushed('the position to freeze was not flushed');
    faultPoint('applier-freeze');
    const [result] = this.#db.pragma('wal_checkpoint(TRUNCATE)') as [{ busy: number }];
    if (result.busy !== 0) throw new FrozenByReader();
    this.#frozen = true;
  }

  thaw(): void {
    this.#frozen = false;
  }

  close(): void {
    this.#db.close();
  }

  #write(changes: Changes): void {
    if (changes.flushed) this.#db.exec('DELETE FROM entries; DELETE FROM large_values');
    const anyLarge = this.#anyLarge.get() !== undefined;
    const { addresses } = changes;
    const records = recordsOf(changes);
    sortByKey(addresses, records);
    for (const address of addresses) {
      const key = records.key(address);
      if (anyLarge) this.#dropLarge.run(key);
      if (records.isDeleted(address)) {
        this.#delete.run(key);
        continue;
      }
      const value = records.view(address);
      const version = records.version(address);
      const expiresAt = records.expiresAt(address);
      const checksum = entryChecksum(key, value, version, expiresAt);
      const isLarge = records.keyLength(address) + value.length > MAX_ROW_BYTES;
      if (isLarge) this.#putLarge.run(version, value);
      this.#upsert.run(key, isLarge ? ELSEWHERE : value, version, expiresAt, checksum);
    }
  }
}
