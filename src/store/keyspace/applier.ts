/**
 * The applier writes the keyspace file. It runs on a thread of its own, reads what the overlay has collected where the overlay
 * has it, and writes big batches in key order, because a random key costs a page and neighbours share one (measured:
 * 55,000 rows a second at 1,000 a batch, 280,000 at 500,000).
 *
 * Owns: the only writing connection of a keyspace file, its checkpoints, and how long the file is.
 * Invariant: the position in the file is a boundary of the stream, committed together with the entries.
 */
import { statSync } from 'node:fs';
import type { Database, Statement } from 'better-sqlite3';
import { type Changes, recordsOf } from '../../keyspace/overlay/changes.ts';
import type { Position } from '../../replication/position.ts';
import { faultPoint } from '../fault-point.ts';
import { entryChecksum } from './entry-checksum.ts';
import { type FrozenPages, framesOf, WalDamaged } from './frozen-file.ts';
import { sortByKey } from './key-order.ts';
import { MAX_ROW_BYTES, numberOf, readPosition, writePosition } from './keyspace-schema.ts';

/** The WAL is moved into the file when it has this many pages of 4 KiB: 64 MiB. */
const CHECKPOINT_PAGES = 16_384;
/**
 * Pages that deleted entries have left are used again by new ones, but would stay in the file, and travel with each snapshot.
 * So they are given back when they are more than a quarter of it …
 */
const WASTED_SHARE = 1 / 4;
/** … and more than 4 MiB, … */
const WASTED_PAGES = 1_024;
/** … until they are an eighth; … */
const KEPT_SHARE = 1 / 8;
/** … for so long at a time, … */
const SHRINK_SLICE_MS = 20;
/** … of which SQLite moves so many before it is asked again. */
const SHRINK_STEP_PAGES = 64;
/** In key order a page is not needed again when the next one is reached. */
const CACHE_KIB = 4 * 1024;
/** In place of a value that stands in `large_values`. */
const ELSEWHERE = Buffer.alloc(0);
/** What `auto_vacuum` is where pages can be given back. */
const INCREMENTAL = 2;
/** A WAL that somebody's long reading has made longer gets as short as this when it begins anew. */
const WAL_KEPT_BYTES = 256 * 1024 * 1024;

/** How many pages the WAL has, and how many of them are in the file. */
interface WalPages {
  readonly log: number;
  readonly checkpointed: number;
}

/** It cannot happen as long as nobody else writes; then there are no counts. */
class WalBusy extends Error {
  readonly code = 'PSYNCD_WAL_BUSY';
}

export class Applier {
  readonly #db: Database;
  readonly #upsert: Statement;
  readonly #delete: Statement;
  readonly #anyLarge: Statement;
  readonly #putLarge: Statement;
  readonly #dropLarge: Statement;
  #committed: Position;
  /** So many frozen states are read. */
  #frozen = 0;
  /** The file is being made shorter. */
  #shrinks = false;
  /** Of a file that an older psyncd has made it is false: it keeps its length. */
  readonly #mayShrink: boolean;

