/**
 * Reads of the keyspace at the head of the stream: of single entries, of pages, and of everything. Each read lays the overlay
 * over the keyspace file. `StreamHead` extends this class, so that a lookup of the hot path costs no further call.
 */
import { type Entry, isLive, type Outline, outlineOf } from '../../../keyspace/entry.ts';
import {
  type ListedEntry,
  MAX_HIDDEN,
  type Page,
  type PageRequest,
  readPage,
} from '../../../keyspace/page.ts';
import type { Position } from '../../../replication/position.ts';
import { StorageError } from '../../ports/failures.ts';
import type { Digest, DueCursor, EntryReader, Keyspace, OpenDigest, Scrubbed } from '../../ports/keyspace.ts';
import type { World } from '../../ports/world.ts';
import type { Layers } from './layers.ts';
import type { LookAhead } from './look-ahead.ts';

/** Number of overlay keys above which a page is read after a flush. A look at half a million keys takes 10 to 20 ms. */
const PAGE_OVERLAY_KEYS = 500_000;
/** The same number for a page that is one of many of a request. A look at 10,000 keys takes about 1 ms. */
const SERIES_OVERLAY_KEYS = 10_000;
/** Result of the read in `collect` when the entries pass a limit. */
const TOO_MANY = Symbol('too many');

export abstract class KeyspaceView {
  readonly #world: World;
  readonly #layers: Layers;
  #lastPageMs = 0;
  /** `appliedCount` when a flush that a read has made for speed failed; null: none has failed. */
  #failedAt: number | null = null;

  constructor(world: World, layers: Layers) {
    this.#world = world;
    this.#layers = layers;
  }

  abstract get position(): Position;
  abstract flush(): Promise<void>;

  /** The entry at the head of the stream; null: there is none, or it has expired. */
  get(key: string): Entry | null {
    const entry = this.raw(key);
    return isLive(entry, this.#world.now()) ? entry : null;
  }

  /**
   * The entry even if it has expired: it exists until the stream deletes it.
   * @param ahead an earlier read of the keyspace file that still counts
   */
  raw(key: string, ahead: LookAhead | null = null): Entry | null {
    const above = this.#layers.overlay.get(key);
    if (above !== undefined) return above;
    const known = ahead?.entry(key);
    return known === undefined ? this.#layers.keyspace.get(key) : known;
  }

  /** Like `raw`, with the size of the value instead of the value, which is not read. */
  outline(key: string, ahead: LookAhead | null = null): Outline | null {
    const above = this.#layers.overlay.outline(key);
    if (above !== undefined) return above;
    const known = ahead?.entry(key);
    if (known === undefined) return this.#layers.keyspace.outline(key);
    return known === null ? null : outlineOf(known);
  }

  /** Whether an entry exists that has not expired at `now` (milliseconds since 1970). Does not read the value. */
  has(key: string, now: number): boolean {
    const expiresAt = this.expiry(key);
    return expiresAt !== undefined && (expiresAt === null || expiresAt > now);
  }

  /**
   * Time at which the entry expires or has expired, in milliseconds since 1970; null: never; undefined: there is no entry.
   * @param ahead an earlier read of the keyspace file that still counts
   */
  expiry(key: string, ahead: LookAhead | null = null): number | null | undefined {
    const above = this.#layers.overlay.expiry(key);
    if (above === false) return undefined;
    if (above !== undefined) return above;
    return ahead?.hasExpiry(key) === true ? ahead.expiry(key) : this.#layers.keyspace.expiry(key);
  }

  /**
   * Number of times that the applier changed the keyspace file, or a snapshot replaced it. While the number stays the same,
   * the file's answer for a key that the overlay does not know stays the same.
   */
  get appliedCount(): number {
    return this.#layers.appliedCount;
  }

  /** Whether the overlay knows the key, so that the keyspace file's answer for it does not count. */
  knowsAbove(key: string): boolean {
    return this.#layers.overlay.expiry(key) !== undefined;
  }

  /** The keyspace file's entry for the key; the overlay may have a newer one. @throws StorageError */
  below(key: string): Entry | null {
    return this.#layers.keyspace.get(key);
  }

  /** The expiry of the keyspace file's entry, as `expiry` returns it. @throws StorageError */
  expiryBelow(key: string): number | null | undefined {
    return this.#layers.keyspace.expiry(key);
  }

  /**
   * Reads one page of the state at the head at the moment when the promise resolves. The read looks at all keys of the
   * overlay; if these are very many, it first flushes them into the file, where an index finds the page, unless that fails.
   * @param inSeries the page is one of many for one request, so a flush pays off sooner
   */
  async page(request: PageRequest, inSeries = false): Promise<Page> {
    const keys = inSeries ? SERIES_OVERLAY_KEYS : PAGE_OVERLAY_KEYS;
    if (this.#wantsFlush(keys)) await this.#flushForSpeed();
    return this.#shown((maxHidden) =>
      readPage(request, this.#layers.overlay, this.#layers.keyspace.scan, this.#world.now(), maxHidden),
    );
  }

  /** Whether the overlay has more keys, and a flush may succeed: after a failure reads try none until the applier gets on. */
  #wantsFlush(keys: number): boolean {
    return this.#layers.overlay.size > keys && this.#failedAt !== this.#layers.appliedCount;
  }

  /**
   * Flushes so that a read is faster. It is right without the flush too, and must not fail with it: how many keys the overlay has
   * depends on which keys others have written.
   */
  async #flushForSpeed(): Promise<void> {
    try {
      await this.flush();
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      this.#failedAt = this.#layers.appliedCount;
    }
  }

