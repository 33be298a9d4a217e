/**
 * Searches a keyspace file for damage that no request would read, or that would look like a missing key.
 *
 * First it checks that each page is in exactly one b-tree, or free. Then it checks that each entry has its checksum,
 * follows the previous one, is found by its key, and is found in the expiry index if it expires. A search misled by an
 * inner page ends where the key is not. By induction the walk skips nothing: a search for an entry ends where the walk
 * saw it, so the next part of the walk begins right behind it.
 *
 * SQLite's `integrity_check` cannot be interrupted, and its one read transaction keeps the WAL from shrinking. This
 * scrub reads a stop flag for each page and entry, and reads the entries in short transactions, each followed by an
 * equally long rest: half a core at most. (Measured with 75 MB and 500,000 entries in the cache: 0.1 s for the pages
 * and 3 s for the entries; `integrity_check` takes 0.13 s, but does not check values.)
 */
import type { Database } from 'better-sqlite3';
import { compareKeys } from '../../keyspace/key.ts';
import type { Scrubbed } from '../../node/ports/keyspace.ts';
import { faultPoint } from '../fault-point.ts';
import { damage, entryDamage, verifyEntry } from '../keyspace/entry-checksum.ts';
import { numberOf } from '../keyspace/keyspace-schema.ts';

/**
 * Approximate length of a read transaction, in milliseconds. While it is open, a checkpoint cannot move later commits.
 */
const SLICE_MS = 20;
/** Offset of the bytes that SQLite locks, in the middle of a page that it never uses. */
const LOCK_BYTE = 2 ** 30;

type Row = [key: string, value: Buffer, version: number, expiresAt: number | null, checksum: number | null];

/**
 * @param db a connection that nothing else uses
 * @param stop a value other than 0 asks the scrub to stop; the caller that sets it also notifies
 * @throws Error with SQLite's code for damage
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

/** @returns false if the check was stopped */
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
 * Counts the pointer-map pages of a file with auto_vacuum: page 2, and then one page after every group of pages that
 * its five-byte rows describe (https://www.sqlite.org/fileformat2.html#pointer_map_or_ptrmap_pages).
 */
function pointerMapPages(total: number, pageSize: number): number {
  return total < 2 ? 0 : Math.floor((total - 2) / (Math.floor(pageSize / 5) + 1)) + 1;
}

/** Walks over all entries, in short transactions. */
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
          throw entryDamage(key, 'is out of order');
        }
        if (find.get(key) === undefined) throw entryDamage(key, 'is not found by its key');
        if (expiresAt !== null && due.get(expiresAt, key) === undefined) {
          throw entryDamage(key, 'is not found by its expiry');
        }
        this.#after = key;
        this.entries += 1;
        if (performance.now() >= until || isStopped()) return false;
      }
      return true;
    });
  }

  /** @returns whether this was the last part */
  next(): boolean {
    return this.#slice();
  }
}
