/**
 * The applier writes the keyspace file, on a thread of its own. It reads the changes directly from the overlay's shared
 * memory and writes them in big batches in key order: a random key costs a whole page, while neighbours share one
 * (measured: 55,000 rows a second in batches of 1,000; 280,000 in batches of 500,000).
 *
 * Owns the only writing connection of a keyspace file, its checkpoints and the length of the file. Invariant: the
 * position in the file is a command boundary of the stream, committed in the same transaction as the entries.
 */
import { statSync } from 'node:fs';
import type { Database, Statement } from 'better-sqlite3';
import { type Changes, recordsOf } from '../../keyspace/overlay/changes.ts';
import type { Position } from '../../replication/position.ts';
import { faultPoint } from '../fault-point.ts';
import { WalMarks } from '../wal-mark.ts';
import { entryChecksum } from './entry-checksum.ts';
import { type FrozenPages, framesOf, WalDamaged } from './frozen-file.ts';
import { sortByKey } from './key-order.ts';
import { MAX_ROW_BYTES, numberOf, readPosition, writePosition } from './keyspace-schema.ts';

/** Length of the WAL, in pages of 4 KiB, at which the applier moves it into the file: 64 MiB. */
const CHECKPOINT_PAGES = 16_384;
/**
 * Share of free pages above which the applier shortens the file. Deleted entries leave free pages, which new entries
 * reuse; until then the pages lengthen the file and each snapshot.
 */
const WASTED_SHARE = 1 / 4;
/** Number of free pages below which the applier never shortens the file: 4 MiB. */
const WASTED_PAGES = 1_024;
/** Share of free pages at which the applier stops shortening the file. */
const KEPT_SHARE = 1 / 8;
/** Longest time that the applier spends on shortening before it looks for other work, in milliseconds. */
const SHRINK_SLICE_MS = 20;
/** Number of pages that SQLite frees per call while the applier shortens the file. */
const SHRINK_STEP_PAGES = 64;
/** Page cache of the applier, in KiB. It can be small: in key order, SQLite needs each page once. */
const CACHE_KIB = 4 * 1024;
/** Placeholder in `entries` for a value that is stored in `large_values`. */
const ELSEWHERE = Buffer.alloc(0);
/** The value of `auto_vacuum` in a file that can be shortened. */
const INCREMENTAL = 2;
/** Length to which SQLite cuts the WAL when it restarts it. Only a long read can have made it longer. */
const WAL_KEPT_BYTES = 256 * 1024 * 1024;

/** Pages in the WAL, and how many of them a checkpoint has moved into the file. */
interface WalPages {
  readonly log: number;
  readonly checkpointed: number;
}

/** SQLite returned no page counts because another connection writes to the file, which psyncd itself never does. */
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
  /** Each transaction draws a mark. */
  readonly #marks: WalMarks;
  #committed: Position;
  /** Number of frozen states that snapshots are reading. */
  #frozen = 0;
  /** Whether the applier is shortening the file. */
  #shrinks = false;
  /** Whether the file can be shortened; false for files that an older psyncd created. */
  readonly #mayShrink: boolean;

  /** @param db a writing connection of a keyspace file, prepared by `prepareKeyspace` */
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
    this.#marks = new WalMarks(db);
    this.#mayShrink = numberOf(this.#db, 'auto_vacuum') === INCREMENTAL;
    this.#committed = readPosition(db);
  }

  /**
   * Commits all changes up to `position`, durably, in one transaction.
   * @param changes batches of changes, oldest first; batches that are already committed are not read
   */
  flush(position: Position, changes: readonly Changes[]): void {
    const { runId, offset } = this.#committed;
    if (position.runId === runId && position.offset === offset) return;
    faultPoint('applier-commit');
    this.#db.transaction(() => {
      // The overlay may already have reused the memory of committed changes.
      for (const each of changes) if (each.end > offset) this.#write(each);
      writePosition(this.#db, position);
      this.#marks.draw();
    })();
    faultPoint('applier-committed');
    this.#committed = position;
  }

  /**
   * Does the upkeep that no request waits for: moves a long WAL into the file, and shortens the file if deleted entries
   * have left many free pages. Does nothing while the file must not change.
   * @returns whether there are more pages to free
   */
  tidy(): boolean {
    if (this.#frozen > 0) return false;
    faultPoint('applier-checkpoint');
    const wasteful = this.#isWasteful();
    // Only a checkpoint shortens the file on disk.
    const shortens = this.#shrinks && !wasteful;
    if (this.#walPages('NOOP').log >= CHECKPOINT_PAGES || shortens) {
      const { log, checkpointed } = this.#walPages('PASSIVE');
      // A reader of an older state holds the checkpoint up; freeing more pages would only lengthen the WAL.
      if (checkpointed < log) return false;
    }
    this.#shrinks = wasteful;
    if (wasteful) this.#shrink();
    return wasteful;
  }

  /**
   * Freezes the file and the existing WAL frames: until the matching `thaw`, commits only append to the WAL. Calls
   * nest.
   * @returns where to find each page; together the pages are a snapshot of the last committed position
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
   * Reads which frame holds each page. If a frame is damaged and no snapshot is being read, moves the WAL into the file
   * first: SQLite still knows in memory which page each frame holds, and the entries in the pages have their own
   * checksums.
   * @throws WalDamaged if a frame is damaged and the WAL cannot be moved now
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
      this.#marks.draw();
      do this.#db.exec(`PRAGMA incremental_vacuum(${SHRINK_STEP_PAGES})`);
      while (performance.now() < until && numberOf(this.#db, 'freelist_count') > WASTED_PAGES);
    })();
  }

  /** @param checkpoint NOOP only counts the pages */
  #walPages(checkpoint: 'NOOP' | 'PASSIVE'): WalPages {
    const [pages] = this.#db.pragma(`wal_checkpoint(${checkpoint})`) as [WalPages & { busy: number }];
    if (pages.busy !== 0) throw new WalBusy('another program is writing to the file');
    return pages;
  }

  #write(changes: Changes): void {
    if (changes.flushed) this.#db.exec('DELETE FROM entries; DELETE FROM large_values');
    const anyLarge = this.#anyLarge.get() !== undefined;
    const { addresses } = changes;
    const records = recordsOf(changes);
    let scratch: Buffer = ELSEWHERE;
    // Copies a value that is stored in several chunks. The buffer is reused: SQLite has copied the value before the
    // next one.
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
