/**
 * A live copy of a node's entries, or of those under some prefixes, in this program: reads are local and at once.
 *
 * This is the shell: `Copy` knows what an event does, `follow` how to stay connected, `Saver` how to store. It joins
 * them and says what is going on.
 */
import { type Change, Copy, type CopyEffect } from './copy.ts';
import { FollowError } from './ending.ts';
import { type Entry, isExpired, type Value } from './entry.ts';
import type { ResetReason } from './event.ts';
import { type ConnectionState, type FollowOptions, follow } from './follow.ts';
import { checkedOptions, type FollowLimits, type FollowTarget } from './follow-options.ts';
import { Listeners } from './listeners.ts';
import { type Lineage, PositionWaiters } from './position-waiters.ts';
import { Client } from './rest.ts';
import { Saver } from './saver.ts';
import type { MirrorStorage, StoredCopy } from './storage.ts';

/** Those of `follow`, but for what the mirror itself decides: where to begin, and when to end. */
export type MirrorOptions = FollowTarget &
  Omit<FollowLimits, 'queueLength'> &
  Pick<FollowOptions, 'prefix'> & {
    /** Told of every change; the same as `on('change', …)`, but sure to be there before the first one. */
    readonly onChange?: ((event: MirrorEvents['change']) => void) | undefined;
    /** Keeps the copy, so that the next mirror with the same storage and prefixes goes on from it. */
    readonly storage?: MirrorStorage | undefined;
  };

export type MirrorState =
  /** The storage is read. */
  | { readonly kind: 'loading' }
  | { readonly kind: 'connecting'; readonly url: string }
  /** A snapshot comes; what was there before is served until it is complete. */
  | {
      readonly kind: 'syncing';
      readonly url: string;
      readonly reason: ResetReason;
      readonly received: number;
      /** null: not known. */
      readonly expected: number | null;
    }
  /** What was written while there was no connection is coming, up to `head`; what is there already is served. */
  | { readonly kind: 'catching-up'; readonly url: string; readonly head: string }
  /** It has everything, and changes are applied as they come. */
  | { readonly kind: 'live'; readonly url: string }
  /** There is no connection; the next attempt is in `delayMs`. */
  | { readonly kind: 'waiting'; readonly url: string; readonly detail: string; readonly delayMs: number }
  /** It cannot go on; what it has stays readable. */
  | { readonly kind: 'failed'; readonly error: Error }
  | { readonly kind: 'closed' };

export interface MirrorEvents {
  /** A snapshot is complete; its `change` comes right after. */
  readonly synced: { readonly position: string };
  /** Entries have changed, all of them already, at most one change a key. After a snapshot: what is different now. */
  readonly change: { readonly position: string; readonly changes: readonly Change[] };
  /** The node cannot go on from where this mirror is, or it is new: a snapshot follows. */
  readonly reset: { readonly reason: ResetReason };
  /** The copy is of a later position now, changed or not. */
  readonly position: { readonly position: string };
  readonly state: MirrorState;
  /** Storing or loading has failed; the mirror goes on without, and tries again unless it is a StorageConflict. */
  readonly 'storage-error': { readonly error: unknown };
}

/** The close code that says that the request is wrong. */
const BAD_REQUEST = 4400;

export class MirrorClosedError extends Error {
  override readonly name = 'MirrorClosedError';

  constructor() {
    super('the mirror is closed');
  }
}

/** @throws TypeError when there is no URL, or one that is none, or a limit that is no positive number */
export function mirror(options: MirrorOptions): Mirror {
  return new Mirror(options);
}

export class Mirror {
  readonly #options: MirrorOptions;
  readonly #abort = new AbortController();
  readonly #listeners = new Listeners<MirrorEvents>();
  readonly #waiters: PositionWaiters;
  readonly #ready = Promise.withResolvers<void>();
  readonly #running: Promise<void>;
  #copy = new Copy();
  #saver: Saver | null = null;
  #state: MirrorState = { kind: 'loading' };
  #url: string;

  constructor(options: MirrorOptions) {
    this.#options = options;
    this.#url = checkedOptions(options).urls[0] as string;
    this.#waiters = new PositionWaiters(() => this.#lineage());
    // Who does not ask does not have to handle it.
    this.#ready.promise.catch(() => undefined);
    if (options.onChange !== undefined) this.on('change', options.onChange);
    this.#running = this.#run();
  }

  /** @returns text, or bytes if they are not valid UTF-8; undefined: there is none, or it has expired */
  get(key: string): Value | undefined {
    return this.getEntry(key)?.value;
  }

  /** @returns the value's bytes, whatever they are */
  getBytes(key: string): Uint8Array<ArrayBuffer> | undefined {
    const value = this.get(key);
    return typeof value === 'string' ? new TextEncoder().encode(value) : value;
  }

  /** @returns value, version and expiry */
  getEntry(key: string): Entry | undefined {
    const entry = this.#copy.entries.get(key);
    return entry === undefined || isExpired(entry, Date.now()) ? undefined : entry;
  }

  has(key: string): boolean {
    return this.getEntry(key) !== undefined;
  }

