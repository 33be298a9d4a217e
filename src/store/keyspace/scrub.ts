/**
 * Looks for damage of a keyspace file that no reader would touch, or that looks like a key that is not there.
 *
 * First the pages: each is in exactly one b-tree, or free. Then the entries: each has its checksum, comes after the one
 * before, and is found by its key, and in the index of what is due, if it expires. A search that goes the wrong way in an
 * inner page ends where the key is not. By induction nothing is passed over: an entry that is found by its key is where
 * the walk saw it, so the next part of the walk begins right behind it.
 *
 * Not SQLite's `integrity_check`: it cannot be interrupted, and holds one read transaction, which keeps the WAL from
 * shrinking. This one is told to stop by a flag that it looks at for each page and entry. The
 * entries are read in short transactions, each followed by as long a rest: half a core at most. (Measured, 75 MB and
 * 500,000 entries in the cache: 0.1 s for the pages, 3 s of work for the entries; `integrity_check` needs 0.13 s, and
 * does not look at values.)
 */
import type { Database } from 'better-sqlite3';
import { compareKeys } from '../../keyspace/key.ts';
import type { Scrubbed } from '../../node/ports.ts';
import { faultPoint } from '../fault-point.ts';
import { damage, verifyEntry } from './entry-checksum.ts';
import { numberOf } from './keyspace-schema.ts';

/** A read transaction lasts so long, about: as long as one is open, a checkpoint cannot move what comes after it. */
const SLICE_MS = 20;
/** In the middle of its page SQLite locks bytes of a file: that page is never used. */
const LOCK_BYTE = 2 ** 30;

type Row = [key: string, value: Buffer, version: number, expiresAt: number | null, checksum: number | null];

/**
 * @param db a connection of its own
 * @param stop not 0 as soon as it is to stop; whoever sets it notifies
 * @throws Error with SQLite's code for damage when there is some
 */
export function scrub(db: Database, stop: Int32Array): Scrubbed {
  const isStopped = (): boolean => Atomics.load(stop, 0) !== 0;
  if (!db.transaction(() => pagesAreWhole(db, isStopped))()) return { finished: false, entries: 0 };
  const slices = new Slices(db, isStopped);
  while (!isStopped()) {
    const startedAt = performance.now();
    faultPoint('keyspace-scrub');
    if (slices.next()) return { finished: true, entries: slices.entries };
    Atomics.wait(stop, 0, 0, performance.now() - startedAt);
  }
  return { finished: false, entries: slices.entries };
}

/** @returns false if it was stopped */
function pagesAreWhole(db: Database, isStopped: () => boolean): boolean {
  const total = numberOf(db, 'page_count');
  const pageSize = numberOf(db, 'page_size');
  const lockPage = Math.floor(LOCK_BYTE / pageSize) + 1;
  let unseen = total - numberOf(db, 'freelist_count') - (lockPage <= total ? 1 : 0);
  if (numberOf(db, 'auto_vacuum') !== 0) unseen -= pointerMapPages(total, pageSize);
  const seen = new Uint8Array(total + 1);
  const pages = db.prepare('SELECT pageno, pagetype FROM dbstat').raw().iterate();
  for (const [page, kind] of pages as IterableIterator<[number, string]>) {
    if (isStopped()) return false;
    if (kind === 'corrupted') throw damage(`page ${page} is no page of a b-tree`);
    if (page < 1 || page > total) throw damage(`there is no page ${page}`);
    if (seen[page] !== 0) throw damage(`page ${page} is used twice`);
    seen[page] = 1;
    unseen -= 1;
  }
  if (unseen !== 0) throw damage(`${unseen} pages are lost`);
  return true;
}

/**
 * Where pages can be given back, some say what the pages behind them are: the second, and each after as many as its five bytes
 * for each have room for (https://www.sqlite.org/fileformat2.html#pointer_map_or_ptrmap_pages).
 */
function pointerMapPages(total: number, pageSize: number): number {
  return total < 2 ? 0 : Math.floor((total - 2) / (Math.floor(pageSize / 5) + 1)) + 1;
}

/** A walk over all entries, a short transaction at a time. */
class Slices {
  entries = 0;
  #after: string | null = null;
  readonly #slice: () => boolean;

  constructor(db: Database, isStopped: () => boolean) {
    const select = 'SELECT key, value, version, expires_at, checksum FROM whole_entries';
    const first = db.prepare(`${select} ORDER BY key`).raw();
    const next = db.prepare(`${select} WHERE key > ? ORDER BY key`).raw();
    const find = db.prepare('SELECT 1 FROM entries WHERE key = ?').pluck();
    const due = db
      .prepare('SELECT 1 FROM entries INDEXED BY entries_by_expiry WHERE expires_at = ? AND key = ?')
      .pluck();
    this.#slice = db.transaction((): boolean => {
      const until = performance.now() + SLICE_MS;
      const after = this.#after;
      const rows = after === null ? first.iterate() : next.iterate(after);
      for (const [key, value, version, expiresAt, checksum] of rows as IterableIterator<Row>) {
        verifyEntry(key, value, version, expiresAt, checksum);
        if (this.#after !== null && compareKeys(this.#after, key) >= 0) {
          throw damage(`the entry ${JSON.stringify(key)} is out of order`);
        }
        if (find.get(key) === undefined)
          throw damage(`the entry ${JSON.stringify(key)} is not found by its key`);
        if (expiresAt !== null && due.get(expiresAt, key) === undefined) {
          throw damage(`the entry ${JSON.stringify(key)} is not found by its expiry`);
        }
        this.#after = key;
        this.entries += 1;
        if (performance.now() >= until || isStopped()) return false;
      }
      return true;
    });
  }

  /** @returns whether that was the last */
  next(): boolean {
    return this.#slice();
  }
}
