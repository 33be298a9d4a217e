/**
 * One page of the keyspace in key order: what SQLite holds, with the overlay laid over it.
 */
import { isLive, type Outline } from './entry.ts';
import { compareKeys } from './key.ts';
import type { Overlay } from './overlay/overlay.ts';

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

/** So many entries of the file that are deleted above it can be passed over at once: about ten milliseconds' worth. */
export const MAX_HIDDEN = 2_000;

/**
 * @param scan reads the keyspace file; it is read no further than needed
 * @param now milliseconds since 1970: what has expired by then is left out
 * @param maxHidden how many of the file's entries it may pass over because the overlay hides them
 * @returns null: it hides more of them, and had better be written into the file first
 */
export function readPage(
  request: PageRequest,
  overlay: Overlay,
  scan: Scan,
  now: number,
  maxHidden = MAX_HIDDEN,
): Page | null {
  const entries: ListedEntry[] = [];
  const { limit, maxBytes = MAX_PAGE_BYTES } = request;
  let bytes = 0;
  let hidden = 0;
  for (const entry of merged(request, overlay, scan, now)) {
    if (entry === HIDDEN) {
      hidden += 1;
      // What is replaced there is on the page instead.
      if (hidden > maxHidden + entries.length) return null;
      continue;
    }
    if (!isLive(entry, now)) continue;
    const full = entries.length === limit || (entries.length > 0 && bytes >= maxBytes);
    if (full) return { entries, next: (entries[entries.length - 1] as ListedEntry).key };
    entries.push(entry);
    bytes += entry.value?.length ?? 0;
  }
  return { entries, next: null };
}

/** Instead of an entry of the file of which the overlay knows better. */
const HIDDEN = Symbol('hidden');

function* merged(
  request: PageRequest,
  overlay: Overlay,
  scan: Scan,
  now: number,
): Generator<ListedEntry | typeof HIDDEN> {
  const { prefix, after, values } = request;
  const exclusive = after !== null && compareKeys(after, prefix) >= 0;
  const from = exclusive ? after : prefix;
  // The page, and the entry after it.
  const above = overlay.firstKeys({ prefix, from, exclusive }, request.limit + 1, now);
  let next = 0;
  if (!overlay.hidesEverythingBelow) {
    for (const entry of scan(from, exclusive, values)) {
      if (!entry.key.startsWith(prefix)) break;
      for (; next < above.length && compareKeys(above[next] as string, entry.key) < 0; next += 1) {
        yield listed(above[next] as string, overlay, values);
      }
      yield overlay.hides(entry.key) ? HIDDEN : entry;
    }
  }
  for (const key of above.slice(next)) yield listed(key, overlay, values);
}

/** The overlay's entry. Values are copied, so only of those that are asked for. */
function listed(key: string, overlay: Overlay, values: boolean): ListedEntry {
  const outline = overlay.outline(key) as Outline;
  return { key, ...outline, value: values ? (overlay.get(key)?.value ?? null) : null };
}
