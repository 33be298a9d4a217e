/** Reads one page of the keyspace in key order: the keyspace file's entries, with the overlay's entries over them. */
import { isLive, type Outline } from './entry.ts';
import { compareKeys, keyBehind } from './key.ts';
import type { KeyRange } from './overlay/first-keys.ts';
import type { Overlay } from './overlay/overlay.ts';

export interface PageRequest {
  readonly prefix: string;
  /** Only keys after this one; null: from the first key. */
  readonly after: string | null;
  /** Largest number of entries. */
  readonly limit: number;
  /** Whether to return values, or only their sizes. */
  readonly values: boolean;
  /** Bytes of values at which a page ends, with those of expired entries that it leaves out. */
  readonly maxBytes?: number;
  /**
   * The overlay's first keys with the prefix, in order, at least one more than `limit` if there are so many; absent: the page looks
   * them up. Only for a page without `after`.
   */
  readonly above?: readonly string[];
}

export interface ListedEntry {
  readonly key: string;
  readonly version: number;
  /** Size of the value in bytes. */
  readonly size: number;
  readonly expiresAt: number | null;
  /** The value; null if the request did not ask for values. */
  readonly value: Buffer | null;
}

export interface Page {
  readonly entries: readonly ListedEntry[];
  /** The next page begins after this key; null: this was the last page. A page may have no entries and yet a next one. */
  readonly next: string | null;
}

/** Default of `maxBytes`. */
export const MAX_PAGE_BYTES = 16 * 1024 * 1024;

/**
 * Reads the keyspace file's entries of a range in key order, as far as needed. It reads no entry outside of the range: the time
 * that this takes, and damage that it finds there, would tell of keys that the client may not read. Only keys that are too long for their page of
 * the file are read beside it, when SQLite compares them.
 */
export type Scan = (range: KeyRange, values: boolean) => Iterable<ListedEntry>;

/** Number of the file's entries deleted in the overlay that one page may skip: about ten milliseconds. */
export const MAX_HIDDEN = 2_000;

/** Number of expired entries that one page leaves out: about ten milliseconds. The next page goes on after them. */
export const MAX_EXPIRED = 2_000;

/**
 * @param scan reads the keyspace file, no further than needed
 * @param now milliseconds since 1970; entries that have expired by then are left out
 * @param maxHidden number of the file's entries that may be skipped because the overlay hides them
 * @param maxExpired number of expired entries after which the page ends
 * @returns null: the overlay hides more entries; flush it into the file first
 */
export function readPage(
  request: PageRequest,
  overlay: Overlay,
  scan: Scan,
  now: number,
  maxHidden = MAX_HIDDEN,
  maxExpired = MAX_EXPIRED,
): Page | null {
  const entries: ListedEntry[] = [];
  const { limit, maxBytes = MAX_PAGE_BYTES } = request;
  let bytes = 0;
  let hidden = 0;
  let expired = 0;
  for (const entry of merged(request, overlay, scan, now)) {
    if (entry === HIDDEN) {
      hidden += 1;
      // An entry that the overlay replaced does not count: the page has the new one.
      if (hidden > maxHidden + entries.length) return null;
      continue;
    }
    const { key, value } = entry;
    if (!isLive(entry, now)) {
      expired += 1;
      bytes += value?.length ?? 0;
      if (expired === maxExpired || bytes >= maxBytes) return { entries, next: key };
      continue;
    }
    const full = entries.length === limit || (entries.length > 0 && bytes >= maxBytes);
    if (full) return { entries, next: (entries[entries.length - 1] as ListedEntry).key };
    entries.push(entry);
    bytes += value?.length ?? 0;
  }
  return { entries, next: null };
}

/** Stands for an entry of the file that the overlay hides. */
const HIDDEN = Symbol('hidden');

function* merged(
  request: PageRequest,
  overlay: Overlay,
  scan: Scan,
  now: number,
): Generator<ListedEntry | typeof HIDDEN> {
  const { prefix, after, values } = request;
  const exclusive = after !== null && compareKeys(after, prefix) >= 0;
  const range = { prefix, from: exclusive ? after : prefix, exclusive };
  const behind = keyBehind(prefix);
  if (behind !== null && compareKeys(range.from, behind) >= 0) return;
  // Reads one entry more than the page holds, to know whether there is a next page.
  const above = request.above ?? overlay.firstKeys([range], request.limit + 1, now);
  let next = 0;
  if (!overlay.hidesEverythingBelow) {
    for (const entry of scan(range, values)) {
      for (; next < above.length && compareKeys(above[next] as string, entry.key) < 0; next += 1) {
        yield listed(above[next] as string, overlay, values);
      }
      yield overlay.hides(entry.key) ? HIDDEN : entry;
    }
  }
  for (const key of above.slice(next)) yield listed(key, overlay, values);
}

/** Reads the overlay's entry. Values are copied only if asked for. */
function listed(key: string, overlay: Overlay, values: boolean): ListedEntry {
  const outline = overlay.outline(key) as Outline;
  return { key, ...outline, value: values ? (overlay.get(key)?.value ?? null) : null };
}
