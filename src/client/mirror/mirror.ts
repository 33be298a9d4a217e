/// <reference lib="esnext.disposable" preserve="true" />
/**
 * A live copy of a node's entries, or of those with some prefixes, in this program: reads are local and immediate.
 *
 * This module connects the parts: `Copy` applies events, `follow` keeps the connection, `Saver` stores the copy. It
 * also reports the state.
 */

import { own } from '../event.ts';
import { type ConnectionState, followed } from '../follow.ts';
import { checkedLimit, checkedOptions } from '../follow-options.ts';
import type { Signal } from '../platform.ts';
import { Client } from '../rest.ts';
import { rest, within } from '../within.ts';
import { alarm, expiryClock } from './alarm.ts';
import { type Change, Copy, type CopyEffect, type CopyState } from './copy.ts';
import type { Entry, Value } from './entry.ts';
import { callEach, type Groups, listen } from './listeners.ts';
import { MirrorClosedError, type MirrorEvents, type MirrorState } from './mirror-events.ts';
import type { MirrorOptions } from './mirror-options.ts';
import { checkedLineage, PositionWaiters } from './position-waiters.ts';
import { Saver } from './saver.ts';
import { checkedCopy, type LoadedCopy, STORAGE } from './storage.ts';
import { type ChangeListener, type EntryFilter, Subscriptions } from './subscriptions.ts';
import { View } from './view.ts';

/** Most time that a call of the storage may take, in milliseconds. */
const STORAGE_MS = 10_000;
/** Most characters of JSON of the entries of a snapshot. */
const SNAPSHOT_LENGTH = 2 ** 28;
/** Time between two reports of how much of a snapshot has arrived, in milliseconds. */
const PROGRESS_MS = 100;
/** Shortest time between two connections that `reconnect` asks for, in milliseconds. */
const RECONNECT_MS = 250;

/** @throws TypeError for a missing or malformed URL, or a limit that is not a positive number */
export function mirror(options: MirrorOptions): Mirror {
  return new Mirror(options);
}

/** A state, of which only `catching-up` has a head. */
interface CatchingUp {
  readonly kind: MirrorState['kind'];
  readonly head?: string;
}

export class Mirror {
  /** Prefixes of the keys that it holds, in order; one that is empty: all keys. */
  readonly prefixes: readonly string[];
  readonly #options: MirrorOptions;
  readonly #storageMs: number;
  readonly #snapshotLength: number;
  readonly #abort = new AbortController();
  /** Ends the present attempt, its connection, or the pause after it. */
  #cut = new AbortController();
  readonly #listeners: Groups<keyof MirrorEvents> = new Map();
  readonly #subscriptions = new Subscriptions();
  readonly #now = expiryClock();
  /** Rings when an entry may expire. */
  readonly #alarm = alarm(() => this.#tell(this.#view.expire(this.#now())));
  readonly #waiters: PositionWaiters;
  readonly #ready = Promise.withResolvers<void>();
  readonly #running: Promise<void>;
  #copy = new Copy();
  #view = new View(this.#copy, 0);
  #saver: Saver | null = null;
  #state: MirrorState = { kind: 'loading' };
  /** When the state was last reported, in milliseconds since 1970. */
  #toldAt = 0;
  #url: string;

