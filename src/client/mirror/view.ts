/**
 * What a mirror shows of its copy: every entry that has not expired on the clock of this machine. The copy keeps an
 * expired entry until the node deletes it, because the copy is exactly what the node had at its position. So if the clock
 * was ahead for a moment, the entry is there again.
 *
 * The invariant: the changes that `changed` and `expire` return, one after the other, lead from each shown state to the
 * next one. So an entry that expires is one change, and its later deletion by the node is none.
 *
 * A page may change or transfer the bytes of what it is shown. So it gets a second object for each entry with bytes. It can
 * change neither entries nor arrays, which others read too.
 */

import type { Change, Copy } from './copy.ts';
import { type Entry, expiryOf, given } from './entry.ts';
import { type Expiring, ExpiryQueue } from './expiry-queue.ts';

/** Most entries at which one call of `expire` looks, so that it does not take long. */
const MAX_EXPIRED_AT_ONCE = 2_000;
/** Number of outdated times that the queue may hold beside twice the number of entries. */
const MAX_OUTDATED = 1_024;

export class View {
  readonly #copy: Copy;
  /** Keys of the copy that have been reported as expired. */
  readonly #hidden = new Set<string>();
  /** Time from which all of them have expired, in milliseconds since 1970. */
  #hiddenFrom = 0;
  readonly #queue = new ExpiryQueue();
  /** What is shown for each entry with bytes. */
  readonly #shown = new WeakMap<Entry, Entry>();
  #revision: number;
  #snapshot: readonly Entry[] | null = null;
  /** Times from and until which the snapshot is right, in milliseconds since 1970. */
  #snapshotFrom = 0;
  #snapshotUntil = 0;

  /** @param now here and below: milliseconds since 1970 */
  constructor(copy: Copy, now: number) {
    this.#copy = copy;
    this.#revision = copy.entries.size ? 1 : 0;
    for (const entry of copy.entries.values()) this.#enter(entry, now);
  }

  /** Number of changes of what is shown. */
  get revision(): number {
    return this.#revision;
  }

  /** When the next entry may expire; infinite: no entry expires. */
  get nextExpiry(): number {
    return this.#queue[0]?.at ?? Number.POSITIVE_INFINITY;
  }

  get(key: string, now: number): Entry | undefined {
    return this.#show(this.kept(key, now));
  }

  /** @returns the entry that the copy has, whose bytes nobody else may get */
  kept(key: string, now: number): Entry | undefined {
    const entry = this.#copy.entries.get(key);
    return entry && expiryOf(entry) > now ? entry : undefined;
  }

  /** @returns all entries; the same array as before if none of them has changed or expired since */
  snapshot(now: number): readonly Entry[] {
    if (!this.#snapshot || now < this.#snapshotFrom || now >= this.#snapshotUntil) {
      this.#snapshotFrom = 0;
      this.#snapshotUntil = Number.POSITIVE_INFINITY;
      const snapshot: Entry[] = [];
      for (const entry of this.#copy.entries.values()) {
        const at = expiryOf(entry);
        if (at > now) {
          this.#snapshotUntil = Math.min(this.#snapshotUntil, at);
          snapshot.push(this.#show(entry));
        } else this.#snapshotFrom = Math.max(this.#snapshotFrom, at);
      }
      this.#snapshot = Object.freeze(snapshot);
    }
    return this.#snapshot;
  }

  /**
   * Notes changes that the copy has applied.
   * @returns the changes of what is shown
   */
  changed(changes: readonly Change[], now: number): readonly Change[] {
    const shown: Change[] = [];
    for (let { key, entry, before } of changes) {
      if (this.#hidden.delete(key)) before = null;
      if (entry && !this.#enter(entry, now)) entry = null;
      if (before || entry) shown.push(this.#shownChange(key, entry, before));
    }
    if (this.#queue.length > 2 * this.#copy.entries.size + MAX_OUTDATED) {
      this.#queue.length = 0;
      for (const each of this.#copy.entries.values()) this.#enter(each, -1);
    }
    return this.#noted(shown);
  }

  /**
   * Hides the entries that have expired, and shows those that have not, because the clock was set back. If there are many, only some of
   * them, and `nextExpiry` is still in the past.
   * @returns the changes of what is shown
   */
  expire(now: number): readonly Change[] {
    const shown: Change[] = [];
    for (let looks = 0; looks < MAX_EXPIRED_AT_ONCE; looks += 1) {
      if (this.nextExpiry > now) break;
      const [{ key, at }] = this.#queue as unknown as [Expiring];
      this.#queue.removeFirst();
      const before = this.#copy.entries.get(key);
      // The time is outdated if the entry has changed since.
      if (before?.expiresAt !== at || this.#hidden.has(key)) continue;
      this.#enter(before, now);
      shown.push(this.#shownChange(key, null, before));
    }
    if (now < this.#hiddenFrom) {
      this.#hiddenFrom = 0;
      for (const key of this.#hidden) {
        const entry = this.#copy.entries.get(key) as Entry;
        if (!this.#enter(entry, now)) continue;
        this.#hidden.delete(key);
        if (shown.push(this.#shownChange(key, entry, null)) < MAX_EXPIRED_AT_ONCE) continue;
        // The others come with the next call. With this time, at which no entry expires, `nextExpiry` is in the past.
        this.#queue.add(key, now);
        this.#hiddenFrom = Number.POSITIVE_INFINITY;
        break;
      }
    }
    return this.#noted(shown);
  }

  #noted(shown: readonly Change[]): readonly Change[] {
    if (shown[0]) {
      this.#revision += 1;
      this.#snapshot = null;
    }
    return shown;
  }

  /** @returns the change as a page gets it */
  #shownChange(key: string, entry: Entry | null, before: Entry | null): Change {
    return { key, entry: this.#show(entry), before: this.#show(before) };
  }

  /** @returns the entry as a page gets it: the same object each time */
  #show<E extends Entry | null | undefined>(entry: E): E {
    if (!entry || typeof entry.value === 'string') return entry;
    const shown = this.#shown.get(entry) ?? Object.freeze(given(entry));
    this.#shown.set(entry, shown);
    return shown as E;
  }

  /** @returns whether the entry is shown */
  #enter(entry: Entry, now: number): boolean {
    const at = expiryOf(entry);
    if (at <= now) {
      this.#hidden.add(entry.key);
      this.#hiddenFrom = Math.max(this.#hiddenFrom, at);
      // No change tells it, so the snapshot stays.
      this.#snapshotFrom = Math.max(this.#snapshotFrom, at);
    } else if (at < Number.POSITIVE_INFINITY) this.#queue.add(entry.key, at);
    return at > now;
  }
}