  /** In no particular order. */
  *entries(): IterableIterator<Entry> {
    const now = Date.now();
    for (const entry of this.#copy.entries.values()) if (!isExpired(entry, now)) yield entry;
  }

  *keys(): IterableIterator<string> {
    for (const { key } of this.entries()) yield key;
  }

  /** How many entries there are; counts them, because some may have expired. */
  get size(): number {
    let size = 0;
    for (const _ of this.entries()) size += 1;
    return size;
  }

  /** What the copy is a copy of; null: of nothing yet. */
  get position(): string | null {
    return this.#copy.position;
  }

  get state(): MirrorState {
    const copy = this.#copy.state;
    if (this.#state.kind !== 'syncing' || copy.kind !== 'replacing') return this.#state;
    return { ...copy, kind: 'syncing', url: this.#url };
  }

  /**
   * Resolves when the copy is up to date for the first time: has everything that the node had when the connection was
   * made. Rejects when the mirror is closed or fails before.
   */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  /**
   * Resolves when the copy has everything up to a position, such as the one that a write was answered with.
   * A position of a history that the node does not know may still come to be on its own, after a promotion that it has not
   * heard of: that ends by the signal only.
   * @param position `<run ID>:<offset>` @param options `signal` ends the waiting, `AbortSignal.timeout(5000)` for one
   * @throws LostPositionError when that history has ended before; what the signal gives as its reason;
   *   MirrorClosedError; FollowError
   */
  waitFor(position: string, options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    if (this.#state.kind === 'closed') return Promise.reject(new MirrorClosedError());
    if (this.#state.kind === 'failed') return Promise.reject(this.#state.error);
    return this.#waiters.wait(position, options.signal);
  }

  /** @returns call it to be told no more */
  on<Name extends keyof MirrorEvents>(name: Name, listener: (event: MirrorEvents[Name]) => void): () => void {
    return this.#listeners.on(name, listener);
  }

  /** Stops following, and stores what is left to be stored. What there is stays readable. */
  async close(): Promise<void> {
    this.#abort.abort();
    await this.#running;
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    try {
      await this.#load();
      await this.#follow(this.#copy.position ?? undefined);
      this.#ended({ kind: 'closed' }, new MirrorClosedError());
    } catch (error) {
      const reason = error instanceof Error ? error : new Error(String(error));
      this.#ended({ kind: 'failed', error: reason }, reason);
    }
    await this.#saver?.close();
  }

  /** @param position where to go on; undefined: from a snapshot */
  async #follow(position: string | undefined): Promise<void> {
    const { signal } = this.#abort;
    const onConnection = (state: ConnectionState): void => this.#connection(state);
    let mayBeThePosition = position !== undefined;
    try {
      for await (const event of follow({ ...this.#options, position, signal, onConnection })) {
        mayBeThePosition = true;
        for (const effect of this.#copy.take(event)) this.#perform(effect);
      }
    } catch (error) {
      // A position that was stored, or is of another node, may be one that this node does not take. Without it the request
      // is right, or really wrong.
      const isWrong = error instanceof FollowError && error.closeCode === BAD_REQUEST;
      if (!isWrong || !mayBeThePosition) throw error;
      await this.#follow(undefined);
    }
  }

  async #load(): Promise<void> {
    const { storage } = this.#options;
    if (storage === undefined) return;
    const scope = scopeOf(this.#options.prefix);
    let stored: StoredCopy | null = null;
    try {
      stored = await storage.load();
      if (stored !== null && stored.scope === scope) this.#copy = new Copy(stored);
    } catch (error) {
      this.#listeners.emit('storage-error', { error });
    }
    const { position } = this.#copy;
    if (position !== null) this.#waiters.moved(position);
    this.#saver = new Saver(
      storage,
      scope,
      position,
      () => this.#copy,
      (error) => this.#listeners.emit('storage-error', { error }),
    );
  }

  #perform(effect: CopyEffect): void {
    switch (effect.kind) {
      case 'reset':
        this.#listeners.emit('reset', { reason: effect.reason });
        this.#become({ kind: 'syncing', url: this.#url, reason: effect.reason, received: 0, expected: null });
        return;
      case 'moved':
        this.#moved(effect.position, []);
        this.#arrived();
        return;
      case 'replaced':
        this.#moved(effect.position, effect.changes);
        this.#listeners.emit('synced', { position: effect.position });
        this.#tell(effect.position, effect.changes);
        this.#arrived();
        return;
      case 'changed':
        this.#moved(effect.position, effect.changes);
        this.#tell(effect.position, effect.changes);
        this.#arrived();
        return;
    }
  }

  #moved(position: string, changes: readonly Change[]): void {
    this.#saver?.changed(changes.map(({ key }) => key));
    this.#waiters.moved(position);
    this.#listeners.emit('position', { position });
  }

  #tell(position: string, changes: readonly Change[]): void {
    if (changes.length > 0) this.#listeners.emit('change', { position, changes });
  }

  /** The copy is of a later position: it may be up to date now. */
  #arrived(): void {
    const { state } = this.#copy;
    if (state.kind === 'catching-up') {
      const isNews = this.#state.kind !== 'catching-up' || this.#state.head !== state.head;
      if (isNews) this.#become({ ...state, url: this.#url });
    } else if (state.kind === 'current' && this.#state.kind !== 'live') {
      this.#become({ kind: 'live', url: this.#url });
      this.#ready.resolve();
    }
  }

  #connection(state: ConnectionState): void {
    this.#url = state.url;
    // An open connection is not worth a word before the node has said how it goes on.
    if (state.kind !== 'open') this.#become(state);
  }

  #become(state: MirrorState): void {
    this.#state = state;
    this.#listeners.emit('state', this.state);
  }

  #ended(state: MirrorState, reason: Error): void {
    this.#become(state);
    this.#waiters.rejectAll(reason);
    this.#ready.reject(reason);
  }

  async #lineage(): Promise<Lineage> {
    return (await new Client(this.#url.replace(/^ws/i, 'http')).replication()).lineage;
  }
}

/** What the copy is a copy of, as one text: the prefixes in order. */
function scopeOf(prefix: string | readonly string[] | undefined): string {
  const prefixes = typeof prefix === 'string' ? [prefix] : (prefix ?? ['']);
  return JSON.stringify([...new Set(prefixes)].sort());
}