  /** @param db a writing connection of a keyspace file, as `prepareKeyspace` has left it */
  constructor(db: Database) {
    this.#db = db;
    db.pragma('synchronous = FULL');
    db.pragma(`cache_size = -${CACHE_KIB}`);
    db.pragma('wal_autocheckpoint = 0');
    db.pragma(`journal_size_limit = ${WAL_KEPT_BYTES}`);
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
    this.#mayShrink = numberOf(this.#db, 'auto_vacuum') === INCREMENTAL;
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

  /**
   * What is to be done after a flush, and nobody waits for, if the file may be written: moves the WAL into it when it has
   * become large, and gives back some of what deleted entries have left.
   * @returns whether there is more to give back
   */
  tidy(): boolean {
    if (this.#frozen > 0) return false;
    faultPoint('applier-checkpoint');
    const wasteful = this.#isWasteful();
    // The file becomes shorter in a checkpoint, not before.
    const shortens = this.#shrinks && !wasteful;
    if (this.#walPages('NOOP').log >= CHECKPOINT_PAGES || shortens) {
      const { log, checkpointed } = this.#walPages('PASSIVE');
      // Somebody reads an older state: the WAL would grow.
      if (checkpointed < log) return false;
    }
    this.#shrinks = wasteful;
    if (wasteful) this.#shrink();
    return wasteful;
  }

  /**
   * Leaves alone what is in the file and in the WAL until `thaw`, once for each time; further commits are added to the WAL.
   * @returns where each page is: together they are a snapshot of exactly the position that was committed last
   */
  freeze(): FrozenPages {
    faultPoint('applier-freeze');
    const path = this.#db.name;
    const pageSize = numberOf(this.#db, 'page_size');
    const frames = this.#frames(path, pageSize);
    const { size: fileBytes } = statSync(path);
    this.#frozen += 1;
    return { position: this.#committed, pageSize, fileBytes, frames };
  }

  /**
   * A WAL in which a frame is damaged is moved into the file, if that may be: SQLite still knows in memory which page each frame
   * holds, and what is in the pages has checksums of its own.
   * @throws WalDamaged if that may not be, now
   */
  #frames(path: string, pageSize: number): Uint32Array<ArrayBuffer> {
    const count = (): number => numberOf(this.#db, 'page_count');
    try {
      return framesOf(path, this.#walPages('NOOP'), count(), pageSize);
    } catch (error) {
      if (!(error instanceof WalDamaged) || this.#frozen > 0) throw error;
      return framesOf(path, this.#walPages('PASSIVE'), count(), pageSize);
    }
  }

  thaw(): void {
    this.#frozen -= 1;
  }

  close(): void {
    this.#db.close();
  }

  #isWasteful(): boolean {
    if (!this.#mayShrink) return false;
    const share = this.#shrinks ? KEPT_SHARE : WASTED_SHARE;
    return (
      numberOf(this.#db, 'freelist_count') > Math.max(WASTED_PAGES, share * numberOf(this.#db, 'page_count'))
    );
  }

  #shrink(): void {
    faultPoint('applier-shrink');
    const until = performance.now() + SHRINK_SLICE_MS;
    this.#db.transaction(() => {
      do this.#db.exec(`PRAGMA incremental_vacuum(${SHRINK_STEP_PAGES})`);
      while (performance.now() < until && numberOf(this.#db, 'freelist_count') > WASTED_PAGES);
    })();
  }

  /** @param checkpoint NOOP only counts */
  #walPages(checkpoint: 'NOOP' | 'PASSIVE'): WalPages {
    const [pages] = this.#db.pragma(`wal_checkpoint(${checkpoint})`) as [WalPages & { busy: number }];
    if (pages.busy !== 0) throw new WalBusy('somebody else makes a checkpoint');
    return pages;
  }

  #write(changes: Changes): void {
    if (changes.flushed) this.#db.exec('DELETE FROM entries; DELETE FROM large_values');
    const anyLarge = this.#anyLarge.get() !== undefined;
    const { addresses } = changes;
    const records = recordsOf(changes);
    let scratch: Buffer = ELSEWHERE;
    // A value in several chunks is copied; SQLite has a copy of its own before the next one comes.
    const room = (bytes: number): Buffer => {
      if (bytes > scratch.length) scratch = Buffer.allocUnsafeSlow(bytes);
      return scratch;
    };
    sortByKey(addresses, records);
    for (const address of addresses) {
      const key = records.key(address);
      if (anyLarge) this.#dropLarge.run(key);
      if (records.isDeleted(address)) {
        this.#delete.run(key);
        continue;
      }
      const value = records.view(address, room);
      const version = records.version(address);
      const expiresAt = records.expiresAt(address);
      const checksum = entryChecksum(key, value, version, expiresAt);
      const isLarge = records.keyLength(address) + value.length > MAX_ROW_BYTES;
      if (isLarge) this.#putLarge.run(version, value);
      this.#upsert.run(key, isLarge ? ELSEWHERE : value, version, expiresAt, checksum);
    }
  }
}
