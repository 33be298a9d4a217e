/**
 * One page of the keyspace in key order: what SQLite holds, with the overlay laid over it.
 */
import { isLive } from './entry.ts';
import type { KeyRange } from './first-keys.ts';
import { compareKeys } from './key.ts';
import type { Overlay } from './overlay.ts';

export interface PageRequest {
  readonly prefix: string;
  /** Only keys after this one; null: from the first. */
  readonly after: string | null;
  /** How many entries at most. */
  readonly limit: number;
  /** With the values, or only their sizes. */
  readonly values: boolean;
  /** A page with values ends when they reach so many bytes; it has at least one entry all the same. */
  readonly maxBytes?: number;
}

export interface ListedEntry {
  readonly key: string;
  readonly version: number;
  /** Of the value, in bytes. */
  readonly size: number;
  readonly expiresAt: number | null;
  /** Null when the page was asked for without values. */
  readonly value: Buffer | null;
}

export interface Page {
  readonly entries: readonly ListedEntry[];
  /** Ask again with `after` = this key; null: that was the last page. */
  readonly next: string | null;
}

/** `maxBytes` of a page that does not say. */
export const MAX_PAGE_BYTES = 16 * 1024 * 1024;

/** The keyspace file's entries in key order, from the first key ≥ `from` (`exclusive`: > `from`), read as needed. */
export type Scan = (from: string, exclusive: boolean, values: boolean) => Iterable<ListedEntry>;

/**
 * @param scan reads the keyspace file; it is read no further than needed
 * @param now milliseconds since 1970: what has expired by then is left out
 */
export function readPage(request: PageRequest, overlay: Overlay, scan: Scan, now: number): Page {
  const entries: ListedEntry[] = [];
  const { limit, maxBytes = MAX_PAGE_BYTES } = request;
  let bytes = 0;
  for (const entry of merged(request, overlay, scan)) {
    if (!isLive(entry, now)) continue;
    const full = entries.length === limit || (entries.length > 0 && bytes >= maxBytes);
    if (full) return { entries, next: (entries[entries.length - 1] as ListedEntry).key };
    entries.push(entry);
    bytes += entry.value?.length ?? 0;
  }
  return { entries, next: null };
}

function* merged(request: PageRequest, overlay: Overlay, scan: Scan): Generator<ListedEntry> {
  const { prefix, after, values } = request;
  const exclusive = after !== null && compareKeys(after, prefix) >= 0;
  const from = exclusive ? after : prefix;
  // The page, and the entry after it.
  const above = overlayKeys({ prefix, from, exclusive }, overlay, request.limit + 1);
  let key = above.next().value;
  if (!overlay.hidesEverythingBelow) {
    for (const entry of scan(from, exclusive, values)) {
      if (!entry.key.startsWith(prefix)) break;
      for (; key !== undefined && compareKeys(key, entry.key) < 0; key = above.next().value) {
        const candidate = listed(key, overlay, values);
        if (candidate !== null) yield candidate;
      }
      if (key !== entry.key) yield entry;
    }
  }
  for (; key !== undefined; key = above.next().value) {
    const candidate = listed(key, overlay, values);
    if (candidate !== null) yield candidate;
  }
}

/**
 * In key order, as far as they are asked for.
 * @param count how many probably are. There may be many more: of deleted entries none comes on the page
 */
function* overlayKeys(range: KeyRange, overlay: Overlay, count: number): Generator<string, undefined> {
  const keys = overlay.firstKeys(range, count);
  yield* keys;
  const last = keys[keys.length - 1];
  if (last === undefined || keys.length < count) return;
  yield* overlayKeys({ ...range, from: last, exclusive: true }, overlay, 2 * count);
}

/** The overlay's entry; null: it is deleted there. Values are copied, so only of those that are asked for. */
function listed(key: string, overlay: Overlay, values: boolean): ListedEntry | null {
  const outline = overlay.outline(key);
  if (outline === null || outline === undefined) return null;
  return { key, ...outline, value: values ? (overlay.get(key)?.value ?? null) : null };
}
