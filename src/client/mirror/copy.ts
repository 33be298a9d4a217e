/**
 * The copy that a mirror keeps, without connection, clock or storage: events in, effects out.
 *
 *   empty ──reset──► syncing ──synced──► live ──reset──► syncing (the old entries are served) ──synced──► …
 *                       │                  ▲
 *                       └──continue──► catching-up ──a position at or past the head──► live
 *
 * `continue` discards an incomplete snapshot. If `continue` states no head, or one that the copy already has, the copy
 * is live at once. The invariant: `entries` are always exactly what the node had at `position`. An event takes
 * effect as a whole before `take` returns, even a batch or a whole snapshot. Entries are frozen: pages get them.
 */

import type { FeedChange, FeedEvent, ResetReason } from '../event.ts';
import { isBefore } from '../position.ts';
import { type Entry, entryOf, sameValue } from './entry.ts';
import type { LoadedCopy } from './storage.ts';

/** The change of one key. `entry` null: the entry was removed; `before` null: it did not exist. */
export interface Change {
  readonly key: string;
  readonly entry: Entry | null;
  readonly before: Entry | null;
}

export type CopyState =
  /** No complete copy has been received yet. */
  | { readonly kind: 'empty' }
  | { readonly kind: 'live' }
  /** The writes since the last connection are arriving. */
  | { readonly kind: 'catching-up'; readonly head: string }
  /** A snapshot is arriving: `received` of `expected` entries, if the number is known. */
  | {
      readonly kind: 'syncing';
      readonly reason: ResetReason;
      readonly received: number;
      readonly expected: number | null;
    };

export type CopyEffect =
  | { readonly kind: 'reset'; readonly reason: ResetReason }
  /** A snapshot has replaced the copy; the changes are the differences. */
  | { readonly kind: 'replaced'; readonly position: string; readonly changes: readonly Change[] }
  /** The copy has changed, or its position alone; at most one change per key. */
  | { readonly kind: 'changed'; readonly position: string; readonly changes: readonly Change[] };

interface Incoming {
  readonly reason: ResetReason;
  readonly keys: number | null;
  readonly entries: Map<string, Entry>;
  /** The state of keys that differ, as far as the snapshot has come: to find 100,000 of them at its end would block a page. */
  readonly before: Map<string, Entry | undefined>;
}

export class Copy {
  #entries: Map<string, Entry>;
  #position: string | null;
  /** Head of the node as `continue` states it; null or undefined: it does not. */
  #head: string | null | undefined = null;
  #incoming: Incoming | null = null;

  /** @param stored a stored copy to continue from */
  constructor(stored: LoadedCopy | null = null) {
    this.#entries = stored?.entries ?? new Map();
    this.#position = stored?.position ?? null;
  }

  get entries(): ReadonlyMap<string, Entry> {
    return this.#entries;
  }

  /** Position of the copy; null: it is empty and has none yet. */
  get position(): string | null {
    return this.#position;
  }

  get state(): CopyState {
    if (this.#incoming) {
      const { entries, keys, reason } = this.#incoming;
      return { kind: 'syncing', reason, received: entries.size, expected: keys };
    }
    if (!this.#position) return { kind: 'empty' };
    const head = this.#head;
    return head && isBefore(this.#position, head) ? { kind: 'catching-up', head } : { kind: 'live' };
  }

  /**
   * Applies an event.
   * @returns the effects; the copy has already changed
   */
  take(event: FeedEvent): readonly CopyEffect[] {
    switch (event.type) {
      case 'reset':
        this.#incoming = { ...event, entries: new Map(), before: new Map() };
        return [{ kind: 'reset', reason: event.reason }];
      case 'entry':
        if (this.#incoming) this.#receive(this.#incoming, entryOf(event));
        return [];
      case 'synced':
        return this.#replace(event.position);
      case 'continue':
        this.#incoming = null;
        this.#head = event.head;
        return this.#moved(event.position);
      case 'bookmark':
        return this.#moved(event.position);
      case 'waiting':
      case 'error':
        return [];
      default: {
        const before = new Map<string, Entry | undefined>();
        for (const change of event.type === 'batch' ? event.changes : [event]) this.#apply(change, before);
        return this.#moved(event.position, before);
      }
    }
  }

  /** Takes the entry of the copy if it is the same, so that what has not changed stays the same object. */
  #receive({ before, entries }: Incoming, entry: Entry): void {
    const old = this.#entries.get(entry.key);
    const isSame =
      old?.version === entry.version &&
      old.expiresAt === entry.expiresAt &&
      sameValue(old.value, entry.value);
    entries.set(entry.key, isSame ? old : entry);
    if (!isSame) before.set(entry.key, old);
  }

  /** @param before the state of keys that may have changed */
  #moved(
    position: string,
    before: Iterable<readonly [string, Entry | undefined]> = [],
    kind: 'changed' | 'replaced' = 'changed',
  ): readonly CopyEffect[] {
    this.#position = position;
    const changes: Change[] = [];
    for (const [key, old] of before) {
      const entry = this.#entries.get(key);
      if (entry !== old) changes.push({ key, entry: entry ?? null, before: old ?? null });
    }
    return [{ kind, position, changes }];
  }

  #replace(position: string): readonly CopyEffect[] {
    if (!this.#incoming) return [];
    const { entries, before } = this.#incoming;
    for (const [key, old] of this.#entries) if (!entries.has(key)) before.set(key, old);
    this.#entries = entries;
    this.#incoming = null;
    this.#head = null;
    return this.#moved(position, before, 'replaced');
  }

  /** @param before receives the state of each changed key before its first change */
  #apply(change: FeedChange, before: Map<string, Entry | undefined>): void {
    if (change.type === 'flush') {
      for (const [key, old] of this.#entries) if (!before.has(key)) before.set(key, old);
      this.#entries.clear();
      return;
    }
    const { key } = change;
    const old = this.#entries.get(key);
    if (!before.has(key)) before.set(key, old);
    if (change.type === 'set') this.#entries.set(key, entryOf(change));
    else if (change.type === 'delete') this.#entries.delete(key);
    else if (old) this.#entries.set(key, Object.freeze({ ...old, expiresAt: change.expiresAt }));
  }
}