  /**
   * Runs the read; if the overlay hides too many entries of the file, flushes and runs it again.
   * @param read returns null if the overlay hides more than `maxHidden` entries
   */
  async #shown<T>(read: (maxHidden?: number) => T | null): Promise<T> {
    const timed = (maxHidden?: number): T | null => {
      const startedAt = this.#world.monotonic();
      const found = read(maxHidden);
      this.#lastPageMs = this.#world.monotonic() - startedAt;
      return found;
    };
    const found = timed();
    if (found !== null) return found;
    await this.flush();
    // Few entries can be deleted during the flush, so the second read has no limit.
    return timed(Number.POSITIVE_INFINITY) as T;
  }

  /** Time that the read of the last page took, in milliseconds. It counts for the caller that has just got a page. */
  get lastPageMs(): number {
    return this.#lastPageMs;
  }

  /** Entries of the keyspace file that are due at `now`. Later writes may have deleted or changed some of them. */
  due(now: number, after: DueCursor | null, limit: number): ReturnType<Keyspace['due']> {
    return this.#layers.keyspace.due(now, after, limit);
  }

  /** Number of entries of the keyspace file after the cursor that are due at `now`; counts no further than `most`. */
  countDue(now: number, after: DueCursor | null, most: number): number {
    return this.#layers.keyspace.countDue(now, after, most);
  }

  /**
   * Reads all entries with these prefixes, at an offset that is at least the present one.
   * @param prefixes in key order; no prefix begins with another one
   */
  async readEntries(prefixes: readonly string[]): Promise<EntryReader> {
    await this.#flushForReader();
    return this.#layers.keyspace.readEntries(prefixes);
  }

  /**
   * Reads all entries with these prefixes, expired ones too, in one step and of one position. Flushes first as `page` does.
   * @returns null if there are more than `maxEntries`, or more than about `maxBytes` of values
   */
  async collect(
    prefixes: readonly string[],
    maxEntries: number,
    maxBytes: number,
  ): Promise<{ readonly position: Position; readonly entries: readonly ListedEntry[] } | null> {
    if (this.#wantsFlush(PAGE_OVERLAY_KEYS)) await this.#flushForSpeed();
    const ranges = prefixes.map((prefix) => ({ prefix, from: prefix, exclusive: false }));
    const found = await this.#shown((maxHidden = MAX_HIDDEN) => {
      const entries: ListedEntry[] = [];
      let bytes = 0;
      // One look at the overlay for all prefixes.
      const above = this.#layers.overlay.firstKeys(ranges, maxEntries + 1, Number.NEGATIVE_INFINITY);
      if (above.length > maxEntries) return TOO_MANY;
      let known = 0;
      for (const prefix of prefixes) {
        const limit = Math.max(1, maxEntries - entries.length);
        const first = known;
        while (above[known]?.startsWith(prefix)) known += 1;
        const request = {
          prefix,
          after: null,
          limit,
          values: true,
          maxBytes,
          above: above.slice(first, known),
        };
        const { overlay, keyspace } = this.#layers;
        const mayHide = maxHidden / prefixes.length;
        const page = readPage(request, overlay, keyspace.scan, Number.NEGATIVE_INFINITY, mayHide);
        if (page === null) return null;
        for (const entry of page.entries) bytes += entry.size;
        entries.push(...page.entries);
        if (page.next !== null || entries.length > maxEntries || bytes > maxBytes) return TOO_MANY;
      }
      return { position: this.position, entries };
    });
    return found === TOO_MANY ? null : found;
  }

  /** Approximate size of a snapshot, in bytes. */
  snapshotBytes(): number {
    return this.#layers.keyspace.size();
  }

  /** Computes the digest of the state at an offset that is at least the present one. */
  async digest(): Promise<Digest> {
    await this.#flushForReader();
    return this.#layers.keyspace.digest();
  }

  /** Begins a digest of a later position, from the state at an offset that is at least the present one. */
  async openDigest(): Promise<OpenDigest> {
    await this.#flushForReader();
    return this.#layers.keyspace.openDigest();
  }

  /** @throws StorageError that says why a reader needs room on the disk */
  async #flushForReader(): Promise<void> {
    try {
      await this.flush();
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      const why =
        'the newest writes are in the journal, and have to be in the keyspace file before it is read';
      throw new StorageError(`${why}: ${error.message}`, error.full, error, `${why}: ${error.inLog}`);
    }
  }

  /** Searches the keyspace file for damage. */
  scrub(): Promise<Scrubbed> {
    return this.#layers.keyspace.scrub();
  }
}