  constructor(options: MirrorOptions) {
    this.#options = options;
    const { urls, prefixes } = checkedOptions(options);
    this.prefixes = Object.freeze([...new Set(prefixes)].sort());
    this.#url = urls[0] as string;
    this.#storageMs = checkedLimit('storageMs', options.storageMs, STORAGE_MS);
    this.#snapshotLength = checkedLimit('snapshotLength', options.snapshotLength, SNAPSHOT_LENGTH);
    this.#waiters = new PositionWaiters(async (runId, signal) => {
      const node = new Client(this.#url, options);
      return checkedLineage(await node.replication({ signal }), runId);
    });
    // Prevents an unhandled rejection for applications that do not use `ready`.
    this.#ready.promise.catch(() => undefined);
    if (options.onChange) this.on('change', options.onChange);
    this.#running = this.#run();
  }

  /** @returns text, or bytes if the value is not valid UTF-8; undefined: there is no such entry, or it has expired */
  get(key: string): Value | undefined {
    return this.getEntry(key)?.value;
  }

  /** @returns the bytes of the value; the caller may do with them what it likes */
  getBytes(key: string): Uint8Array<ArrayBuffer> | undefined {
    const value = this.#view.kept(key, this.#now())?.value;
    return typeof value === 'string' ? new TextEncoder().encode(value) : own(value);
  }

  /** @returns value, version and expiry */
  getEntry(key: string): Entry | undefined {
    return this.#view.get(key, this.#now());
  }

  has(key: string): boolean {
    return Boolean(this.getEntry(key));
  }

  /** Yields the entries of `snapshot`: what changes meanwhile is not seen. */
  entries(): IterableIterator<Entry> {
    return this.snapshot().values();
  }

  keys(): IterableIterator<string> {
    return this.snapshot()
      .map(({ key }) => key)
      .values();
  }

  /** Number of entries that have not expired. */
  get size(): number {
    return this.snapshot().length;
  }

  /**
   * @returns all entries, in no particular order: the same array as long as none of them changes or expires, with the
   * same object for each entry that has not changed. It needs no `this`.
   */
  readonly snapshot = (): readonly Entry[] => this.#view.snapshot(this.#now());

  /**
   * Calls the listener when entries have changed or expired, once for all that change together. It needs no `this`.
   * @param listener gets all that has changed together, also what the filter leaves out
   * @param filter `{ key }`, or `{ prefix }` of the keys; default: all entries
   * @returns a function that removes the listener
   */
  readonly subscribe = (listener: ChangeListener, filter: EntryFilter = {}): (() => void) =>
    this.#subscriptions.add(listener, filter);

  /** A number that changes whenever entries change or expire. */
  get revision(): number {
    return this.#view.revision;
  }

  /** Position of the copy; null: it has none yet. */
  get position(): string | null {
    return this.#copy.position;
  }

  /** The same object as long as nothing in it changes. */
  get state(): MirrorState {
    const state = this.#state;
    const copy = this.#copy.state;
    if (state.kind === 'syncing' && copy.kind === 'syncing' && state.received !== copy.received) {
      this.#state = { ...copy, url: this.#url };
    }
    return Object.freeze(this.#state);
  }

  /**
   * Resolves when the copy first has everything that the node had when the connection was made. Rejects when the mirror
   * is closed or fails first.
   */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  /**
   * Resolves when the copy has reached a position, such as that of the answer to a write. If the node does not know the
   * position's history, it may still learn of it, after a promotion; then only `signal` ends the wait.
   * @param position `<run ID>:<offset>`
   * @param options `signal` ends the wait, for example `AbortSignal.timeout(5000)`
   * @throws LostPositionError when that history ended before the position; the signal's reason; MirrorClosedError;
   * FollowError
   */
  waitFor(position: string, options: { readonly signal?: Signal } = {}): Promise<void> {
    return this.#waiters.wait(position, options.signal);
  }

  /** @returns a function that removes the listener */
  on<Name extends keyof MirrorEvents>(name: Name, listener: (event: MirrorEvents[Name]) => void): () => void {
    return listen(this.#listeners, name, listener);
  }

  /**
   * Connects again at once: ends the pause before the next attempt, or replaces the connection. If changes were arriving,
   * the next attempt is at the same URL, and else at the next one; a snapshot that was arriving begins anew.
   */
  reconnect(): void {
    this.#cut.abort();
  }

  /** Closes the mirror at the end of an `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Stops following and stores the remaining changes. The copy stays readable. */
  async close(): Promise<void> {
    this.#abort.abort();
    this.#cut.abort();
    await this.#running;
    // The entries of a copy that has failed expire until here.
    this.#alarm();
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    try {
      await this.#load();
      await this.#follow();
      this.#alarm();
      this.#ended({ kind: 'closed' }, new MirrorClosedError());
    } catch (error) {
      // `follow` throws nothing but errors.
      this.#ended({ kind: 'failed', error: error as Error }, error as Error);
    }
    await this.#saver?.close();
  }

  async #follow(): Promise<void> {
    const onConnection = (state: ConnectionState): void => {
      this.#url = state.url;
      // An open connection is only reported once the node has said how it continues.
      if (state.kind !== 'open') this.#become(state);
    };
    const { signal } = this.#abort;
    let paced: Promise<void> | undefined;
    const begin = async (): Promise<AbortSignal> => {
      if (this.#cut.signal.aborted) {
        // Whoever calls `reconnect` for each change of the state asks a node no more often than this.
        await paced;
        paced = rest(RECONNECT_MS, signal);
      }
      this.#cut = new AbortController();
      return this.#cut.signal;
    };
    const position = this.#copy.position ?? undefined;
    const following = { ...this.#options, position, onConnection };
    for await (const event of followed(following, signal, begin, this.#snapshotLength)) {
      for (const effect of this.#copy.take(event)) this.#perform(effect);
      if (event.type === 'entry' && performance.now() >= this.#toldAt + PROGRESS_MS) this.#become(this.state);
    }
  }

  async #load(): Promise<void> {
    const { storage } = this.#options;
    if (!storage) return;
    const { signal } = this.#abort;
    const scope = JSON.stringify(this.prefixes);
    const failed = (error: unknown): void => this.#emit('storage-error', { error });
    try {
      const load = async (over: Signal): Promise<LoadedCopy | null> => {
        const stored = await storage.load();
        return stored !== null && stored.scope === scope ? checkedCopy(stored, this.prefixes, over) : null;
      };
      const loaded = await within(this.#storageMs, STORAGE, load, signal);
      if (loaded) this.#start(loaded);
    } catch (error) {
      if (!signal.aborted) failed(error);
    }
    const source = this.#copy;
    this.#saver = new Saver({
      storage,
      scope,
      base: source.position,
      callMs: this.#storageMs,
      source,
      failed,
    });
  }

  /** Begins with a stored copy. */
  #start(stored: LoadedCopy): void {
    this.#copy = new Copy(stored);
    this.#view = new View(this.#copy, this.#now());
    this.#waiters.moved(stored.position);
    this.#tell(this.snapshot().map((entry) => ({ key: entry.key, entry, before: null })));
  }

  #perform(effect: CopyEffect): void {
    if (effect.kind === 'reset') {
      this.#emit('reset', { reason: effect.reason });
      this.#show();
      return;
    }
    const { kind, position, changes } = effect;
    // What is shown changes before any listener looks at it.
    const shown = this.#view.changed(changes, this.#now());
    this.#saver?.changed(changes);
    this.#waiters.moved(position);
    this.#emit('position', { position });
    if (kind === 'replaced') this.#emit('synced', { position });
    this.#tell(shown);
    // The state of the copy, if it is another one, becomes that of the mirror.
    const state = this.#copy.state as CatchingUp;
    const old = this.#state as CatchingUp;
    if (state.kind !== old.kind || state.head !== old.head) this.#show();
    if (state.kind === 'live') this.#ready.resolve();
  }

  #tell(changes: readonly Change[]): void {
    this.#alarm(this.#view.nextExpiry);
    if (!changes[0]) return;
    // Collections first, so that they know what has changed when another listener reads them.
    this.#subscriptions.notify(changes);
    // Without a position there are no entries that could change.
    this.#emit('change', { position: this.#copy.position as string, changes });
  }

  /** The state of the copy, which is not empty, becomes that of the mirror. */
  #show(): void {
    this.#become({ ...(this.#copy.state as Exclude<CopyState, { kind: 'empty' }>), url: this.#url });
  }

  #become(state: MirrorState): void {
    this.#state = state;
    this.#toldAt = performance.now();
    this.#emit('state', this.state);
  }

  #ended(state: MirrorState, reason: Error): void {
    this.#become(state);
    this.#waiters.end(reason);
    this.#ready.reject(reason);
  }

  #emit<Name extends keyof MirrorEvents>(name: Name, event: MirrorEvents[Name]): void {
    callEach(this.#listeners.get(name), event);
  }
}
